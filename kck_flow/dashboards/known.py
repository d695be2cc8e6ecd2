"""What is known of one cached thing, for its page: what it holds by facet, is made of, how it is kept, what it takes.

All of it is read from what is stored; nothing is computed, and no refresh is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from .. import clock, spread, wording
from ..cache import explaining
from ..cache.listed import servable, state_of
from ..codec import encode_plain
from ..errors import KckFlowError
from ..key import Key
from ..permission import VIEW, may
from ..primer import Primer
from ..process import Process
from ..registry import registry
from ..schedule import Cron, Schedule
from ..stock import Flow, Stock
from ..store import generations, listings, records, runs, usage
from ..store.refreshes import instant
from ..store.session import caller
from .ages import aged, with_age
from .captions import Caption, caption, captions
from .pages import address, deed_address, href

MOST_VALUES = 8  # of a facet: the rest is "others"
MOST_RELATIVES = 20  # on each side
LEVELS = 2  # how far a product's relatives are told
LATEST = 100  # runs that its duration is told of
USED_DAYS = timedelta(days=7)  # of which it is told how often it is read
HOUR, DAY = 3600.0, 86_400.0
LONGEST_VALUE = 2000  # characters
MOST_REDEFINED = 20
_PLAIN = re.compile(r"(?P<minute>\d+) (?P<hour>\d+|\*) \* \* \*")

# Why a refresh is wanted, as the queue has it, in words. What is not here is told as it is.
REASONS: Mapping[str, Any] = {
    "schedule": gettext_lazy("on schedule"),
    "stale": gettext_lazy("asked for by a read"),
    "miss": gettext_lazy("asked for by a read"),
    "changed": gettext_lazy("something it is made of has changed"),
    "again": gettext_lazy("asked for while it was being computed"),
    "invalidated": gettext_lazy("it was made unservable"),
    "domain": gettext_lazy("it is kept warm"),
}


def about(key: Key, user: Any, detailed: bool, read: Any = None) -> dict[str, Any]:
    """Return what there is to know of a product, for its page.

    Args:
        read: Its value as the page has read it, for what keeps none (a stock that no trigger follows yet).
        detailed: Whether the user is told what was raised, where it is declared, and by which SQL rows are counted.
    """
    try:
        told = explaining.explain(key)
    except KckFlowError as error:
        return {"told": None, "problem": str(error)}
    words = caption(key)
    value = told.get("value") if told.get("value") is not None else read
    needs, feeds = _relatives(key)
    seen_needs, seen_feeds = ([one for one in side if _may_see(user, one["key"])] for side in (needs, feeds))
    return {
        "told": told,
        "facets": facets_of(words, value),
        "since": _("All that has moved since it is counted.") if isinstance(words.primer, Flow) else "",
        "needs": seen_needs,
        "feeds": [*seen_feeds, *_processes(key, user)],
        "counts_rows": _rows(words.primer),
        "around": _around(told, user),
        "relatives_hidden": len(needs) + len(feeds) - len(seen_needs) - len(seen_feeds),
        "oldest": _oldest(seen_needs),
        "lineage_href": address("lineage", str(key)) if seen_needs or seen_feeds else "",
        "declared_needs": told["declared_needs"] if detailed else [],
        "declared": where(told["declared"]) if detailed else "",
        "cause": told["cause"] if detailed and told["cause"] != told["state"] else "",
        "keeping": _keeping(words.primer, told),
        "counted_by": _counted_by(told) if detailed else [],
        "statements": _statements(told) if detailed else None,
        "redefined": _redefined(key, words.primer),
        "cost": _cost(key),
        "runs": [_run(run, detailed) for run in told["runs"]],
        "why_next": reason_of(told["slot"]["reason"]) if detailed and told["slot"] else "",
        "value_text": _value_text(value),
    }


def reason_of(reason: str) -> str:
    """Return why a refresh is wanted, in words."""
    return str(REASONS.get(reason, reason))


def deeds(key: Key, user: Any) -> dict[str, str]:
    """Return what a user may do to a product on its page, and at which address: ``refresh``, ``invalidate``."""
    primer = registry.primers.get(key.key_base)
    if primer is None or isinstance(primer, Process):
        return {}
    return {deed: deed_address(key, deed) for deed in ("refresh", "invalidate") if may(user, deed, key)}


# -- what it holds


def facets_of(words: Caption, value: Any) -> list[dict[str, Any]]:
    """Return a count by its facets: for each its name and its values, the largest first, those beyond eight together.

    Returns:
        Dicts of ``name`` and ``rows``; a row has ``value``, ``number``, ``share`` (of the total, in words) and
        ``width`` (the same in percent, for a bar); that of a value, ``is``: the facet's name to the value.
    """
    if not isinstance(value, Mapping) or not isinstance(value.get("facets"), Mapping):
        return []
    total, found = value.get("value"), []
    for name, counts in value["facets"].items():
        if not isinstance(counts, Mapping) or not counts:
            continue
        ranked = sorted(counts.items(), key=lambda one: (-(one[1] or 0), str(one[0])))
        rows = [
            {**_facet_row(words, _told_value(one), count, total), "is": {name: one}}
            for one, count in ranked[:MOST_VALUES]
        ]
        others = [count or 0 for _value, count in ranked[MOST_VALUES:]]
        if others and words.rollup in ("last", "sum"):
            label = ngettext("%(count)s other", "%(count)s others", len(others)) % {"count": len(others)}
            rows.append(_facet_row(words, label, sum(others), total))
        found.append({"name": name, "rows": rows})
    return found


def _facet_row(words: Caption, value: str, count: Any, total: Any) -> dict[str, Any]:
    part = float(count or 0) / float(total) if total and float(total) > 0 and float(count or 0) >= 0 else None
    return {
        "value": value,
        "number": words.number(count),
        "share": wording.number(part, "percent", 0) if part is not None else "",
        "width": f"{min(part, 1.0) * 100:.1f}" if part is not None else "",
    }


def _told_value(value: Any) -> str:
    if value is None:
        return _("none")
    return str(value) if value != "" else _("empty text")


def _value_text(value: Any) -> str:
    if value is None:
        return ""
    text = encode_plain(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…"


# -- what it is made of


def _relatives(key: Key) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return what a product needs and what it feeds, two levels of each: nearest first, with age and state."""
    above, below = explaining.lineage(key, LEVELS)
    above, below = above[:MOST_RELATIVES], below[:MOST_RELATIVES]
    keys = {text: registry.key(text) for text, _level, _mode in (*above, *below)}
    stored = stored_of(list(keys.values()))
    words = captions(keys.values())
    now = clock.now()

    def told(text: str, level: int, mode: str) -> dict[str, Any]:
        row, own = stored.get(text), words[keys[text]]
        computed = instant(row.computed_at) if row is not None and servable(row) else None
        state = state_of(row) if row is not None else "empty"
        return {
            "key": text,
            "label": own.label,
            "href": href(own),
            "mode": mode,
            "level": level,
            "computed_at": computed,
            "state": "" if row is None or state == "fresh" else str(wording.STATES[state]),
            "state_name": state,
            "age": aged(computed, now) if computed is not None else "",
        }

    return [told(*one) for one in above], [told(*one) for one in below]


def stored_of(keys: Sequence[Key]) -> dict[str, listings.Listed]:
    """Return what is stored of some products, by key; what is not stored is left out, as is what is counted as it is
    asked for, and has no age.
    """
    found: dict[str, listings.Listed] = {}
    by_alias: dict[str, list[Key]] = {}
    for key in keys:
        by_alias.setdefault(spread.alias_of(registry.primers.get(key.key_base)), []).append(key)
    for alias, own in by_alias.items():
        found.update(listings.some(caller(alias), [key.digest for key in own]))
    return {
        text: row
        for text, row in found.items()
        if row.computed_at is not None
        or not isinstance(registry.primers.get(row.key_base), (Stock, Flow, Process))
    }


def _may_see(user: Any, key: str) -> bool:
    return may(user, VIEW, registry.key(key))


def _oldest(needs: Sequence[Mapping[str, Any]]) -> str:
    """Return the sentence of the oldest thing that a product is made of; empty where there is none."""
    dated = [one for one in needs if one["computed_at"] is not None]
    if not dated:
        return ""
    oldest = min(dated, key=lambda one: one["computed_at"])
    told = _("The oldest of what it is made of is %(label)s, computed %(age)s.")
    return with_age(told, label=oldest["label"], age=oldest["age"])


def _rows(primer: Any) -> str:
    """Return which rows are counted, in words; empty of what is no stock or flow of a model."""
    model = getattr(primer, "model", None) if isinstance(primer, Stock) else None
    if not isinstance(model, type):
        return ""
    return _("rows of %(model)s") % {"model": model._meta.verbose_name}  # type: ignore[attr-defined]


def _processes(key: Key, user: Any) -> list[dict[str, Any]]:
    """Return the processes that a stock or flow stands in."""
    if not isinstance(registry.primers.get(key.key_base), (Stock, Flow)):
        return []
    found = []
    for process in dict.fromkeys(one for one in registry.primers.values() if isinstance(one, Process)):
        try:
            names = {one.name for part in registry.parts(process) for one in part}
            own = {
                one.name: key.params[one.name] for one in process.parameters if one.name in (key.params or {})
            }
            whole = process.build_key(**own)
        except KckFlowError:
            continue  # told by the checks, or of no key that this one names
        if key.key_base in names and may(user, VIEW, whole):
            words = caption(whole)
            found.append(
                {
                    "key": str(whole),
                    "label": words.label,
                    "href": href(words),
                    "level": 1,
                    "age": "",
                    "state": "",
                    "state_name": "",
                }
            )
    return found


def _around(told: Mapping[str, Any], user: Any) -> list[dict[str, str]]:
    """Return the flows into and out of a stock, with what each moved in the last day."""
    found = []
    for one in told.get("flows", ()):
        primer = registry.primers[one["flow"]]
        if not all(parameter.has_default for parameter in primer.parameters):
            continue
        key = primer.build_key()
        if not may(user, VIEW, key):
            continue
        words = caption(key)
        found.append(
            {
                "label": words.label,
                "href": href(words),
                "way": _("in") if one["direction"] == "in" else _("out"),
                "count": words.number(one["count"]),
            }
        )
    return found


# -- how it is kept


def where(declared: str) -> str:
    """Return file and line, the file by its last folders: where a project lies on its machine is nobody's business."""
    path, _sep, line = declared.rpartition(":")
    return "/".join(path.split("/")[-3:]) + f":{line}" if path else declared


def _keeping(primer: Primer | None, told: Mapping[str, Any]) -> list[str]:
    """Return how a product is kept fresh, a sentence each."""
    if primer is None:
        return [_("It was set by hand: nothing computes it.")]
    found = []
    if primer.schedule is not None:
        what = _("Recorded %(schedule)s.") if isinstance(primer, Stock) else _("Refreshed %(schedule)s.")
        found.append(what % {"schedule": rhythm(primer.schedule)})
    if primer.soft_expire is not None:
        found.append(_("Fresh for %(span)s.") % {"span": wording.span(primer.soft_expire.total_seconds())})
    if primer.hard_expire is not None:
        found.append(_("Served for %(span)s.") % {"span": wording.span(primer.hard_expire.total_seconds())})
    if primer.always_fresh:
        found.append(_("Each read computes it."))
    if told.get("not_captured"):
        found.append(_("It is counted anew each time, not kept by triggers."))
    if primer.version != 1:
        found.append(_("Version %(version)s of its definition.") % {"version": primer.version})
    if told.get("paused"):
        since = wording.instant(told["paused"]["since"])
        note = told["paused"]["note"]
        found.append(_("Paused since %(since)s.") % {"since": since} + (f" {note}" if note else ""))
    return found


def rhythm(schedule: Schedule) -> str:
    """Return when a schedule fires, in words: the two cron expressions that most people use are told as they would."""
    told = _PLAIN.fullmatch(schedule.expression) if isinstance(schedule, Cron) else None
    if told is None or schedule.jitter:
        return schedule.describe()
    zone = schedule.describe().rpartition(" in ")[2]
    if told["hour"] == "*":
        return _("every hour, at minute %(minute)s") % {"minute": int(told["minute"])}
    at = f"{int(told['hour']):02}:{int(told['minute']):02}"
    return _("every day at %(time)s, %(zone)s") % {"time": at, "zone": zone}


def _counted_by(told: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what defines a count, (what, SQL or names) each."""
    counted = told.get("counted") or {}
    names = {
        "table": _("Table"),
        "members": _("Members"),
        "begins": _("Begins"),
        "ends": _("Ends"),
        "sources": _("From"),
        "sinks": _("To"),
        "columns": _("Columns"),
        "generation": _("Definition"),
    }
    outside = _("outside")
    found = []
    for name, label in names.items():
        value = counted.get(name)
        if value in (None, "", [], ()):
            continue
        if isinstance(value, (list, tuple)):
            value = ", ".join(outside if one is None else str(one) for one in value)
        found.append((label, str(value)))
    return found


def _statements(told: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the SQL that a product was last refreshed by: when, in words, and a text each, with how often it ran."""
    noted = told.get("statements")
    if not noted:
        return None
    lines = []
    for text, times in noted["sql"]:
        if not text:
            text = ngettext("and %(count)s other", "and %(count)s others", times) % {
                "count": wording.number(times)
            }
            times = 1
        lines.append(
            (
                text,
                ngettext("%(count)s time", "%(count)s times", times) % {"count": wording.number(times)}
                if times > 1
                else "",
            )
        )
    return {"when": wording.instant(noted["at"]), "lines": lines}


def _redefined(key: Key, primer: Primer | None) -> list[str]:
    """Return when a product was defined anew, a sentence each, the last first: what was recorded before follows the
    older rule.
    """
    if primer is None:
        return []
    session = caller(spread.alias_of(primer))
    if isinstance(primer, (Stock, Flow)):
        began = generations.begun(session, primer.name)[1:]
    else:
        began = records.versions(session, key)[1:]
    told = _("Defined anew on %(day)s; older values follow the older rule.")
    return [told % {"day": wording.instant(at)} for at in reversed(began[-MOST_REDEFINED:])]


def _cost(key: Key) -> str:
    """Return how long a product takes to compute, how often its family is read, and what that saves, in words; empty
    where nothing is known.
    """
    primer = registry.primers.get(key.key_base)
    session = caller(spread.alias_of(primer))
    count, failed, median = runs.cost(session, key.digest, LATEST)
    parts = []
    if median:
        parts.append(_("It takes %(span)s, the median of its runs.") % {"span": wording.span(median)})
    if failed:
        parts.append(
            ngettext(
                "Of the last %(count)s, %(failed)s failed.",
                "Of the last %(count)s, %(failed)s failed.",
                failed,
            )
            % {"count": wording.number(count), "failed": wording.number(failed)}
        )
    now = clock.now()
    used = usage.between(session, now - USED_DAYS, now, key.key_base).get(key.key_base)
    if primer is not None and used is not None and used.since is not None:
        days = max(now.timestamp() - used.since, HOUR) / DAY
        said = (
            _("It is read about %(count)s times a day")
            if not primer.parameters
            else _("Products of its kind are read about %(count)s times a day")
        )
        part = said % {"count": wording.number(max(round(used.reads / days), 1))}
        if used.saved:
            part += _(", which saves %(span)s each day") % {"span": wording.span(used.saved / days)}
        parts.append(f"{part}.")
    return " ".join(parts)


def _run(run: Mapping[str, Any], detailed: bool) -> dict[str, str]:
    started: datetime = run["started_at"]
    return {
        "outcome": run["outcome"],
        "started": wording.instant(started),
        "took": wording.span(run["seconds"]) if run["seconds"] is not None else wording.MISSING,
        "reason": reason_of(run["reason"]) if detailed else "",
        "error": (run["error"] or "").partition("\n")[0] if detailed else "",
    }
