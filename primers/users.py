"""Users: how many there are, how many come back, who is new.

They are those of ``django.contrib.auth``, or of a user model of your own.

::

    # shop/primers.py
    from primers import users


    class Accounts(users.Accounts):
        key_base = "accounts"


    class ActiveUsers(users.ActiveUsers):
        key_base = "active_users"


    class NewUsers(users.NewUsers):
        key_base = "new_users"
        tz = "Europe/Paris"

``cache.get("accounts")`` is ``{"active": 410, "inactive": 12}``; ``cache.get("active_users/7")`` is how many
signed in within seven days; ``cache.get("new_users/2026-01-31")`` is how many joined on that day, as Paris
counts its days.

Saving or deleting a user makes all of them right. ``Accounts`` and those of a day take the user's own part
in or out, and nobody is counted again; ``ActiveUsers`` is counted when it is next asked for. What Django's
signals do not see (``bulk_create``, ``update()``, other programs) is put right by the count that follows
each ``soft_expire``.

A user model of your own may name its columns otherwise. Say so twice, for the count and for what it listens
to::

    class NewMembers(users.NewUsers):
        key_base = "new_members"
        joined = "created_at"
        depends_on = [users.on_joining("created_at")]
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from zoneinfo import ZoneInfo

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db.models import Count, Q
from django.utils import timezone

from kck_flow import Change, DateParameter, IntegerParameter, Key, On, Primer, Row

if TYPE_CHECKING:
    from django.db.models import QuerySet

# No clock was ever further from UTC: Manila kept American days until 1844, almost sixteen hours behind.
FURTHEST = timedelta(hours=16)


def everyone() -> QuerySet[Any]:
    """Return all rows of the user model, also those that its manager leaves out: their changes count."""
    return get_user_model()._base_manager.all()


def on_users(*fields: str, key: Any = None, then: Literal["stale", "refresh", "augment"] = "stale") -> On:
    """Return an edge on the user model, whichever the project has.

    Args:
        fields: The columns that matter. Never all of them: each sign-in would be a change, and the hash of
            the password would travel with it.
        key, then: As for ``On``.
    """
    return On(settings.AUTH_USER_MODEL, key=key, then=then, fields=fields)


# -- how many there are --------------------------------------------------------------------------------------


class Accounts(Primer):
    """How many accounts there are.

    A dict of two counts, ``{"active": 410, "inactive": 12}``: those with ``is_active``, and the others.
    """

    unit, unit_plural = "account", "accounts"
    soft_expire = timedelta(days=1)
    depends_on: Sequence[On] = [on_users("is_active", then="augment")]

    def compute(self, key: Key) -> dict[str, int]:
        active = Q(is_active=True)
        return everyone().aggregate(
            active=Count("pk", filter=active),
            inactive=Count("pk", filter=~active),
        )

    def augment(self, key: Key, value: dict[str, int], changes: Sequence[Change]) -> dict[str, int]:
        counts = dict(value)
        for change in changes:
            for row, part in ((change.old, -1), (change.new, 1)):
                if row is not None:
                    counts["active" if row.is_active else "inactive"] += part
        return counts


# -- how many come back --------------------------------------------------------------------------------------


class DaysParameter(IntegerParameter):
    """How many days: 1 to 3,660."""

    expected = "a number of days from 1 to 3660"

    def parse(self, text: str) -> int:
        days = super().parse(text)
        if not 1 <= days <= 3660:
            raise ValueError
        return days

    def clean(self, value: Any) -> int:
        return self.from_text(str(super().clean(value)))


class ActiveUsers(Primer):
    """How many users have signed in within the last ``days`` times 24 hours; within 30 where it is not said.

    An int. The window moves with the clock, so no sum of changes can follow it: the first who asks after
    somebody has signed in has the users counted, for all who ask meanwhile. Where people sign in all the
    time and counting takes long, let readers have the last count while a worker makes the next::

        class ActiveUsers(users.ActiveUsers):
            key_base = "active_users"
            depends_on = [users.on_users("last_login", "is_active", then="refresh")]
            min_gap = timedelta(seconds=30)
    """

    unit, unit_plural, good = "user", "users", "up"
    parameters = [DaysParameter("days", default=30)]
    soft_expire = timedelta(minutes=10)  # who signed in longest ago drops out, though no row changes
    max_entries = 100
    depends_on: Sequence[On] = [on_users("last_login", "is_active")]

    def compute(self, key: Key) -> int:
        since = timezone.now() - timedelta(days=key.params["days"])
        return self.users().filter(last_login__gte=since).count()

    def users(self) -> QuerySet[Any]:
        """Return who may count: every account that is active."""
        return everyone().filter(is_active=True)


# -- who is new ----------------------------------------------------------------------------------------------


def on_joining(column: str = "date_joined") -> On:
    """Return the edge by which a user's row reaches the product of the day on which the user joined.

    A moment is on two or three calendar days, somewhere on earth. The edge names them all; ``augment``,
    which knows the product's time zone, takes what is its own and leaves the rest.
    """

    def days(change: Change) -> set[date]:
        return {
            day for row in (change.old, change.new) if row is not None for day in days_anywhere(row[column])
        }

    return on_users(column, key=days, then="augment")


def days_anywhere(at: datetime | None) -> set[date]:
    """Return the calendar days on which ``at`` is in any time zone; none for None."""
    if at is None:
        return set()
    days = set()
    for away in (-FURTHEST, timedelta(0), FURTHEST):
        try:
            days.add((aware(at).astimezone(UTC) + away).date())
        except OverflowError:  # before the first or after the last day there is: saving must not fail
            pass
    return days


def aware(at: datetime) -> datetime:
    """Return ``at`` as an aware instant; with ``USE_TZ = False`` it is told in the project's time zone."""
    return at if timezone.is_aware(at) else timezone.make_aware(at, timezone.get_default_timezone())


class NewUsers(Primer):
    """How many users joined on a day.

    An int. ``tz`` names the time zone whose days are meant; a day there has 23 or 25 hours when its clocks
    change.
    """

    unit, unit_plural, good = "user", "users", "up"
    parameters = [DateParameter("day")]
    tz: ClassVar[str] = "UTC"
    joined: ClassVar[str] = "date_joined"
    soft_expire = timedelta(days=1)
    max_entries = 4_000  # of the days that somebody may ask for; the long unread go first
    depends_on: Sequence[On] = [on_joining()]

    def __init__(self) -> None:
        super().__init__()
        self.zone = ZoneInfo(self.tz)  # a zone that does not exist is told by manage.py check

    def compute(self, key: Key) -> Any:
        return self.joined_on(key.params["day"]).count()

    def augment(self, key: Key, value: Any, changes: Sequence[Change]) -> Any:
        for change in changes:
            value += self.is_on(key.params["day"], change.new) - self.is_on(key.params["day"], change.old)
        return value

    def joined_on(self, day: date) -> QuerySet[Any]:
        """Return the users who joined on ``day``."""
        start, end = self.begins(day), self.begins(day + timedelta(days=1))
        return everyone().filter(**{f"{self.joined}__gte": start, f"{self.joined}__lt": end})

    def begins(self, day: date) -> datetime:
        """Return the first instant of ``day``, in the form that the project keeps instants in."""
        start = datetime.combine(day, time.min, self.zone)
        return start if settings.USE_TZ else timezone.make_naive(start, timezone.get_default_timezone())

    def is_on(self, day: date, row: Row | None) -> bool:
        """Whether a captured row is that of a user who joined on ``day``."""
        at = row[self.joined] if row is not None else None
        return at is not None and aware(at).astimezone(self.zone).date() == day


class NewUsersList(NewUsers):
    """Who joined on a day, in the order in which they did.

    A list of dicts, ``{"id": 7, "joined_at": datetime}``. No names: they can change, and whoever shows the
    list may look them up (``User.objects.in_bulk(one["id"] for one in listed)``).
    """

    columns = ["id", "joined_at"]

    def compute(self, key: Key) -> list[dict[str, Any]]:
        found = self.joined_on(key.params["day"]).values_list("pk", self.joined)
        return in_order({"id": pk, "joined_at": at} for pk, at in found)

    def augment(
        self, key: Key, value: list[dict[str, Any]], changes: Sequence[Change]
    ) -> list[dict[str, Any]]:
        pk = get_user_model()._meta.pk.attname
        listed = {user["id"]: user for user in value}
        for change in changes:
            if change.old is not None:
                listed.pop(change.old[pk], None)
            if self.is_on(key.params["day"], change.new):
                listed[change.new[pk]] = {"id": change.new[pk], "joined_at": change.new[self.joined]}
        return in_order(listed.values())


def in_order(users: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return users by when they joined, and those of one instant by their id."""
    return sorted(users, key=lambda user: (user["joined_at"], user["id"]))
