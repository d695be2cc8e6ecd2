"""Six tables: three that hardly change, the weather of each hour, the flights, and each flight's state as it happens.

Instants are aware and stored in UTC; delays and times in the air are whole minutes, as airlines report them.
NULL means that the source does not know, or that it never happened: a flight without ``departure_delay``
never left.
"""

from datetime import datetime, timedelta

from django.db import models


class Airline(models.Model):
    """Who flies. 16 rows."""

    code = models.CharField(primary_key=True, max_length=2, help_text="As on a ticket: UA.")
    name = models.CharField(max_length=60)

    def __str__(self) -> str:
        return self.name


class Airport(models.Model):
    """Where flights leave from and go to. 1,462 rows, of which 3 are origins and 105 destinations."""

    code = models.CharField(primary_key=True, max_length=3, help_text="As on a baggage tag: JFK.")
    name = models.CharField(max_length=60)
    latitude = models.FloatField(help_text="Degrees north.")
    longitude = models.FloatField(help_text="Degrees east.")
    altitude = models.IntegerField(help_text="Feet above the sea.")
    time_zone = models.CharField(
        max_length=40, null=True, help_text="An IANA name; NULL for three that have none."
    )

    def __str__(self) -> str:
        return f"{self.name} ({self.code})"


class Plane(models.Model):
    """What flies. 4,043 rows; of 721 of them nothing is known but the number on the tail."""

    tail_number = models.CharField(primary_key=True, max_length=6)
    year = models.IntegerField(null=True, help_text="In which it was built.")
    kind = models.CharField(max_length=30, null=True)
    manufacturer = models.CharField(max_length=40, null=True)
    model = models.CharField(max_length=30, null=True)
    engines = models.IntegerField(null=True)
    seats = models.IntegerField(null=True)
    speed = models.IntegerField(null=True, help_text="Cruising, in miles an hour.")
    engine = models.CharField(max_length=20, null=True)

    def __str__(self) -> str:
        return self.tail_number


class Weather(models.Model):
    """What was measured at an airport in the hour that begins at ``hour``. 26,115 rows."""

    airport = models.ForeignKey(Airport, models.PROTECT, related_name="weather")
    hour = models.DateTimeField()
    temperature = models.FloatField(null=True, help_text="Degrees Fahrenheit.")
    dew_point = models.FloatField(null=True, help_text="Degrees Fahrenheit.")
    humidity = models.FloatField(null=True, help_text="Percent.")
    wind_direction = models.FloatField(null=True, help_text="Degrees from north; 0 in a calm.")
    wind_speed = models.FloatField(null=True, help_text="Miles an hour. One reading, 1,048, is the source's.")
    wind_gust = models.FloatField(null=True, help_text="Miles an hour.")
    precipitation = models.FloatField(null=True, help_text="Inches.")
    pressure = models.FloatField(null=True, help_text="Millibars, at sea level.")
    visibility = models.FloatField(null=True, help_text="Miles.")

    class Meta:
        verbose_name_plural = "weather"
        constraints = [
            models.UniqueConstraint(fields=["airport", "hour"], name="flights_one_weather_an_hour"),
        ]

    def __str__(self) -> str:
        return f"{self.airport_id} {self.hour:%Y-%m-%d %H:%M %Z}"


class Flight(models.Model):
    """One departure that was in the timetable, whether it left or not. 336,776 rows."""

    airline = models.ForeignKey(Airline, models.PROTECT, related_name="flights")
    number = models.IntegerField()
    plane = models.ForeignKey(Plane, models.PROTECT, null=True, related_name="flights")
    origin = models.ForeignKey(Airport, models.PROTECT, related_name="departures")
    destination = models.ForeignKey(Airport, models.PROTECT, related_name="arrivals")
    distance = models.IntegerField(help_text="Miles.")
    day = models.DateField(help_text="Of the scheduled departure, in New York.")
    scheduled_departure = models.DateTimeField()
    scheduled_arrival = models.DateTimeField()
    departure_delay = models.IntegerField(
        null=True,
        blank=True,
        help_text="Minutes after the timetable; below zero is early; NULL: it never left.",
    )
    arrival_delay = models.IntegerField(
        null=True,
        help_text="Minutes after the timetable; NULL: it never left, or landed somewhere else first.",
    )
    arrived_at = models.DateTimeField(null=True, help_text="NULL: it never did, or the source does not know.")
    air_time = models.IntegerField(null=True, help_text="Minutes.")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["day", "airline", "number", "origin"], name="flights_one_number_a_day"
            ),
        ]
        indexes = [
            models.Index(fields=["origin", "scheduled_departure"], name="flights_by_origin"),
            models.Index(fields=["airline", "day"], name="flights_by_airline"),
            models.Index(fields=["destination"], name="flights_by_destination"),
            models.Index(fields=["plane", "scheduled_departure"], name="flights_by_plane"),
            models.Index(fields=["scheduled_departure"], name="flights_by_time"),
        ]

    def __str__(self) -> str:
        return f"{self.airline_id} {self.number}, {self.origin_id} to {self.destination_id}, {self.day}"

    @property
    def departed_at(self) -> datetime | None:
        """When it left: the timetable plus the delay, which is how the source knows it too."""
        if self.departure_delay is None:
            return None
        return self.scheduled_departure + timedelta(minutes=self.departure_delay)


class Trip(models.Model):
    """One flight as it happens: ``replay_flights`` moves it from state to state.

    Beside the flights, which say how everything came out, and narrow: a row is written two or three times.
    """

    SCHEDULED, DEPARTED, LANDED = "scheduled", "departed", "landed"
    CANCELLED, DIVERTED, ARCHIVED = "cancelled", "diverted", "archived"
    STATES = [
        (SCHEDULED, "on the board"),
        (DEPARTED, "in the air"),
        (LANDED, "landed"),
        (CANCELLED, "cancelled"),
        (DIVERTED, "diverted"),
        (ARCHIVED, "archived"),
    ]

    flight = models.OneToOneField(Flight, models.CASCADE, primary_key=True, related_name="trip")
    # The flight's own, whose constraints vouch for them: here for the facets.
    airline = models.ForeignKey(
        Airline, models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )
    origin = models.ForeignKey(
        Airport, models.DO_NOTHING, db_constraint=False, db_index=False, related_name="+"
    )
    state = models.CharField(max_length=9, choices=STATES)
    changed_at = models.DateTimeField(help_text="When it came to be so, in 2013.")

    def __str__(self) -> str:
        return f"{self.flight_id} {self.state}"


class Movement(models.Model):
    """What happens to a flight and when: a view of the flights, two or three rows of each. The replay's script.

    A flight is announced a day before it is to leave. One that never left is cancelled when it was to leave, for all
    the source knows; one that came down somewhere else, and nobody wrote down when, did so when it was to land.
    """

    flight = models.ForeignKey(Flight, models.DO_NOTHING, related_name="movements")
    airline = models.ForeignKey(Airline, models.DO_NOTHING, related_name="+")
    origin = models.ForeignKey(Airport, models.DO_NOTHING, related_name="+")
    scheduled_departure = models.DateTimeField()
    was = models.CharField(max_length=9, null=True, help_text="The state it leaves; NULL: it was not there.")
    state = models.CharField(max_length=9)
    at = models.DateTimeField()

    class Meta:
        managed = False
        db_table = "flights_movement"

    def __str__(self) -> str:
        return f"{self.flight_id} {self.state} {self.at:%Y-%m-%d %H:%M %Z}"
