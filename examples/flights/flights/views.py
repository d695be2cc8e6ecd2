"""The pages. Every number on them comes from a product; none is counted when a page is asked for.

Three questions go to the tables: which flight is to be changed, whether there is an airline of that code, and
how often each product was computed.
"""

from datetime import UTC, date, datetime, timedelta
from typing import Any

from django.core import signing
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from kck_flow import Cache
from kck_flow.errors import InvalidKey

from flights import board, charts, primers, streams
from flights.clocks import NEW_YORK
from flights.figures import ORIGINS
from flights.forms import DelayForm, FindForm
from flights.models import Airline, Flight, Trip
from flights.reading import Reading, computes, read, with_computes

AIRPORTS = dict(ORIGINS)
SNOW = date(2013, 3, 8)  # a day worth showing: snow over New York
PATIENCE = {"knock_on": timedelta(seconds=2)}  # an overview says "computing" rather than wait for it
YEAR = (
    datetime(2012, 12, 30, tzinfo=UTC),
    datetime(2014, 1, 3, tzinfo=UTC),
)  # with what was announced before it
SHOWN = timedelta(seconds=120)  # how long after a save its before and after can be shown


def overview_keys() -> dict[str, str]:
    """Return the products of the first page, by the name that its template uses."""
    build = Cache.get_instance().build_key
    return {
        **{f"tally_{code}": build("delay_tally", airport=code) for code in AIRPORTS},
        **{f"board_{code}": build("delay_board", airport=code) for code in AIRPORTS},
        "airline_day": build("airline_day", airline="UA", day=SNOW),
        "airport_hour": build("airport_hour", airport="JFK", hour=_hour(SNOW, 8)),
        "late": build("late_destinations"),
        "morning": build("on_this_day"),
        "knock_on": build("knock_on"),
    }


def overview(request: HttpRequest) -> HttpResponse:
    keys = overview_keys()
    readings = {name: read(key, wait=PATIENCE.get(name)) for name, key in keys.items()}
    airports = [
        {
            "code": code,
            "name": name,
            "tally": readings[f"tally_{code}"],
            "line": _late_line(readings[f"board_{code}"]),
        }
        for code, name in ORIGINS
    ]
    late = readings["late"].value
    context = {
        "airports": airports,
        "snow": SNOW,
        "snow_hour": _hour(SNOW, 8),
        "ranking": _ranking_bars(late["ranking"]) if late else [],
        **readings,
    }
    return _page(request, "overview", readings.values(), context)


def airport(request: HttpRequest, airport: str) -> HttpResponse:
    board, tally = _known("delay_board", airport=airport), _known("delay_tally", airport=airport)
    hours = board.value["hours"] if board.value else []
    context = {
        "code": airport,
        "name": AIRPORTS[airport],
        "board": board,
        "tally": tally,
        "snow": SNOW,
        "bars": charts.bars(
            [
                (f"{row['hour']}", row["late"] / row["flights"], f"{row['late']} of {row['flights']} late")
                for row in hours
            ],
            width=720,
            height=160,
        ),
        "worst_hour": max(hours, key=lambda row: row["late"] / row["flights"], default=None),
    }
    return _page(request, "airport", [tally, board], context)


def airport_hour(request: HttpRequest, airport: str, at: datetime) -> HttpResponse:
    if at.astimezone(NEW_YORK).year != 2013:
        raise Http404("These are the flights of 2013.")
    reading = _known("airport_hour", airport=airport, hour=at)
    context = {
        "code": airport,
        "name": AIRPORTS[airport],
        "reading": reading,
        "at": at,
        "earlier": at - timedelta(hours=1),
        "later": at + timedelta(hours=1),
    }
    return _page(request, "airport_hour", [reading], context)


def airline_day(request: HttpRequest, airline: str, day: date) -> HttpResponse:
    # Looked at first: a visitor may type any code, and each would become a product of its own.
    if not Airline.objects.filter(pk=airline).exists():
        raise Http404(f"No airline has the code {airline}.")
    reading = _known("airline_day", airline=airline, day=day)
    context = {
        "code": airline,
        "day": day,
        "reading": reading,
        "earlier": day - timedelta(days=1) if day > date(2013, 1, 1) else None,
        "later": day + timedelta(days=1) if day < date(2013, 12, 31) else None,
    }
    return _page(request, "airline_day", [reading], context)


def late_destinations(request: HttpRequest, top: int) -> HttpResponse:
    if not 1 <= top <= 105:
        raise Http404("A ranking has between 1 and 105 places.")
    reading = _known("late_destinations", top=top)
    context = {
        "reading": reading,
        "top": top,
        "ranking": _ranking_bars(reading.value["ranking"]) if reading.value else [],
        "choices": [3, 5, 10, 20, 50],
    }
    return _page(request, "late_destinations", [reading], context)


def destination(request: HttpRequest, airport: str) -> HttpResponse:
    listed = read("destinations")
    if listed.value is not None and airport not in {code for code, _ in listed.value}:
        raise Http404(f"Nothing flew from New York to {airport}.")
    reading = _known("destination", airport=airport)
    return _page(request, "destination", [reading], {"code": airport, "reading": reading})


def on_this_day(request: HttpRequest) -> HttpResponse:
    reading = _known("on_this_day")
    return _page(request, "on_this_day", [reading], {"reading": reading})


def knock_on(request: HttpRequest) -> HttpResponse:
    reading = _known("knock_on")
    hours = reading.value["hours"] if reading.value else []
    context = {
        "reading": reading,
        "hours": hours,
        "bars": charts.bars(
            [
                (f"{hour}", part / minutes, f"{part:,} of {minutes:,} minutes inherited")
                for hour, minutes, part in hours
            ],
            width=720,
            height=160,
        ),
    }
    return _page(request, "knock_on", [reading], context)


def live(request: HttpRequest) -> HttpResponse:
    """Show where the replay is: the stocks, and the last 24 hours of two flows."""
    stocks = {state: read(str(stock.key_base)) for state, stock in board.STOCKS.items()}
    hourly = {
        flow: board.hourly(flow, *YEAR) for flow in ("trips_announcing", "trips_departing", "trips_landing")
    }
    latest = max((max(hours) for hours in hourly.values() if hours), default=None)
    day = [latest - timedelta(hours=back) for back in range(23, -1, -1)] if latest else []
    values = {state: reading.value for state, reading in stocks.items() if reading.value}
    carriers = sorted({code for value in values.values() for code in value["facets"]["carrier"]})
    names = dict(Trip.STATES)
    context = {
        "latest": latest,
        "states": [
            {
                "name": names[state],
                "reading": reading,
                "origins": list(reading.value["facets"]["origin"].items()) if reading.value else [],
            }
            for state, reading in stocks.items()
        ],
        "flows": [
            (said, _hour_bars(hourly[flow], day))
            for flow, said in (("trips_departing", "left"), ("trips_landing", "landed"))
        ],
        "carriers": [
            (code, [value["facets"]["carrier"].get(code, 0) for value in values.values()])
            for code in carriers
        ],
        "columns": [names[state] for state in values],
    }
    return _page(request, "live", stocks.values(), context)


def weather_and_delays(request: HttpRequest, airport: str, day: date) -> HttpResponse:
    """Show an airport's day hour by hour, as the time frames have it: what is not there is not computed for a page."""
    start, end = streams.midnight(day), streams.midnight(day + timedelta(days=1))
    weather = _known("weather", prime=False, airport=airport, size="1d", window=start)
    delays = _known("delays", prime=False, size="1d", window=start)
    cache = Cache.get_instance()
    hours = zip(
        cache.series(cache.build_key("weather", airport=airport), start, end, by="1h"),
        cache.series("delays", start, end, by="1h"),
        strict=True,
    )
    airlines = (delays.value or {}).get(airport, {})
    context = {
        "airport": airport,
        "name": AIRPORTS[airport],
        "day": day,
        "weather": weather,
        "delays": delays,
        "left": primers.together(list(airlines.values())) if delays.value is not None else None,
        "airlines": list(airlines.items()),
        "hours": [
            {
                "at": measured.start,
                "weather": measured,
                "delays": left,
                "left": primers.together(list((left.value or {}).get(airport, {}).values())),
            }
            for measured, left in hours
        ],
        "elsewhere": [code for code, _ in ORIGINS if code != airport],
        "earlier": day - timedelta(days=1) if day > date(2013, 1, 1) else None,
        "later": day + timedelta(days=1) if day < date(2013, 12, 31) else None,
    }
    return _page(request, "weather_and_delays", [weather, delays], context)


def flight(request: HttpRequest, pk: int) -> HttpResponse:
    """Show a flight; on POST change its delay, and show what that did to its airport's tally."""
    found = get_object_or_404(
        Flight.objects.select_related("airline", "origin", "destination", "plane"), pk=pk
    )
    key = Cache.get_instance().build_key("delay_tally", airport=found.origin_id)
    if request.method == "POST":
        before, counted = read(key), computes([key])[key]
        with transaction.atomic():
            locked = Flight.objects.select_for_update().get(pk=pk)
            form = DelayForm(request.POST, instance=locked)
            if form.is_valid():
                form.save()
        if form.is_valid():
            primers.changed(found)  # nobody else tells the frames, which were closed long ago
            after = read(key)
            told = {
                "before": before.value,
                "after": after.value,
                "milliseconds": round(after.milliseconds, 1),
                "computes": [counted, computes([key])[key]],
            }
            return HttpResponseRedirect(f"{reverse('flight', args=[pk])}?saved={signing.dumps(told)}")
    else:
        form = DelayForm(instance=found)
    tally = read(key)
    context = {"flight": found, "form": form, "tally": tally, "saved": _saved(request)}
    status = 422 if form.errors else 200
    return _page(request, "flight", [tally], context, status=status)


def find(request: HttpRequest) -> HttpResponse:
    """Send a visitor who filled in a form to the page that it asks for."""
    form = FindForm(request.GET)
    if not form.is_valid():
        return _page(request, "find", [], {"form": form}, status=422)
    asked = form.cleaned_data
    if asked["day"].year != 2013:
        form.add_error("day", "These are the flights of 2013.")
        return _page(request, "find", [], {"form": form}, status=422)
    if asked["airline"]:
        return redirect("airline_day", asked["airline"].upper(), asked["day"])
    return redirect(
        "airport_hour", (asked["airport"] or "JFK").upper(), _hour(asked["day"], asked["hour"] or 0)
    )


# ---------------------------------------------------------------------------------------------- between


def _page(
    request: HttpRequest, name: str, readings: Any, context: dict[str, Any], *, status: int = 200
) -> HttpResponse:
    listed = with_computes(readings)
    fresh = sum(reading.state == "fresh" for reading in listed)
    others = [reading for reading in listed if reading.state != "fresh"]
    context |= {"readings": listed, "fresh": fresh, "others": others, "now": timezone.now(), "page": name}
    return render(request, f"flights/{name}.html", context, status=status)


def _known(key_base: str, *, prime: bool = True, **params: Any) -> Reading:
    try:
        return read(Cache.get_instance().build_key(key_base, **params), prime=prime)
    except InvalidKey as error:
        raise Http404(str(error)) from error


def _hour(day: date, hour: int) -> datetime:
    return datetime(day.year, day.month, day.day, hour, tzinfo=NEW_YORK).astimezone(UTC)


def _hour_bars(hours: dict[datetime, int], day: list[datetime]) -> list[charts.Bar]:
    counts = [(f"{at.astimezone(NEW_YORK).hour}", hours.get(at, 0)) for at in day]
    return charts.bars(
        [(label, n, f"{n} flights") for label, n in counts], width=720, height=160, percent=False
    )


def _late_line(board: Reading) -> str:
    if not board.value:
        return ""
    by_day = [row for row in board.value["hours"] if row["hour"] >= 5]  # before, one flight in the whole year
    return charts.line([row["late"] / row["flights"] for row in by_day], width=160, height=36)


def _ranking_bars(ranking: list[dict[str, Any]]) -> list[dict[str, Any]]:
    top = max((row["late"] for row in ranking), default=0) or 1
    return [{**row, "width": f"{100 * row['late'] / top:.1f}"} for row in ranking]


def _saved(request: HttpRequest) -> Any:
    try:
        return signing.loads(request.GET.get("saved", ""), max_age=SHOWN)
    except signing.BadSignature:
        return None
