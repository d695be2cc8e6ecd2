"""The story is lived: day by day, with the cache's clock at that day, through the triggers and the worker of every day.

Nothing is counted afterwards. The tables are made on the first day, so flows count from then on; each day's sign-ups
are one INSERT, and what happens to accounts is one UPDATE. In the last nights a worker does what could not be made up
for later: it records the stocks, facets and all, and measures what can only be measured now. Earlier that would only
take time: what stocks held in all, their flows tell. Revenue, which nobody could tell afterwards, is measured each day
of the last year and a bit, as what compares with a year ago wants, and once a week before.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from datetime import datetime

from django.core.management import call_command
from django.db import connection, transaction
from kck_flow import Cache
from kck_flow.models import Annotation
from kck_flow.testing import freeze_time, run_worker

from shop.generating import Life, Story, by_day
from shop.models import Account

WORKED, ANSWERED = 32, 400  # nights, days
RECORDED = ["trial", "active", "past_due", "churned", "monthly_revenue"]
ANSWERING = ["conversion_rate", "sign_ups"]  # for the past, too: filled in at the end

CHANGE = """
UPDATE shop_account AS account SET state = new.state, changed_at = new.changed_at
FROM unnest(%s::bigint[], %s::text[], %s::timestamptz[]) AS new (id, state, changed_at) WHERE account.id = new.id
"""


def live(story: Story) -> Iterator[tuple[datetime, int]]:
    """Live a story, and yield the end of each day with how many accounts have signed up by then."""
    lives, midnights = story.lives(), story.midnights
    accounts: list[Account] = []
    cache = Cache.get_instance()
    with freeze_time(midnights[0]) as clock:
        cache.refresh("subscriptions")  # its books are opened, before the first account
        ends = [*midnights[1:], story.until]
        for day, (end, moves) in enumerate(zip(ends, by_day(lives, ends), strict=True), 1):
            clock.set(end)
            with transaction.atomic():
                if midnights[day - 1] == story.prices_rise_at:
                    _raise_prices(story)
                _write(story, lives, accounts, moves)
            if day >= len(ends) - WORKED:
                run_worker(RECORDED)
            # In the first of its nights the worker learns when to come again.
            if day <= len(ends) - WORKED and (day >= len(ends) - ANSWERED or day % 7 == 0):
                cache.refresh("monthly_revenue")
            yield end, len(accounts)
        run_worker([*RECORDED, *ANSWERING])  # no others': they may have a story of their own
        for metric in ANSWERING:
            cache.refresh(metric)
            since = midnights[max(0, len(midnights) - ANSWERED)].isoformat()
            call_command("kck", "backfill", metric, "--from", since, stdout=io.StringIO())
    _tell(story)


def _write(
    story: Story, lives: Sequence[Life], accounts: list[Account], moves: Sequence[tuple[datetime, int, str]]
) -> None:
    new, changed = [], []
    for at, place, state in moves:
        if state == Account.TRIAL:  # they sign up in the order of their lives
            life = lives[place]
            price = story.price_of(life.plan, at)
            account = Account(plan=life.plan, country=life.country, price=price, signed_up_at=at)
            accounts.append(account)
            new.append(account)
        else:
            account = accounts[place]
            changed.append(account)
        account.state, account.changed_at = state, at
    Account.objects.bulk_create(new)
    with connection.cursor() as cursor:
        cursor.execute(
            CHANGE, [[getattr(one, name) for one in changed] for name in ("pk", "state", "changed_at")]
        )


def _raise_prices(story: Story) -> None:
    for plan, _ in Account.PLANS:
        Account.objects.filter(plan=plan).update(price=story.price_of(plan, story.prices_rise_at))


def _tell(story: Story) -> None:
    start, end = story.payments_fail
    Annotation.objects.bulk_create(
        [
            Annotation(text="Prices rise", start_at=story.prices_rise_at),
            Annotation(text="Payments fail", start_at=start, end_at=end),
        ]
    )
