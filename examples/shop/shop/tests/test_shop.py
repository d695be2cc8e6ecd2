"""The story is always the same; what is counted of it is what plain SQL says, and what the story says of the past."""

from __future__ import annotations

import io
import re
from collections import Counter
from datetime import datetime, timedelta
from itertools import pairwise
from unittest.mock import patch
from zoneinfo import ZoneInfo

from django.core.management import CommandError, call_command
from django.db import connection
from django.test import SimpleTestCase, TestCase, TransactionTestCase
from kck_flow import Cache
from kck_flow.models import Annotation
from kck_flow.testing import reset

from shop import seeding
from shop.generating import Life, Story
from shop.models import Account

PARIS = ZoneInfo("Europe/Paris")
# With the night on which clocks spring forward.
STORY = Story(42, datetime(2026, 3, 31, 15, tzinfo=PARIS), 36, 180)
STOCKS = {"trial": "trial", "active": "active", "past due": "past_due", "churned": "churned"}


def state_at(life: Life, at: datetime) -> str | None:
    return next((state for moved_at, state in reversed(life.moves) if moved_at < at), None)


class StoryTests(SimpleTestCase):
    def test_a_seed_always_tells_the_same(self) -> None:
        again, other = (Story(seed, STORY.until, STORY.days, 180) for seed in (42, 43))
        self.assertEqual(STORY.lives(), again.lives())
        self.assertNotEqual(STORY.lives(), other.lives())
        lives = STORY.lives()
        self.assertEqual(lives, sorted(lives, key=lambda life: life.moves[0]))
        for life in lives:
            instants = [at for at, _ in life.moves]
            for earlier, later in pairwise(instants):
                self.assertGreater(later.astimezone(PARIS).date(), earlier.astimezone(PARIS).date())
        on_weekdays = Counter(life.moves[0][0].astimezone(PARIS).weekday() for life in lives)
        self.assertGreater(on_weekdays[1], on_weekdays[6])


class CountedTests(TestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        reset()
        with patch.object(seeding, "WORKED", 2):
            for _ in seeding.live(STORY):
                pass

    def test_what_is_counted_is_what_plain_sql_says(self) -> None:
        cache = Cache.get_instance()
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT state, plan, country, count(*), sum(price) FROM shop_account "
                "GROUP BY GROUPING SETS ((state), (state, plan), (state, country))"
            )
            rows = cursor.fetchall()
            cursor.execute("SELECT sum(price) FROM shop_account WHERE state IN ('active', 'past due')")
            ((revenue,),) = cursor.fetchall()
        for state, key in STOCKS.items():
            with self.subTest(key):
                told = cache.get(key)
                own = {(plan, country): n for held, plan, country, n, _ in rows if held == state}
                self.assertEqual(told["value"], own.get((None, None), 0))
                by_plan = {plan: own.get((plan, None), 0) for plan, _ in Account.PLANS}
                self.assertEqual(told["facets"]["plan"], by_plan)
                by_country = {country: n for (_, country), n in own.items() if country}
                self.assertEqual(told["facets"]["country"], by_country)
        self.assertEqual(cache.get("monthly_revenue"), revenue)
        measured = cache.series("monthly_revenue", STORY.midnights[1], STORY.until, by="day")
        self.assertEqual([point.start for point in measured if point.value is None], [])
        moves = Counter(state for life in STORY.lives() for _, state in life.moves)
        self.assertEqual(cache.get("signing_up")["value"], moves["trial"])
        self.assertEqual(cache.get("expiring")["value"], moves["expired"])
        into_active = sum(cache.get(key)["value"] for key in ("converting", "paying", "coming_back"))
        self.assertEqual(into_active, moves["active"])
        days = cache.series("sign_ups", STORY.midnights[0], STORY.until)
        self.assertEqual(sum(point.value for point in days), Account.objects.count())
        steps = cache.series("signing_up", STORY.midnights[0], STORY.until, by="day")
        self.assertEqual([point.value or 0 for point in steps], [point.value for point in days])


class SeedTests(TransactionTestCase):
    def test_the_command_lives_it_once_and_it_balances_ever_since(self) -> None:
        # The package's tables, made anew: on the first day of the story.
        call_command("migrate", "kck_flow", "zero", verbosity=0)
        reset()
        options = {"until": STORY.until, "days": STORY.days, "accounts": 180, "stderr": io.StringIO()}
        with patch.object(seeding, "WORKED", 2):
            call_command("seed_shop", **options)
        said = io.StringIO()
        call_command("kck", "check", "--balance", stdout=said)
        self.assertIn("1 process: 1 balanced", said.getvalue())
        cache, lives = Cache.get_instance(), STORY.lives()
        start = STORY.midnights[15]
        for at in (start, start + timedelta(hours=9, minutes=41)):
            held = Counter(state_at(life, at) for life in lives)
            told = {state: cache.value_at(key, at)["value"] for state, key in STOCKS.items()}
            self.assertEqual(told, {state: held[state] for state in STOCKS})
        # As it was recorded by night: by plan, too.
        (point,) = cache.series("active", STORY.midnights[-1], STORY.until, by="day", facet="plan")
        held = Counter(life.plan for life in lives if state_at(life, STORY.midnights[-1]) == Account.ACTIVE)
        self.assertEqual(point.value, {plan: held[plan] for plan, _ in Account.PLANS})
        picture = cache.picture("subscriptions", start, by="day")
        self.assertTrue(picture["balanced"])
        self.assertEqual(picture["stocks"]["active"]["opening"], cache.value_at("active", start)["value"])
        self.assertEqual(Annotation.objects.count(), 2)
        self.assertTrue(self.client.login(username="demo", password="demo"))
        self.walk()
        # A number leads to who is behind it, and what is done to them there moves it.
        some = list(Account.objects.filter(state=Account.ACTIVE).values_list("pk", flat=True)[:3])
        Account.objects.filter(pk__in=some).update(state=Account.PAST_DUE, changed_at=STORY.until)
        behind, active = cache.get("past_due")["value"], cache.get("active")["value"]
        page = self.client.get("/members/past_due", follow=True)
        self.assertEqual(page.context["cl"].result_count, behind)
        answer = {"action": "have_paid", "_selected_action": some[:2]}
        page = self.client.post(page.redirect_chain[-1][0], answer, follow=True)
        said = [str(message) for message in page.context["messages"]]
        self.assertIn("2 of them were past due, and are active.", said)
        self.assertEqual(
            (cache.get("past_due")["value"], cache.get("active")["value"]), (behind - 2, active + 2)
        )
        again = io.StringIO()
        call_command("seed_shop", **options | {"stderr": again})
        self.assertIn("are there already", again.getvalue())
        Account.objects.all().delete()
        with self.assertRaisesMessage(CommandError, "The tables were made at"):
            call_command("seed_shop", **options | {"days": 200})

    def walk(self) -> None:
        """Follow each number of each page to the rows behind it, and count them; or be told why there are none."""
        rows = (
            self.client.get("/overview.json").json()["rows"]
            + self.client.get("/products.json").json()["rows"]
        )
        tiles = self.client.get("/").content.decode()
        followed = explained = 0
        for key in {row["key"]: None for row in rows if row["kind"] not in ("process", "action")}:
            page = self.client.get(f"/products/{key}")
            self.assertEqual(page.status_code, 200)
            html = page.content.decode()
            link = re.search(r'href="(/members/[^"]+)"', html)
            if link is None:
                self.assertRegex(html, "This number (counts what moved|is measured)", key)
                explained += 1
                continue
            value = Cache.get_instance().get(key)
            behind = self.client.get(link[1], follow=True).context["cl"]
            self.assertEqual(behind.result_count, value["value"], key)
            # From the overview, too, in one click.
            self.assertIn(f'<a class="kck-to-rows" href="{link[1]}"', tiles)
            self.assertIn(f'<p class="kck-number">{value["value"]:,} ', html)
            for facet, counts in value["facets"].items():
                for one, count in counts.items():
                    there = f"{link[1]}?facet.{facet}={one}"
                    self.assertIn(f'<a href="{there}">{count:,}</a>', html)
                    over_time = self.client.get(f"/products/{key}.json?facet.{facet}={one}&by=month").json()
                    self.assertEqual(over_time["rows"][-1]["value"], count, (key, facet, one))
                    listed = self.client.get(there, follow=True).context["cl"]
                    self.assertEqual(listed.result_count, count, (key, facet, one))
            followed += 1
        self.assertEqual(followed, len(STOCKS))
        self.assertGreaterEqual(explained, 10)  # seven flows, three metrics
