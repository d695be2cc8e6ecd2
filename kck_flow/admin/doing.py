"""What staff does about products: refresh, queue, invalidate, pause. Each asks first, and says how many; each is
written to the admin's log.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from ..cache.facade import Cache
from ..errors import KckFlowError
from ..key import Key
from ..models import DataProduct
from ..permission import may
from ..registry import registry

# So many products are computed while somebody waits for the page; so many are queued or invalidated at once.
NOW_MOST, MOST = 20, 5000


@dataclass(frozen=True)
class Deed:
    """Something to be done about products.

    Attributes:
        name, label: Its name in addresses, and for people.
        question: What is asked first, with ``%(count)s``: singular and plural.
        done: What is said afterwards, likewise.
        permission: Of ``kck_flow.permission``.
        most: About so many products at once.
        warning: What has to be known besides.
    """

    name: str
    label: Any
    question: tuple[str, str]
    done: tuple[str, str]
    permission: str
    carry: Callable[[Key], Any]
    most: int = MOST
    warning: Any = ""


@dataclass
class Plan:
    """What a deed would do.

    Attributes:
        keys: The products, or (of a pause) the families, that it is done about.
        refused: How many the user may not.
        beyond: How many were chosen besides, more than can be done at once.
        unfit: Products without a primer, which nothing computes.
    """

    deed: Deed
    keys: list[Key | str] = field(default_factory=list)
    refused: int = 0
    beyond: int = 0
    unfit: int = 0

    @property
    def question(self) -> str:
        return ngettext(*self.deed.question, len(self.keys)) % {"count": len(self.keys)}


def _refresh(key: Key) -> Any:
    return Cache.get_instance().refresh(key)


def _queue(key: Key) -> Any:
    return Cache.get_instance().request_refresh(key)


def _invalidate(key: Key) -> Any:
    return Cache.get_instance().invalidate(key)


def _pause(base: Any) -> Any:
    return Cache.get_instance().pause(str(base), note=_("paused in the admin"))


def _resume(base: Any) -> Any:
    return Cache.get_instance().resume(str(base))


DEEDS: Final[dict[str, Deed]] = {
    one.name: one
    for one in (
        Deed(
            "refresh", gettext_lazy("Refresh now"),
            ("Compute %(count)s product now?", "Compute %(count)s products now, one after the other?"),
            ("%(count)s product was computed.", "%(count)s products were computed."),
            "refresh", _refresh, NOW_MOST, gettext_lazy("The page waits until they are computed."),
        ),
        Deed(
            "queue", gettext_lazy("Queue a refresh"),
            ("Queue a refresh of %(count)s product?", "Queue a refresh of %(count)s products?"),
            ("A refresh of %(count)s product is queued.", "Refreshes of %(count)s products are queued."),
            "refresh", _queue,
        ),
        Deed(
            "invalidate", gettext_lazy("Invalidate"),
            ("Invalidate %(count)s product?", "Invalidate %(count)s products?"),
            ("%(count)s product was invalidated.", "%(count)s products were invalidated."),
            "invalidate", _invalidate,
            warning=gettext_lazy("What is stored will not be served again: whoever reads waits for a new value."),
        ),
        Deed(
            "pause", gettext_lazy("Pause the family"),
            ("Pause %(count)s family of products?", "Pause %(count)s families of products?"),
            ("%(count)s family is paused.", "%(count)s families are paused."),
            "refresh", _pause,
            warning=gettext_lazy("No product of it is refreshed by clock or by change until it is resumed."),
        ),
        Deed(
            "resume", gettext_lazy("Resume the family"),
            ("Resume %(count)s family of products?", "Resume %(count)s families of products?"),
            ("%(count)s family is refreshed again.", "%(count)s families are refreshed again."),
            "refresh", _resume,
        ),
    )
}  # fmt: skip


def plan(deed: Deed, user: Any, keys: Sequence[Key], beyond: int = 0) -> Plan:
    """Return what a deed about some products would do, as far as a user may."""
    made = Plan(deed, beyond=beyond)
    chosen: list[Any] = list(keys)
    if deed.name in ("pause", "resume"):
        chosen = list(dict.fromkeys(key.key_base for key in keys))
    for one in chosen:
        base = one.key_base if isinstance(one, Key) else one
        if base not in registry.primers and deed.name != "invalidate":
            made.unfit += 1
        elif not may(user, deed.permission, one):
            made.refused += 1
        elif len(made.keys) >= deed.most:
            made.beyond += 1
        else:
            made.keys.append(one)
    return made


def carry_out(made: Plan) -> tuple[list[Key | str], list[tuple[str, str]]]:
    """Do it. Returns what it was done about, and (key, error) of each that failed: one does not stop the others."""
    done: list[Key | str] = []
    failed: list[tuple[str, str]] = []
    for one in made.keys:
        try:
            made.deed.carry(one)  # type: ignore[arg-type]
            done.append(one)
        except (KckFlowError, ValueError) as error:
            failed.append((str(one), str(error).partition("\n")[0]))
    return done, failed


def told(deed: Deed, count: int) -> str:
    """Return what is said once it is done."""
    return ngettext(*deed.done, count) % {"count": count}


def log(user: Any, deed: Deed, done: Sequence[Key | str]) -> None:
    """Write to the admin's log who did it, about each product or family."""
    kind = ContentType.objects.get_for_model(DataProduct)
    LogEntry.objects.bulk_create(
        [
            LogEntry(
                user_id=user.pk,
                content_type=kind,
                object_id=object_id(one),
                object_repr=str(one)[:200],
                action_flag=CHANGE,
                change_message=str(deed.label),
            )
            for one in done
        ],
        batch_size=500,
    )


def object_id(one: Key | str) -> str:
    """Return under which id the log has a product, or a family."""
    return str(one.digest) if isinstance(one, Key) else str(one)
