"""Products in an API of Django REST framework's: a viewset for its routers, a field for its serializers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.http.response import HttpResponseBase
from rest_framework.fields import Field
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.serializers import ListSerializer
from rest_framework.viewsets import ViewSet

from ..cache.facade import Cache
from ..permission import VIEW, may
from ..registry import registry
from . import faces


class ProductViewSet(ViewSet):
    """Products: ``router.register("products", ProductViewSet, basename="product")``.

    Who asks is whom the view's ``authentication_classes`` find. Answers, permissions of products, ETags and problem
    details are those of the package's own addresses, which have to be in the project's URLs as well;
    ``permission_classes`` hold besides.
    """

    lookup_value_regex = r"[\s\S]+"
    lookup_url_kwarg = "key"
    renderer_classes = [JSONRenderer]

    def perform_content_negotiation(self, request: Request, force: bool = False) -> Any:
        """The answer chooses among its own faces."""
        return super().perform_content_negotiation(request, force=True)

    def list(self, request: Request) -> HttpResponseBase:
        """The products that whoever asks may see."""
        return faces.products(request._request, request.user)

    def retrieve(self, request: Request, key: str) -> HttpResponseBase:
        """A product; with a parameter of a range, what it held over time."""
        return faces.product(request._request, key, request.user)


class ProductField(Field):
    """A product's value for each object of a serializer: ``orders = ProductField("orders_of", customer="pk")``.

    Of a list, all values are read at once. What the request's user may not see is None, as is what cannot be had now.

    Args:
        key_base: Of the products.
        parameters: Their names, each with the attribute of the object that says the value.
    """

    def __init__(self, key_base: str, **parameters: str) -> None:
        self.key_base, self.parameters = key_base, parameters
        self._held: tuple[Any, dict[str, Any]] | None = None
        super().__init__(read_only=True, source="*")

    def __deepcopy__(self, memo: Any) -> ProductField:
        return type(self)(self.key_base, **self.parameters)

    def to_representation(self, instance: Any) -> Any:
        """Return the value; see the class."""
        return self._values(instance).get(self._key(instance))

    def _key(self, instance: Any) -> str:
        named = {name: self._attribute(instance, path) for name, path in self.parameters.items()}
        primer = registry.primers[self.key_base]
        return str(primer.build_key(**named))

    @staticmethod
    def _attribute(instance: Any, path: str) -> Any:
        for name in path.split("."):
            instance = instance[name] if isinstance(instance, Mapping) else getattr(instance, name)
        return instance

    def _values(self, instance: Any) -> dict[str, Any]:
        many = getattr(self.parent, "parent", None)
        listed = many.instance if isinstance(many, ListSerializer) else None
        loaded = isinstance(listed, list | tuple) or getattr(listed, "_result_cache", None) is not None
        shown: Iterable[Any] = listed if listed is not None and loaded else ()
        if self._held is None or self._held[0] is not listed or self._key(instance) not in self._held[1]:
            request = self.context.get("request")
            user = getattr(request, "user", None)
            keys = {self._key(one) for one in (*shown, instance)}
            cache = Cache.get_instance()
            seen = [key for key in keys if may(user, VIEW, registry.key(key))]
            self._held = listed, {**dict.fromkeys(keys), **cache.get_many(seen, errors="skip")}
        return self._held[1]
