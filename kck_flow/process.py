"""Process: stocks and the flows between them, shown and balanced together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from .primer import Primer
from .stock import Flow, Stock

if TYPE_CHECKING:
    from .key import Key


class Process(Primer):
    """Stocks of one model and the flows between them. Its value is what each stock held at its opening, what came in
    and went out since, and what it holds now.

    Attributes:
        stocks: Stocks, as classes or key bases. Each row is in one of them at most (see ``overlapping``).
        flows: Flows that move rows between these and the outside, as classes or key bases. A transition is counted by
            one of them at most.
        complete: Whether the flows count all that moves: True makes a rest an error of ``kck check --balance``. False:
            what no flow counts is shown as uncounted.
        overlapping: Whether a row may be in several of the stocks.

    Its parameters are those of its stocks and flows, and it balances for each key.
    """

    stocks: Sequence[type[Stock] | str] = ()
    flows: Sequence[type[Flow] | str] = ()
    complete: bool = False
    overlapping: bool = False
    capture: Literal["triggers"] = "triggers"
    _captures = ("triggers",)

    def compute(self, key: Key) -> Any:
        """What a process shows is read from its stocks and flows; nothing of it is computed or stored."""
        raise NotImplementedError(f"{self.name!r} is read from its stocks and flows.")
