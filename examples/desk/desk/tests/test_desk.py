"""The story is always the same; what is counted of it is what plain SQL says; what fails, and what is old, says so."""

from __future__ import annotations

import io
import logging
import unittest
from collections import Counter
from datetime import datetime, timedelta
from itertools import pairwise
from unittest.mock import patch
from zoneinfo import ZoneInfo

from django.core.management import CommandError, call_command
from django.db import connection
from django.test import SimpleTestCase, TestCase, TransactionTestCase
from kck_flow import Cache
from kck_flow.testing import freeze_time, reset

from desk import seeding
from desk.generating import DAY, Life, Story
from desk.models import Ticket

PARIS = ZoneInfo("Europe/Paris")
# With the night on which clocks spring forward.
STORY = Story(42, datetime(2026, 3, 31, 15, tzinfo=PARIS), 25, 180)
STOCKS = {
    "new": "new_tickets",
    "open": "open_tickets",
    "waiting": "waiting_tickets",
    "solved": "solved_tickets",
}


def state_at(life: Life, at: datetime) -> str | None:
    return next((state for moved_at, state in reversed(life.moves) if moved_at < at), None)


def setUpModule() -> None:
    logging.disable(logging.WARNING)  # the survey's failures, which are meant
    unittest.addModuleCleanup(logging.disable, logging.NOTSET)


class StoryTests(SimpleTestCase):
    def test_a_seed_always_tells_the_same(self) -> None:
        again, other = (Story(seed, STORY.until, STORY.days, 180) for seed in (42, 43))
        self.assertEqual((STORY.lives(), STORY.ratings()), (again.lives(), again.ratings()))
        self.assertNotEqual(STORY.lives(), other.lives())
        for life in STORY.lives():
            for (earlier, _), (later, _) in pairwise(life.moves):
                self.assertLess(earlier, later)
            for at, state in life.moves[1:]:
                if state in (Ticket.WAITING, Ticket.SOLVED):
                    local = at.astimezone(PARIS)
                    self.assertTrue(local.weekday() < 5 and 8 <= local.hour < 18, local)


class CountedTests(TestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        reset()
        with patch.object(seeding, "WORKED", 12):
            for _ in seeding.live(STORY):
                pass

    def test_what_is_counted_is_what_plain_sql_says_and_what_fails_or_is_old_says_so(self) -> None:
        cache, lives = Cache.get_instance(), STORY.lives()
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT state, topic, channel, count(*) FROM desk_ticket "
                "GROUP BY GROUPING SETS ((state), (state, topic), (state, channel))"
            )
            rows = cursor.fetchall()
            cursor.execute(
                "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM first_reply_at - opened_at)) "
                "FROM desk_ticket WHERE first_reply_at >= %s AND first_reply_at < %s",
                [STORY.midnights[-8], STORY.midnights[-1]],
            )
            ((first_reply,),) = cursor.fetchall()
            cursor.execute(
                "SELECT count(*) FROM desk_ticket WHERE state IN ('new', 'open', 'waiting') AND opened_at <= %s",
                [STORY.until - 3 * DAY],
            )
            ((long_open,),) = cursor.fetchall()
        for state, key in STOCKS.items():
            with self.subTest(key):
                told = cache.get(key)
                own = {(topic, channel): n for held, topic, channel, n in rows if held == state}
                self.assertEqual(told["value"], own.get((None, None), 0))
                self.assertEqual(
                    told["facets"]["topic"], {topic: n for (topic, _), n in own.items() if topic}
                )
                by_channel = {channel: own.get((None, channel), 0) for channel in ("mail", "chat", "phone")}
                self.assertEqual(told["facets"]["channel"], by_channel)
        moves = Counter(state for life in lives for _, state in life.moves)
        self.assertEqual(cache.get("arriving")["value"], moves["new"])
        self.assertEqual(cache.get("solving")["value"], moves["solved"])
        self.assertEqual(cache.get("closing")["value"], moves["closed"])
        into_open = sum(cache.get(key)["value"] for key in ("answering", "hearing_back", "reopening"))
        self.assertEqual(into_open, moves["open"])
        yesterday = STORY.midnights[-2], STORY.midnights[-1]
        (point,) = cache.series("first_reply", *yesterday)
        self.assertAlmostEqual(float(point.value), first_reply, places=4)
        calls = cache.series("metric/phone_calls", STORY.midnights[0], STORY.until)
        self.assertEqual(sum(point.value for point in calls), sum(life.channel == "phone" for life in lives))
        with freeze_time(STORY.until):
            self.assertEqual(cache.get("long_open")["value"], long_open)
            for key, state in (("satisfaction", "failed"), ("workload", "stale"), ("first_reply", "fresh")):
                self.assertEqual(cache.explain(key)["state"], state)
            self.assertGreater(cache.get("satisfaction"), 1)  # the last good number
            self.assertIn("its certificate expired on", str(cache.explain("satisfaction")))


class SeedTests(TransactionTestCase):
    def test_the_command_lives_it_once_and_it_balances_ever_since(self) -> None:
        # The package's tables, made anew: on the first day of the story.
        call_command("migrate", "kck_flow", "zero", verbosity=0)
        reset()
        options = {"until": STORY.until, "days": STORY.days, "tickets": 180, "stderr": io.StringIO()}
        with patch.object(seeding, "WORKED", 2):
            call_command("seed_desk", **options)
        said = io.StringIO()
        call_command("kck", "check", "--balance", stdout=said)
        self.assertIn("1 process: 1 balanced", said.getvalue())
        cache, lives = Cache.get_instance(), STORY.lives()
        start = STORY.midnights[15]
        for at in (start, start + timedelta(hours=9, minutes=41)):
            held = Counter(state_at(life, at) for life in lives)
            told = {state: cache.value_at(key, at)["value"] for state, key in STOCKS.items()}
            self.assertEqual(told, {state: held[state] for state in STOCKS})
        (point,) = cache.series("open_tickets", STORY.midnights[-1], STORY.until, by="day", facet="topic")
        topics = Counter(life.topic for life in lives if state_at(life, STORY.midnights[-1]) == Ticket.OPEN)
        self.assertEqual(point.value, topics)
        picture = cache.picture("tickets", start, by="day")
        self.assertTrue(picture["balanced"])
        self.assertEqual(
            picture["stocks"]["open_tickets"]["opening"], cache.value_at("open_tickets", start)["value"]
        )
        again = io.StringIO()
        call_command("seed_desk", **options | {"stderr": again})
        self.assertIn("are there already", again.getvalue())
        Ticket.objects.all().delete()
        with self.assertRaisesMessage(CommandError, "The tables were made at"):
            call_command("seed_desk", **options | {"days": 200})
