from django.urls import include, path

urlpatterns = [
    path("", include("flights.urls")),
    path("flow/", include("kck_flow.urls")),  # the same numbers, on the package's own pages
]
