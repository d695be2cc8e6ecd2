"""The story is lived: day by day, with the cache's clock at that day, through the triggers and the worker of every day.

Nothing is counted afterwards. The tables are made on the first day, so flows count from then on. A ticket may change
several times a day: what happens to all of them first is one INSERT or UPDATE, what happens second is another. In the
last nights a worker does what could not be made up for later: it records the stocks, facets and all, and measures what
can only be measured now. Earlier that would only take time: what stocks held in all, their flows tell.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from datetime import datetime

from django.core.management import call_command
from django.db import connection, transaction
from kck_flow import Cache, Metric
from kck_flow.models import Annotation
from kck_flow.testing import freeze_time, run_worker

from desk.generating import Life, Story
from desk.models import Rating, Ticket

WORKED = 32  # nights
RECORDED = [
    "new_tickets", "open_tickets", "waiting_tickets", "solved_tickets", "long_open", "satisfaction", "workload",
]  # fmt: skip
ANSWERING = ["first_reply", "reopened_share", "metric/phone_calls"]  # for the past, too: filled in at the end

CHANGE = """
UPDATE desk_ticket AS ticket SET state = new.state, changed_at = new.changed_at, first_reply_at = new.first_reply_at
FROM unnest(%s::bigint[], %s::text[], %s::timestamptz[], %s::timestamptz[])
    AS new (id, state, changed_at, first_reply_at) WHERE ticket.id = new.id
"""
COLUMNS = ("pk", "state", "changed_at", "first_reply_at")


def live(story: Story) -> Iterator[tuple[datetime, int]]:
    """Live a story, and yield the end of each day with how many tickets there have been by then."""
    midnights, ratings = story.midnights, story.ratings()
    tickets: list[Ticket] = []
    cache = Cache.get_instance()
    _metrics()
    with freeze_time(midnights[0]) as clock:
        cache.refresh("tickets")  # its books are opened, before the first ticket
        ends = [*midnights[1:], story.until]
        for day, (end, moves) in enumerate(zip(ends, by_day(story.lives(), ends), strict=True), 1):
            clock.set(end)
            given = [one for one in ratings if midnights[day - 1] <= one[0] < end]
            with transaction.atomic():
                Rating.objects.bulk_create(Rating(given_at=at, score=score) for at, score in given)
                _write(tickets, moves)
            if day >= len(ends) - WORKED:
                run_worker(RECORDED)
            yield end, len(tickets)
        run_worker(
            [*RECORDED, "first_reply", "reopened_share"]
        )  # no others': they may have a story of their own
        for metric in ANSWERING:
            cache.refresh(metric)
            call_command("kck", "backfill", metric, "--from", midnights[0].isoformat(), stdout=io.StringIO())
    start, end = story.all_breaks
    Annotation.objects.create(text="Nobody can log in", start_at=start, end_at=end)


def by_day(
    lives: Sequence[Life], ends: Sequence[datetime]
) -> Iterator[list[tuple[datetime, int, Life, str]]]:
    """Yield what happens until each of some instants, in order: when, to which ticket, the state that it comes to."""
    moves = sorted((at, place, state) for place, life in enumerate(lives) for at, state in life.moves)
    position = 0
    for end in ends:
        begun = position
        while position < len(moves) and moves[position][0] < end:
            position += 1
        yield [(at, place, lives[place], state) for at, place, state in moves[begun:position]]


def _write(tickets: list[Ticket], moves: Sequence[tuple[datetime, int, Life, str]]) -> None:
    while moves:
        new: list[Ticket] = []
        changed: dict[int, Ticket] = {}
        later = []
        for move in moves:
            at, place, life, state = move
            if state == Ticket.NEW:  # they are opened in the order of their lives
                ticket = Ticket(topic=life.topic, channel=life.channel, opened_at=at)
                tickets.append(ticket)
                new.append(ticket)
            elif place in changed or tickets[place].pk is None:
                later.append(move)
                continue
            else:
                ticket = changed[place] = tickets[place]
                ticket.first_reply_at = ticket.first_reply_at or at
            ticket.state, ticket.changed_at = state, at
        Ticket.objects.bulk_create(new)
        if changed:
            with connection.cursor() as cursor:
                cursor.execute(CHANGE, [[getattr(one, name) for one in changed.values()] for name in COLUMNS])
        moves = later


def _metrics() -> None:
    """Store a metric as a row, as the admin would: no code is needed for it."""
    Metric.create(
        "count_rows", "phone_calls", model="desk.Ticket", filter={"channel": "phone"}, at="opened_at",
        label="Phone calls", section="Service", unit="call", unit_plural="calls",
    )  # fmt: skip
