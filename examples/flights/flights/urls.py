from datetime import UTC, date, datetime

from django.urls import path, register_converter

from flights import views


class Day:
    """A day of the year in an address: 2013-03-08."""

    regex = r"2013-[0-9]{2}-[0-9]{2}"
    to_python = staticmethod(date.fromisoformat)  # its ValueError is a 404
    to_url = staticmethod(str)


class Hour:
    """The beginning of an hour in an address: 2013-03-08T13Z. In UTC, so that no night has an hour twice."""

    regex = r"201[34]-[0-9]{2}-[0-9]{2}T[0-9]{2}Z"
    to_python = staticmethod(datetime.fromisoformat)

    @staticmethod
    def to_url(at: datetime) -> str:
        return f"{at.astimezone(UTC):%Y-%m-%dT%HZ}"


register_converter(Day, "day")
register_converter(Hour, "hour")

urlpatterns = [
    path("", views.overview, name="overview"),
    path("airports/<str:airport>/", views.airport, name="airport"),
    path("airports/<str:airport>/<hour:at>/", views.airport_hour, name="airport_hour"),
    path("airlines/<str:airline>/<day:day>/", views.airline_day, name="airline_day"),
    path("destinations/late/<int:top>/", views.late_destinations, name="late_destinations"),
    path("destinations/<str:airport>/", views.destination, name="destination"),
    path("mornings/", views.on_this_day, name="on_this_day"),
    path("knock-on/", views.knock_on, name="knock_on"),
    path("weather/<str:airport>/<day:day>/", views.weather_and_delays, name="weather_and_delays"),
    path("live/", views.live, name="live"),
    path("flights/<int:pk>/", views.flight, name="flight"),
    path("find/", views.find, name="find"),
]
