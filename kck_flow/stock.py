"""Stock and Facet: what is counted, and how it is split.

A stock is the set of a model's rows that a predicate picks; its product is their number (or a sum over them), in all
and by the values of its facets. Where the predicate, the facets and the parameters are expressions of the row alone,
every write to the table is captured in the writer's own transaction, and the product is what a count would say, at
every instant. Where they are not, it is computed as other products are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from . import counting
from .errors import DeclarationError
from .primer import Primer

if TYPE_CHECKING:
    from django.db.models import Model, Q, QuerySet

    from .key import Key


class Facet:
    """A split of a stock: by a column, a transform of one, or something a relation leads to.

    Args:
        name: Its name in the value, ``{"facets": {name: {…}}}``.
        lookup: What Django's ``filter`` would call it, ``"joined__year"``, ``"customer__country"``; the name where not
            given.
        values: Which values are shown, in this order, zeros included: a list, a queryset of one column
            (``values_list(…, flat=True)``) or a function that returns either. Without it, whatever is found.
        label: For people; the name where not given.
    """

    def __init__(
        self,
        name: str,
        lookup: str | None = None,
        values: Iterable[Any] | Callable[[], Iterable[Any]] | None = None,
        *,
        label: Any = "",
    ) -> None:
        if not isinstance(name, str) or not name:
            raise DeclarationError(f"A facet's name is a text, not {name!r}.")
        if lookup is not None and (not isinstance(lookup, str) or not lookup):
            raise DeclarationError(
                f"The lookup of facet {name!r} is a text, as filter() takes it ('customer__country'), not {lookup!r}."
            )
        if (
            values is not None
            and not callable(values)
            and (isinstance(values, str) or not hasattr(values, "__iter__"))
        ):
            raise DeclarationError(
                f"The values of facet {name!r} are a list, a queryset or a function, not {values!r}."
            )
        self.name = name
        self.lookups: tuple[str, ...] = (lookup or name,)
        self.values = values
        self.label = label or name

    def through(self, prefix: str) -> Facet:
        """Return the same facet for a stock from which a relation leads to this one's model:
        ``COUNTRY.through("customer")``.
        """
        if not isinstance(prefix, str) or not prefix:
            raise DeclarationError(f"Facet {self.name!r} goes through a relation, not {prefix!r}.")
        found = Facet(self.name, values=self.values, label=self.label)
        found.lookups = tuple(f"{prefix}__{lookup}" for lookup in self.lookups)
        return found

    def __mul__(self, other: Any) -> Facet:
        """Return the combination of two facets, whose values are tuples: ``Facet("country") * Facet("plan")``."""
        if not isinstance(other, Facet):
            return NotImplemented
        found = Facet(f"{self.name}*{other.name}", label=f"{self.label} × {other.label}")
        found.lookups = self.lookups + other.lookups
        return found

    def __repr__(self) -> str:
        return f"Facet({self.name!r}, {'*'.join(self.lookups)!r})"


class Stock(Primer):
    """A counted set of rows. Its value is ``{"value": 4391, "facets": {"plan": {"pro": 1204, …}, …}}``.

    Attributes:
        model: The model whose rows are counted (with ``members``), or None (with ``queryset``).
        members: Which of them, a ``Q``; all where not given.
        queryset: Any queryset, in place of both.
        facets: How the total is split.
        measure: What is counted: ``Count("*")``, or ``Sum("balance")`` over whole numbers or decimals.
        capture: ``"triggers"``: what any program writes is in the value at its commit. None: the value is computed,
            and kept as long as the expiries say.

    A parameter of the stock names a column of the model: its own name, or its ``field``.
    """

    model: type[Model] | str | None = None
    members: Q | None = None
    queryset: QuerySet[Any] | None = None
    facets: Sequence[Facet] = ()
    measure: Any = None
    capture: Literal["triggers"] | None = "triggers"
    _captures = ("triggers", None)

    def compute(self, key: Key) -> Any:
        """Count now, in one statement."""
        return counting.count(self, key)
