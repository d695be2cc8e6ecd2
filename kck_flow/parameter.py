"""Parameter: one typed part of a key; text to value and back.

Each kind has one canonical spelling for a value, so that equal values make equal keys: ``007`` is ``7``,
``1.00`` is ``1`` (as a decimal), ``2026-01-31T11:00+01:00`` is ``2026-01-31T10:00:00Z``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, tzinfo
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

from .errors import DeclarationError

if TYPE_CHECKING:
    from django.db.models import Model

T = TypeVar("T")


class _Required:
    def __repr__(self) -> str:
        return "REQUIRED"


REQUIRED: Final = _Required()
_WORDS: Final[dict[Any, str]] = {
    int: "an int",
    float: "a number",
    str: "a text",
    UUID: "a UUID",
    Decimal: "a decimal",
}


class Parameter(Generic[T]):
    """One typed part of a key. Subclasses say how a value is spelled.

    Args:
        name: A Python identifier; the name in ``key.params`` and in ``build_key(name=value)``.
        default: Value when the part is left out; without one the part is required. None is a value of its
            own.
        from_str, to_str: For a kind of your own: text to value, raising ValueError (or KeyError, TypeError …) for a
            text that is none; value to text (``str``).
        label: For people; the name where not given.
    """

    expected = "a value"

    def __init__(
        self,
        name: str,
        *,
        default: Any = REQUIRED,
        from_str: Callable[[str], T] | None = None,
        to_str: Callable[[T], str] | None = None,
        label: str = "",
    ) -> None:
        if not isinstance(name, str) or not name.isidentifier():
            raise DeclarationError(f"A parameter's name must be an identifier, not {name!r}.")
        for option, function in (("from_str", from_str), ("to_str", to_str)):
            if function is not None and not callable(function):
                raise DeclarationError(
                    f"{option} of parameter {name!r} must be a function, such as int, not {function!r}."
                )
        self.name = name
        self.label = label or name
        self._from_str = from_str
        self._to_str = to_str
        if from_str is not None:
            self.expected = _WORDS.get(from_str) or f"what {getattr(from_str, '__name__', from_str)} accepts"
        try:
            self.default = default if default is REQUIRED or default is None else self.clean(default)
        except (ValueError, TypeError) as error:
            raise DeclarationError(f"Parameter {name!r}: its default {error}.") from None

    @property
    def has_default(self) -> bool:
        """Whether the part may be left out."""
        return self.default is not REQUIRED

    def from_text(self, text: str) -> T:
        """Return the value that ``text`` spells.

        Raises:
            ValueError: it spells none; the message reads after the parameter's name: "must be an int, not
                'x'".
        """
        try:
            return self.parse(text)
        except (ValueError, TypeError, ArithmeticError, LookupError, AttributeError):
            raise ValueError(f"must be {self.expected}, not {_short(text)}") from None

    def clean(self, value: Any) -> T:
        """Return ``value`` as this parameter's type; text is parsed. Raises ValueError as ``from_text`` does."""
        if isinstance(value, str):
            return self.from_text(value)
        try:
            text = self.to_text(value)
        except (ValueError, TypeError, ArithmeticError, AttributeError):
            raise ValueError(f"must be {self.expected}, not {_short(value)}") from None
        return self.from_text(text)

    def parse(self, text: str) -> T:
        if self._from_str is None:
            return text  # type: ignore[return-value]
        return self._from_str(text)

    def to_text(self, value: Any) -> str:
        """Return the one spelling of ``value``, not yet escaped."""
        return self._to_str(value) if self._to_str is not None else str(value)

    def to_json(self, value: T) -> Any:
        """Return ``value`` as it stands in the ``params`` column: a JSON number, boolean or text."""
        return value if value is None or isinstance(value, (int, str)) else self.to_text(value)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"


class StringParameter(Parameter[str]):
    """Any text, the empty one included, but for NUL, which PostgreSQL's text cannot hold."""

    expected = "a text"

    def parse(self, text: str) -> str:
        if "\0" in text:
            raise ValueError
        return text

    def clean(self, value: Any) -> str:
        if not isinstance(value, str):
            raise ValueError(f"must be {self.expected}, not {_short(value)}")
        return self.from_text(str(value))


class IntegerParameter(Parameter[int]):
    """A whole number of up to 4,000 digits."""

    expected = "an int"
    DIGITS = 4000

    def parse(self, text: str) -> int:
        if not re.fullmatch(rf"[+-]?[0-9]{{1,{self.DIGITS}}}", text.strip(), re.ASCII):
            raise ValueError
        return int(text)

    def clean(self, value: Any) -> int:
        if isinstance(value, str):
            return self.from_text(value)
        # True is an int to Python; as a part of a key it is a mistake.
        if isinstance(value, bool) or not hasattr(value, "__index__"):
            raise ValueError(f"must be {self.expected}, not {_short(value)}")
        number = int(value.__index__())
        # By its bits first: ten to the four-thousandth takes longer than all the rest.
        if number.bit_length() > 3 * self.DIGITS and not -(10**self.DIGITS) < number < 10**self.DIGITS:
            raise ValueError(f"must be {self.expected} of at most {self.DIGITS} digits")
        return number


class FloatParameter(Parameter[float]):
    """A finite float in its shortest exact spelling (``repr``); -0.0 is 0.0."""

    expected = "a finite number"

    def parse(self, text: str) -> float:
        number = float(text)
        if number != number or number in (float("inf"), float("-inf")):
            raise ValueError
        return number + 0.0

    def clean(self, value: Any) -> float:
        if isinstance(value, bool):
            raise ValueError(f"must be {self.expected}, not {_short(value)}")
        return super().clean(value)

    def to_text(self, value: Any) -> str:
        return repr(float(value) + 0.0)

    def to_json(self, value: float | None) -> Any:
        return value


class DecimalParameter(Parameter[Decimal]):
    """A finite decimal; 1.00 and 1 are one key."""

    expected = "a decimal number"

    def parse(self, text: str) -> Decimal:
        number = Decimal(text)
        if not number.is_finite() or abs(number.adjusted()) > 1000:
            raise ValueError
        return _trimmed(number)

    def clean(self, value: Any) -> Decimal:
        if isinstance(value, bool):
            raise ValueError(f"must be {self.expected}, not {_short(value)}")
        return self.from_text(str(value))

    def to_text(self, value: Any) -> str:
        return f"{_trimmed(Decimal(value)):f}"


class BooleanParameter(Parameter[bool]):
    """``true`` or ``false``; 1, 0, yes, no, on and off are understood."""

    expected = "true or false"
    WORDS = {
        "true": True,
        "1": True,
        "yes": True,
        "on": True,
        "false": False,
        "0": False,
        "no": False,
        "off": False,
    }

    def parse(self, text: str) -> bool:
        if text.lower() not in self.WORDS:
            raise ValueError
        return self.WORDS[text.lower()]

    def to_text(self, value: Any) -> str:
        return str(value).lower()


class DateParameter(Parameter[date]):
    """A calendar day, ``2026-01-31``."""

    expected = "a date such as 2026-01-31"

    def parse(self, text: str) -> date:
        return date.fromisoformat(text)

    def clean(self, value: Any) -> date:
        if isinstance(value, datetime):
            raise ValueError(f"must be {self.expected}, not an instant (whose day depends on the zone)")
        return super().clean(value)

    def to_text(self, value: Any) -> str:
        return value.isoformat() if isinstance(value, date) else str(value)


class DateTimeParameter(Parameter[datetime]):
    """An instant, kept in UTC: ``2026-01-31T10:00:00Z``.

    Args:
        tz: Zone in which a text or value without an offset is read; the project's ``TIME_ZONE`` where not
            given.
    """

    expected = "an instant such as 2026-01-31T10:00:00+01:00"

    def __init__(self, name: str, *, tz: str | tzinfo | None = None, **options: Any) -> None:
        try:
            self._tz = ZoneInfo(tz) if isinstance(tz, str) else tz
        except (ValueError, LookupError):
            raise DeclarationError(
                f"tz of parameter {name!r} must be a time zone such as 'Europe/Paris', not {tz!r}."
            ) from None
        super().__init__(name, **options)

    def parse(self, text: str) -> datetime:
        instant = datetime.fromisoformat(text)
        if instant.tzinfo is None:
            instant = instant.replace(tzinfo=self._zone())
        return instant.astimezone(UTC)

    def _zone(self) -> tzinfo:
        if self._tz is not None:
            return self._tz
        from django.conf import settings

        return ZoneInfo(settings.TIME_ZONE or "UTC")

    def to_text(self, value: Any) -> str:
        if not isinstance(value, datetime):
            return str(value)
        if value.tzinfo is None:
            value = value.replace(tzinfo=self._zone())
        text: str = value.astimezone(UTC).isoformat()
        return text.replace("+00:00", "Z")


class UUIDParameter(Parameter[UUID]):
    """A UUID in its usual lower-case spelling."""

    expected = "a UUID"

    def parse(self, text: str) -> UUID:
        return UUID(text)


class ChoiceParameter(Parameter[Any]):
    """One of a fixed list.

    Args:
        choices: Values, ``(value, label)`` pairs, or a Django ``Choices`` or other enum class.
    """

    def __init__(self, name: str, choices: Iterable[Any], **options: Any) -> None:
        pairs = getattr(choices, "choices", choices)
        if isinstance(pairs, str) or not isinstance(pairs, Iterable):
            raise DeclarationError(
                f"The choices of parameter {name!r} are a list or an enum class, not {_short(choices)}."
            )
        self.choices: dict[str, tuple[Any, Any]] = {}
        for choice in pairs:
            value, label = choice if isinstance(choice, (tuple, list)) else (choice, str(choice))
            value = getattr(value, "value", value)
            if self.choices.get(str(value), (value,))[0] != value:
                raise DeclarationError(
                    f"Two choices of parameter {name!r} are spelled {str(value)!r} in a key."
                )
            self.choices[str(value)] = (value, label)
        if not self.choices:
            raise DeclarationError(f"The choices of parameter {name!r} are empty.")
        super().__init__(name, **options)

    @property
    def expected(self) -> str:  # type: ignore[override]
        return "one of " + ", ".join(self.choices)

    def parse(self, text: str) -> Any:
        if text not in self.choices:
            raise ValueError
        return self.choices[text][0]

    def to_text(self, value: Any) -> str:
        return str(getattr(value, "value", value))


class ModelParameter(Parameter[Any]):
    """A row of a model, held as its primary key; an instance may be given.

    Args:
        model: The model class, or ``"app_label.ModelName"``.
        field: Column of a counted model that holds this parameter (stocks and flows).
    """

    def __init__(
        self, name: str, model: type[Model] | str, *, field: str | None = None, **options: Any
    ) -> None:
        if not isinstance(model, (str, type)):
            raise DeclarationError(
                f"The model of parameter {name!r} is a class or 'app_label.ModelName', not {_short(model)}."
            )
        self._model = model
        self.field = field
        super().__init__(name, **options)

    @property
    def model(self) -> type[Model]:
        if isinstance(self._model, str):
            from django.apps import apps

            try:
                self._model = apps.get_model(self._model)
            except (LookupError, ValueError):
                raise DeclarationError(
                    f"Parameter {self.name!r} names the model {self._model!r}, and there is none of that name "
                    "(write 'app_label.ModelName')."
                ) from None
        return self._model

    @property
    def expected(self) -> str:  # type: ignore[override]
        return f"a primary key of {self.model._meta.label}"

    def parse(self, text: str) -> Any:
        from django.core.exceptions import ValidationError

        try:
            return self.model._meta.pk.to_python(text)
        except ValidationError:
            raise ValueError from None

    def clean(self, value: Any) -> Any:
        pk = getattr(value, "pk", value)
        if pk is None or isinstance(pk, bool):
            raise ValueError(f"must be {self.expected}, not {_short(value)} (is it saved?)")
        return super().clean(pk)


def parameters(declared: Iterable[Any]) -> tuple[Parameter[Any], ...]:
    """Return a primer's declared parameters as ``Parameter`` objects.

    Args:
        declared: ``Parameter`` objects, or dicts ``{"name": "id", "from_str": int}`` with the arguments of
            one.

    Raises:
        DeclarationError: neither, or two of one name.
    """
    found: list[Parameter[Any]] = []
    for item in declared:
        if isinstance(item, dict):
            try:
                item = Parameter(**item)
            except TypeError as error:
                raise DeclarationError(
                    f"The parameter {item!r} is not understood ({error}). Write {{'name': 'id', 'from_str': int}}."
                ) from None
        if not isinstance(item, Parameter):
            raise DeclarationError(
                f"A parameter is a Parameter or a dict with a name and from_str, not {item!r}."
            )
        if any(other.name == item.name for other in found):
            raise DeclarationError(f"Two parameters are named {item.name!r}.")
        found.append(item)
    return tuple(found)


def _trimmed(number: Decimal) -> Decimal:
    # normalize() would round to the context's precision; a key may not lose digits.
    sign, digits, exponent = number.as_tuple()
    assert isinstance(exponent, int)
    while len(digits) > 1 and digits[-1] == 0 and exponent < 0:
        digits, exponent = digits[:-1], exponent + 1
    if digits == (0,):
        return Decimal(0)
    if exponent > 0:
        digits, exponent = digits + (0,) * exponent, 0
    return Decimal((sign, digits, exponent))


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:  # an int of 5,000 digits, or an object whose repr is broken
        text = f"a {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:77]}..."
