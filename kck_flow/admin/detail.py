"""What is known of one product, for the page of the inspector."""

from __future__ import annotations

import json
from typing import Any

from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.http import HttpRequest
from django.utils.translation import gettext as _

from .. import spread, wording
from ..cache import explaining
from ..dashboards import known, product, reading
from ..dashboards.pages import href
from ..errors import KckFlowError
from ..key import Key
from ..models import DataProduct, Family, Record, Refresh, Run
from ..registry import registry
from . import tree
from .lists import product_address

RECORDS, LOGGED, QUEUED = 20, 20, 1000


def about(request: HttpRequest, site: Any, obj: Any, key: Key) -> dict[str, Any]:
    """Return what the page of a product shows; what cannot be told says why."""
    alias = obj._state.db
    shown = reading.read([key])[key]
    try:
        told = explaining.explain(key)
        problem = ""
    except KckFlowError as error:
        told, problem = {}, str(error)
    slot = Refresh._default_manager.using(alias).filter(digest=key.digest).first()
    value = told.get("value")
    return {
        "key": str(key),
        "caption": shown.caption,
        "shown": shown,
        "state_text": wording.STATES[shown.state],
        "strip": product.strip(shown, True),
        "problem": problem,
        "cause": told.get("cause", ""),
        "declared": known.where(told.get("declared", "")),
        "schedule": told.get("schedule"),
        "next": [wording.instant(at, shown.now) for at in told.get("next", ())],
        "paused": told.get("paused"),
        "has_value": value is not None or shown.has_value,
        "value": tree.tree(value if value is not None else shown.value),
        "needs": [_relative(site, one) for one in told.get("needs", ())],
        "feeds": [_relative(site, one) for one in told.get("feeds", ())],
        "declared_needs": told.get("declared_needs", ()),
        "records": _records(alias, key),
        "runs": [_run(run, shown.now) for run in told.get("runs", ())],
        "trace": _trace(alias, key, slot),
        "queue": _queue(alias, slot, shown.now),
        "log": _log(key, shown.now),
        "page": href(shown.caption),
    }


def is_paused(key: Key) -> bool:
    """Whether a product's family is paused."""
    alias = spread.alias_of(registry.primers.get(key.key_base))
    paused = Family._default_manager.using(alias).filter(key_base=key.key_base, paused_at__isnull=False)
    return bool(paused.exists())


def _relative(site: Any, one: dict[str, Any]) -> dict[str, str]:
    key = str(one["key"])
    return {"key": key, "address": product_address(site, key), "mode": str(one["mode"])}


def _records(alias: str, key: Key) -> list[dict[str, Any]]:
    """Return a product's last records, newest first, each with what it changed."""
    found = list(
        Record._default_manager.using(alias)
        .filter(digest=key.digest, facet="")
        .order_by("-start_at", "-revision")[: RECORDS + 1]
    )
    primer = registry.primers.get(key.key_base)
    told = []
    for place, record in enumerate(found[:RECORDS]):
        older = found[place + 1] if place + 1 < len(found) else None
        value = _read(primer, record.value)
        told.append(
            {
                "start": wording.instant(record.start_at),
                "end": wording.instant(record.end_at) if record.end_at is not None else "",
                "version": record.version,
                "revision": record.revision,
                "complete": record.complete,
                "text": _short(value),
                "diff": tree.diff(_read(primer, older.value), value) if older is not None else None,
            }
        )
    return told


def _read(primer: Any, stored: Any) -> Any:
    """Return a stored value as JSON has it: a record keeps what its codec wrote."""
    if primer is None or stored is None:
        return stored
    try:
        return primer.codec.decode(json.dumps(stored))
    except Exception:  # of an older codec: as it is stored
        return stored


def _short(value: Any) -> str:
    text = tree.texts([value])[0]
    return text if len(text) <= 120 else f"{text[:119]}…"


def _run(run: dict[str, Any], now: Any) -> dict[str, Any]:
    return {
        "started": wording.instant(run["started_at"], now),
        "outcome": run["outcome"],
        "took": wording.span(run["seconds"]) if run["seconds"] is not None else wording.MISSING,
        "why": run["reason"],
        "error": (run["error"] or "").partition("\n")[0],
        "worker": run["worker"],
    }


def _trace(alias: str, key: Key, slot: Any) -> dict[str, Any] | None:
    """Return the last error, with its traceback where a run kept it; None where the product does not fail."""
    if slot is None or not slot.attempts:
        return None
    run = (
        Run._default_manager.using(alias)
        .filter(digest=key.digest, outcome=Run.FAILED)
        .order_by("-id")
        .only("error", "traceback", "finished_at")
        .first()
    )
    return {
        "error": slot.last_error or (run.error if run is not None else ""),
        "traceback": run.traceback if run is not None else "",
        "at": wording.instant(slot.last_error_at),
        "attempts": slot.attempts,
        "retry": wording.instant(slot.retry_at) if slot.retry_at is not None else "",
        "parked": slot.parked_why if slot.parked_at is not None else "",
    }


def _queue(alias: str, slot: Any, now: Any) -> str:
    """Return where a product stands in the queue, in words; empty where nothing is wanted of it."""
    if slot is None or slot.due_at is None:
        return ""
    if slot.lease_until is not None and slot.lease_until > now:
        return _("being computed by %(who)s") % {"who": slot.lease_owner or _("somebody")}
    if slot.due_at > now:
        return _("due %(when)s, in lane %(lane)s") % {
            "when": wording.ahead((slot.due_at - now).total_seconds()),
            "lane": slot.lane,
        }
    slots = Refresh._default_manager.using(alias).filter(due_at__lte=now)
    ahead = slots.filter(lane__lt=slot.lane) | slots.filter(lane=slot.lane, due_at__lt=slot.due_at)
    count = ahead.order_by()[: QUEUED + 1].count()
    if count > QUEUED:
        return _("due, in lane %(lane)s, behind more than %(count)s others") % {
            "lane": slot.lane,
            "count": QUEUED,
        }
    return _("due, in lane %(lane)s, at position %(place)s") % {"lane": slot.lane, "place": count + 1}


def _log(key: Key, now: Any) -> list[dict[str, str]]:
    """Return what the admin's log has of a product and its family, newest first."""
    kind = ContentType.objects.get_for_model(DataProduct)
    found = LogEntry.objects.filter(content_type=kind, object_id__in=[str(key.digest), key.key_base])
    return [
        {
            "at": wording.instant(one.action_time, now),
            "who": one.user.get_username(),
            "what": one.get_change_message(),
            "about": one.object_repr,
        }
        for one in found.select_related("user").order_by("-action_time")[:LOGGED]
    ]
