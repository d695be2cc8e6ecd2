"""Primers whose products are windows of time: one size of window, or several side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from . import key as keys
from .errors import DeclarationError, InvalidKey
from .key import Key
from .parameter import ChoiceParameter, Parameter
from .primer import Primer
from .windows import Window, as_window


class Windowed(Primer):
    """Base of what has a product for each window: time frames, and topics with windows.

    With one size, a key ends in its window: ``weather/JFK/2026-01-31T10``. With several, the size stands before it:
    ``weather/JFK/1h/2026-01-31T10``. A window is spelled by its first instant: a day, a week or a month by its first
    day in the zone of the primer, anything else in UTC.

    Attributes:
        windows: Sizes by name, the finest first, such as ``["1m", "1h", "1d"]``; empty for one size alone.
        tz: Zone in which days, weeks and months begin; the project's ``TIME_ZONE`` where not given.
    """

    windows: Sequence[str] = ()
    tz: str | None = None

    def __init__(self) -> None:
        super().__init__()
        self.own_parameters: tuple[Parameter[Any], ...] = self.parameters
        one = self.one_size()
        names = self.windows
        if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
            raise DeclarationError(f"windows is a list of sizes, such as ['1m', '1h', '1d'], not {names!r}.")
        if one is not None and names:
            raise DeclarationError("give either one size of window or several, not both.")
        if len(set(names)) < len(names):
            raise DeclarationError(f"windows names a size twice: {', '.join(names)}.")
        # Sizes by name; the only one has no name.
        self.sizes: dict[str, Window] = (
            {"": as_window(one, self.tz)}
            if one is not None
            else {name: as_window(name, self.tz) for name in names}
        )
        if names:
            self.parameters = (*self.parameters, ChoiceParameter("size", list(names), default=None))
        if self.sizes:
            self.parameters = (*self.parameters, StartParameter(self.sizes))

    def one_size(self) -> str | timedelta | None:
        """Return the size of a window where there is one size only."""
        return None

    def parse_key(self, text: str) -> Key:
        key = super().parse_key(text)
        self._refuse_crooked(key)
        return key

    def build_key(self, **params: Any) -> Key:
        key = super().build_key(**params)
        self._refuse_crooked(key)
        return key

    def _refuse_crooked(self, key: Key) -> None:
        window, start = self.window_of(key), key.params.get("window")
        if start is None:
            return
        if window is None:
            raise InvalidKey(f"{str(key)!r} says no size of its window: {', '.join(self.sizes)}.")
        near = window.start_of(start)
        if near != start:
            around = self.key_at(key.params, key.params.get("size") or "", near)
            raise InvalidKey(
                f"{str(key)!r}: no window begins there. The window around it is {str(around)!r}."
            )

    def window_of(self, key: Key) -> Window | None:
        """Return the size of a key's window; None of a primer without windows."""
        return self.sizes.get(key.params.get("size") or "")

    def key_at(self, params: Mapping[str, Any], size: str, at: datetime) -> Key:
        """Return the key of the window around an instant: of the own parameters in ``params``, and a size's name."""
        own = {one.name: params[one.name] for one in self.own_parameters if one.name in params}
        more = {"size": size} if size else {}
        return keys.build(
            self.name, self.parameters, {**own, **more, "window": self.sizes[size].start_of(at)}
        )

    def series_key(self, params: Mapping[str, Any], size: str) -> Key:
        """Return the key of what the windows of one product and size have in common: without a window."""
        own = {one.name: params[one.name] for one in self.own_parameters if one.name in params}
        return keys.build(self.name, self.parameters, {**own, **({"size": size} if size else {})})

    def bounds(self, key: Key) -> tuple[datetime, datetime]:
        """Return (start, end) of a key's window. Raises InvalidKey: it names none."""
        window, start = self.window_of(key), key.params.get("window")
        if window is None or start is None:
            raise InvalidKey(f"{str(key)!r} names no window: {keys.usage(self.name, self.parameters)}.")
        return start, window.after(start)


class StartParameter(Parameter[datetime]):
    """Which window is meant: by its first instant."""

    def __init__(self, sizes: Mapping[str, Window]) -> None:
        dated = next((window for window in sizes.values() if window.is_dated), None)
        # Its days are spelled as dates. Made once: keys are built for each message.
        self._day = Window("day", dated.tz if dated is not None else "UTC")
        self.expected = "the first instant of a window, such as 2026-01-31T10 or 2026-01-31"
        # Left out, it is all of them: ``cache.series("weather/JFK", …)``.
        super().__init__("window", default=None)

    def parse(self, text: str) -> datetime:
        if "T" in text:
            at = datetime.fromisoformat(text)
            at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
            if not 2 <= at.year <= 9998:
                raise ValueError(f"{text!r} is out of range")
            return at
        # A date, a week or a month, as the size that has such days says.
        return self._day.day(text)

    def to_text(self, value: Any) -> str:
        if not isinstance(value, datetime):
            return str(value)
        if value.tzinfo is None:
            raise ValueError("a naive instant")
        at = value.astimezone(UTC)
        # A midnight that comes twice (Havana) is the day's the first time, and an hour the second.
        if self._day.start_of(at) == at:
            return self._day.text_of(at)
        text = at.strftime("%Y-%m-%dT%H:%M:%S")
        if at.microsecond:
            return f"{text}.{at.microsecond:06}Z"
        return text.removesuffix(":00").removesuffix(":00") if at.second == 0 else f"{text}Z"
