"""The package's own addresses, and the same products in APIs of Django Ninja's and of Django REST framework's."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.http import HttpRequest
from django.urls import include, path
from ninja import NinjaAPI
from ninja.security import APIKeyHeader
from rest_framework.authentication import BaseAuthentication
from rest_framework.routers import DefaultRouter

from kck_flow.contrib.drf import ProductViewSet
from kck_flow.contrib.ninja import router


class KnownBy(APIKeyHeader):
    """Whose name stands in a header; without one, nobody, who may come in as well."""

    param_name = "X-Name"

    def authenticate(self, request: HttpRequest, key: str | None) -> Any:
        return User.objects.filter(username=key or "").first() or "somebody"


class Named(BaseAuthentication):
    """The same for the other."""

    def authenticate(self, request: Any) -> Any:
        found = User.objects.filter(username=request.headers.get("X-Name", "")).first()
        return (found, None) if found is not None else None


class Products(ProductViewSet):
    authentication_classes = [Named]
    permission_classes: list[Any] = []


ninja = NinjaAPI(title="Shop", urls_namespace="adapted")
ninja.add_router("flow", router(auth=KnownBy()))
drf = DefaultRouter(trailing_slash=False)
drf.register("products", Products, basename="product")

urlpatterns = [
    path("x/y/", include("kck_flow.urls")),
    path("ninja/", ninja.urls),
    path("drf/", include(drf.urls)),
]
