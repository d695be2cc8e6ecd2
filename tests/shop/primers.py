"""What the shop declares; found by discovery like any app's."""

from __future__ import annotations

from typing import Any

from kck_flow import On, Primer
from tests.shop.models import Author, Book


class FirstDataProduct(Primer):
    """An author's titles, declared in the form that the package's ancestors document."""

    key = "first_data_product"
    parameters = [{"name": "id", "from_str": int}]

    def compute(self, key: Any) -> Any:
        id = self.key_to_param_dict(key)["id"]
        author = Author.objects.get(pk=id)
        return {"id": author.pk, "titles": [book.title for book in author.books.order_by("title")]}


class BookCount(Primer):
    """How many books there are."""

    key_base = "book_count"
    depends_on = [On(Book)]

    def compute(self, key: Any) -> Any:
        return Book.objects.count()
