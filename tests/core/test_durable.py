"""Whether a refresh waits for the disk (DURABLE_PUBLISH), and that nothing else is let off."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connection
from django.test import override_settings

from kck_flow import Cache
from tests.core.conftest import Declared

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def commits() -> Iterator[None]:
    """Each commit that writes a slot or a product tells how it waits for the disk."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            CREATE TABLE told (id serial, written text, waits text);
            CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                INSERT INTO told (written, waits) VALUES (TG_TABLE_NAME, current_setting('synchronous_commit'));
                RETURN NULL;
            END $$;
            CREATE CONSTRAINT TRIGGER tell AFTER INSERT OR UPDATE ON kck_product
                DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION tell();
            CREATE CONSTRAINT TRIGGER tell AFTER INSERT OR UPDATE ON kck_refresh
                DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION tell();
            """
        )
        try:
            yield
        finally:
            cursor.execute("DROP FUNCTION tell CASCADE; DROP TABLE told")


def told() -> list[tuple[str, str]]:
    """Return (table, synchronous_commit) of each row written since the last time."""
    with connection.cursor() as cursor:
        cursor.execute("WITH d AS (DELETE FROM told RETURNING *) SELECT written, waits FROM d ORDER BY id")
        return cursor.fetchall()


def test_a_publish_waits_for_the_disk_unless_told_otherwise_and_a_claim_always(
    declare: Declared, commits: None
) -> None:
    """A lease that a crash could take back would give its token to two."""
    cache = Cache.get_instance()
    declare("plain", lambda key: "computed")
    cache.get("plain")
    assert told() == [("kck_refresh", "on"), ("kck_refresh", "on"), ("kck_product", "on")]
    with override_settings(KCK_FLOW={"DURABLE_PUBLISH": False}):
        cache.refresh("plain")
        assert told() == [("kck_refresh", "on"), ("kck_refresh", "off"), ("kck_product", "off")]
        cache.set("plain", "set")
        assert told() == [("kck_product", "on")]
    cache.refresh("plain")
    assert {waits for _, waits in told()} == {"on"}
