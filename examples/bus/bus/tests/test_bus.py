"""The generator makes the same messages each time, and each of them counts once, however often it is sent."""

from __future__ import annotations

import io
import random
from datetime import UTC, datetime, timedelta

from django.core.management import CommandError, call_command
from django.test import SimpleTestCase, TestCase
from kck_flow import Cache, send
from kck_flow.streams import topics
from kck_flow.testing import freeze_time

from bus import auditing, generating, sending
from bus.management.commands.generate import rate
from bus.models import Run

T0 = datetime(2026, 3, 1, 10, tzinfo=UTC)


class TrafficTests(SimpleTestCase):
    def test_a_message_is_the_same_whoever_makes_it(self) -> None:
        one, other = generating.Traffic(7, 100.0, T0), generating.Traffic(7, 100.0, T0)
        self.assertEqual(
            list(one.messages(range(50))), list(reversed([other.message(n) for n in range(49, -1, -1)]))
        )
        self.assertNotEqual(one.message(3), generating.Traffic(8, 100.0, T0).message(3))

    def test_messages_are_out_of_order_within_the_lateness(self) -> None:
        traffic = generating.Traffic(1, 10.0, T0)
        instants = [auditing.happened_at(message) for message in traffic.messages(range(500))]
        self.assertNotEqual(instants, sorted(instants))
        for number, at in enumerate(instants):
            sent_at = T0 + timedelta(seconds=number / 10)
            self.assertLessEqual(sent_at - generating.LATENESS - timedelta(seconds=0.01), at)
            self.assertLessEqual(at, sent_at + timedelta(seconds=0.01))

    def test_some_are_sent_again(self) -> None:
        numbers = generating.shuffled(range(100, 200), range(100), 0.25, random.Random(1))
        self.assertEqual(sorted(numbers)[25:], list(range(100, 200)))
        self.assertEqual(len(set(numbers)), 125)

    def test_a_rate_is_so_many_in_a_second_a_minute_or_an_hour(self) -> None:
        self.assertEqual([rate("500"), rate("500/s"), rate("6000/m"), rate("7200/h")], [500, 500, 100, 2])


class CountingTests(TestCase):
    begun: Run

    @classmethod
    def setUpTestData(cls) -> None:
        cls.begun = Run.objects.create(seed=5, rate=50.0, began_at=T0)

    def setUp(self) -> None:
        # A log keeps two weeks: to the topics it is still that day.
        self.enterContext(freeze_time(T0 + timedelta(minutes=1)))

    def send(self, messages: int) -> None:
        draw = random.Random(2)
        while sending.send_some(self.begun.pk, messages, 0.5, draw) < messages:
            topics.drain()
        topics.drain()
        self.begun.refresh_from_db()

    def test_every_product_is_what_was_sent(self) -> None:
        self.send(1200)
        self.assertEqual(self.begun.sent, 1200)
        self.assertGreater(self.begun.handed_in, 1500)
        found = {one.key_base: one for one in auditing.audit(self.begun)}
        self.assertEqual({name: one.wrong for name, one in found.items()}, {name: [] for name in found})
        self.assertEqual(found["by_topic"].counted, 2400)  # by minute, and by hour
        self.assertEqual(found["by_category"].counted, 1200)
        said = io.StringIO()
        call_command("audit", stdout=said)
        self.assertIn("Every message that was sent is counted, once.", said.getvalue())

    def test_one_too_many_is_told(self) -> None:
        self.send(100)
        body = self.begun.traffic.message(0).body
        send("build.done", {**body, "status": "done", "seconds": 599}, id="not the generator's", at=T0)
        topics.drain()
        with self.assertRaisesMessage(CommandError, "by_package/" + body["package"]["name"]):
            call_command("audit", stdout=io.StringIO())

    def test_a_run_goes_on_with_its_own_seed_only(self) -> None:
        self.assertEqual(sending.run_of(5, 50.0), self.begun)
        with self.assertRaisesMessage(CommandError, "A run is there already: seed 5, 50 a second"):
            call_command("generate", "--seed", "6", "--seconds", "1")

    def test_a_page_would_read_it_like_this(self) -> None:
        self.send(600)
        cache = Cache.get_instance()
        board = cache.get("status")
        self.assertIn(board["bash"]["x86_64"]["status"], {"started", "done", "failed", "passed"})
        points = cache.series(
            "by_topic/build.done", T0 - timedelta(minutes=1), T0 + timedelta(minutes=1), by="1m"
        )
        self.assertEqual(sum(point.value for point in points), cache.get("by_topic/build.done/1h/2026-03-01T10")
                         + cache.get("by_topic/build.done/1h/2026-03-01T09"))  # fmt: skip
