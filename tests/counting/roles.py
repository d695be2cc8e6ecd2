"""What a process does as the owner of the tables, and as a clerk whom a policy shows a part of the rows."""

from __future__ import annotations

from typing import Any


def as_clerk(what: str) -> dict[str, Any]:
    """Do one step of the story of row security; returns what is read, and whether the family is counted.

    Args:
        what: ``prepare`` and ``repair`` are the owner's; ``write`` and ``count`` the clerk's.
    """
    from kck_flow import Cache
    from kck_flow.errors import KckFlowError
    from tests.accounts.models import Account
    from tests.counting.conftest import at_rest, equal, primed, sql

    cache, told = Cache.get_instance(), {}
    if what == "prepare":
        Account.objects.bulk_create(
            [Account(state="active", plan=plan) for plan in ("mine", "mine", "his", "his")]
        )
        primed("active")
        sql(
            "CREATE ROLE kck_clerk LOGIN PASSWORD 'secret'; GRANT ALL ON ALL TABLES IN SCHEMA public TO kck_clerk;"
            "GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO kck_clerk;"
            "ALTER TABLE accounts_account ENABLE ROW LEVEL SECURITY;"
            "CREATE POLICY own ON accounts_account TO kck_clerk USING (plan = 'mine') WITH CHECK (plan = 'mine')"
        )
    elif what == "write":
        Account.objects.create(state="active", plan="mine")
    elif what == "count":
        sql("UPDATE kck_generation SET primed_at = NULL WHERE key_base = 'active'")
        try:
            cache.refresh("active")
        except KckFlowError as error:
            told["error"] = str(error)
    else:
        cache.refresh("active")
        equal("active")
    told["value"] = cache.get("active")["value"]
    at_rest()
    told["primed"] = sql(
        "SELECT primed_at IS NOT NULL FROM kck_generation WHERE key_base = 'active' AND live"
    )[0][0]
    return told
