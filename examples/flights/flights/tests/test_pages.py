"""Every page answers, needs no script, and keeps to its policy."""

import re
from datetime import datetime

from django.test import TestCase
from django.urls import reverse
from kck_flow import Cache

from flights import board, replaying
from flights.clocks import NEW_YORK
from flights.models import Flight
from flights.tests.base import FlightsTestCase

PAGES = [
    "/",
    "/airports/EWR/",
    "/airports/JFK/",
    "/airports/LGA/",
    "/airports/JFK/2013-03-08T13Z/",
    "/airports/JFK/2013-06-08T13Z/",  # weather and no flights, in this slice of the year
    "/airlines/UA/2013-03-08/",
    "/airlines/UA/2013-12-31/",
    "/destinations/late/5/",
    "/destinations/ORD/",
    "/mornings/",
    "/knock-on/",
    "/weather/JFK/2013-03-08/",
    "/weather/LGA/2013-12-31/",
    "/live/",
]
NOWHERE = {
    "/airports/BOS/": "one of EWR, JFK, LGA",
    "/airports/JFK/2014-03-08T13Z/": "the flights of 2013",
    "/airports/JFK/2013-02-30T13Z/": "",
    "/airlines/ZZ/2013-03-08/": "No airline has the code ZZ",
    "/airlines/UA/2013-02-30/": "",
    "/destinations/late/0/": "between 1 and 105",
    "/destinations/JFK/": "Nothing flew from New York to JFK",
    "/flights/999999999/": "",
    "/weather/BOS/2013-03-08/": "one of EWR, JFK, LGA",
    "/weather/JFK/2013-02-30/": "",
    "/nothing/": "",
}


class Pages(FlightsTestCase):
    def test_every_page_answers_without_scripts_or_styles_of_its_own(self) -> None:
        for path in [*PAGES, f"/flights/{Flight.objects.all()[0].pk}/"]:
            with self.subTest(path):
                answer = self.client.get(path)
                self.assertEqual(answer.status_code, 200)
                self.assertTrue(answer.headers["Content-Security-Policy"].startswith("default-src 'self'"))
                text = answer.content.decode()
                self.assertIsNone(re.search(r"<script|<style|\sstyle=|\son[a-z]+=|javascript:", text))
                self.assertIn("What this page is made of", text)
                for link in set(re.findall(r'href="(/[^"]*)"', text)) - {"/static/flights/icon.svg"}:
                    if not link.startswith("/static/"):
                        self.assertNotEqual(self.client.get(link).status_code, 500, link)

    def test_what_is_not_there_is_404_with_a_reason_and_makes_no_product(self) -> None:
        for path, reason in NOWHERE.items():
            with self.subTest(path):
                answer = self.client.get(path)
                self.assertEqual(answer.status_code, 404)
                self.assertIn(reason, answer.content.decode())
        self.assertFalse(Cache.get_instance().is_set("destination/JFK"))

    def test_what_is_missing_is_a_dash_and_zero_is_zero(self) -> None:
        text = self.client.get("/airlines/UA/2013-12-31/").content.decode()
        self.assertIn('<b>Flights</b><span class="big">0</span>', text)
        self.assertIn('<b>Mean delay</b><span class="big">—</span>', text)

    def test_the_live_page_shows_where_the_replay_is(self) -> None:
        self.assertIn("Before the first flight", self.client.get("/live/").content.decode())
        list(replaying.replay(until=datetime(2013, 3, 8, 12, tzinfo=NEW_YORK)))
        text = self.client.get("/live/").content.decode()
        self.assertIn("8 March 2013, 12:00 EST", text)
        for state in board.states().values():
            self.assertIn(f'<span class="big">{state["value"]:,}</span>', text)

    def test_the_forms_lead_to_pages(self) -> None:
        asked = self.client.get("/find/", {"airline": "ua", "day": "2013-03-08"})
        self.assertRedirects(asked, "/airlines/UA/2013-03-08/")
        asked = self.client.get("/find/", {"airport": "JFK", "day": "2013-03-08", "hour": 8})
        self.assertRedirects(asked, "/airports/JFK/2013-03-08T13Z/")  # in UTC: no hour is there twice
        for wrong in ({}, {"day": "2014-01-01"}, {"day": "soon"}, {"day": "2013-03-08", "hour": 24}):
            self.assertEqual(self.client.get("/find/", wrong).status_code, 422)


class Change(FlightsTestCase):
    def setUp(self) -> None:
        self.flight = Flight.objects.filter(origin="EWR", departure_delay__gt=60)[0]
        self.path = reverse("flight", args=[self.flight.pk])

    def test_a_saved_delay_shows_before_and_after(self) -> None:
        before = Cache.get_instance().get("delay_tally/EWR")["minutes"]
        answer = self.client.post(
            self.path, {"departure_delay": self.flight.departure_delay + 100}, follow=True
        )
        text = answer.content.decode()
        self.assertIn("Saved; nothing was counted again", text)
        self.assertIn(f'<td class="n">{before:,}</td><td class="n"><b>{before + 100:,}</b></td>', text)

    def test_an_empty_delay_is_a_cancelled_flight(self) -> None:
        before = Cache.get_instance().get("delay_tally/EWR")["cancelled"]
        self.client.post(self.path, {"departure_delay": ""})
        self.assertEqual(Cache.get_instance().get("delay_tally/EWR")["cancelled"], before + 1)

    def test_nonsense_is_refused_and_nothing_is_saved(self) -> None:
        for wrong in ("soon", "1e9", "-500", "99999"):
            answer = self.client.post(self.path, {"departure_delay": wrong})
            self.assertEqual(answer.status_code, 422)
            self.assertIn("errorlist", answer.content.decode())
        self.flight.refresh_from_db()
        self.assertGreater(self.flight.departure_delay, 60)

    def test_the_numbers_have_pages_of_the_package(self) -> None:
        for path in (
            "/flow/",
            "/flow/processes/trips",
            "/flow/processes/trips.svg",
            "/flow/frames",
            "/flow/products.json",
        ):
            with self.subTest(path):
                answer = self.client.get(path)
                self.assertEqual(answer.status_code, 200)
                self.assertNotIn(" style=", answer.content.decode())

    def test_a_before_and_after_that_somebody_made_up_is_not_shown(self) -> None:
        self.assertNotIn("Saved;", self.client.get(self.path, {"saved": "made-up"}).content.decode())


class Empty(TestCase):
    """No flights at all: the pages say so, and nothing divides by zero."""

    def test_every_page_answers(self) -> None:
        for path in PAGES:
            with self.subTest(path):
                self.assertIn(self.client.get(path).status_code, (200, 404))
