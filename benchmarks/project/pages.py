"""The addresses of the contestants that are looked at."""

from django.urls import include, path

urlpatterns = [path("flow/", include("kck_flow.urls"))]
