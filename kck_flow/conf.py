"""Every setting of ``KCK_FLOW``: name, default, unit, one sentence. Read when asked, never at import."""

from __future__ import annotations

import ast
import difflib
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.signals import setting_changed

from . import named


@dataclass(frozen=True)
class Setting:
    """One key of the ``KCK_FLOW`` dict.

    Attributes:
        default: What holds where the project says nothing.
        kinds: The types a project may give.
        text: What it means, with its unit.
    """

    default: Any
    kinds: tuple[type, ...]
    text: str


NUMBER = (int, float)
# As milliseconds it is the largest timeout that PostgreSQL takes; the smallest that it does not take for none.
MOST, LEAST = 2_000_000, 0.001

SETTINGS: dict[str, Setting] = {
    "DATABASES": Setting(
        ["default"], (list, tuple), "Aliases that hold the tables; the first is the store's own."
    ),
    "WAIT": Setting(
        10.0, NUMBER, "Seconds a reader waits when there is nothing to serve (primer: ``wait``)."
    ),
    "LEASE_SECONDS": Setting(5.0, NUMBER, "Seconds a compute is held for its process without a beat."),
    "WORKER_LEASE_SECONDS": Setting(
        60.0, NUMBER, "Seconds a worker holds a refresh, where a dead worker is noticed at once."
    ),
    "POOL_THREADS": Setting(8, (int,), "Threads of a process that compute what its readers miss."),
    "CLAIM_TIMEOUT": Setting(
        0.25,
        NUMBER,
        "Seconds for the cache's own statements to get a lock or connection before the caller computes by itself.",
    ),
    "STATEMENT_TIMEOUT": Setting(5.0, NUMBER, "Seconds after which the cache's own statements are given up."),
    "PRIVATE_CONNECTIONS": Setting(
        2, (int,), "Connections of the cache's own in each process, beside that of the beats."
    ),
    "PRIVATE_IDLE_SECONDS": Setting(
        30.0, NUMBER, "Seconds after which an unused connection of the cache's own is closed."
    ),
    "REFRESH_IN_PROCESS": Setting(
        "auto",
        (str, bool),
        "Whether a stale read refreshes in a thread: 'auto' (when no worker lives), True or False.",
    ),
    "WORKER_SEEN_SECONDS": Setting(
        20.0, NUMBER, "Seconds without a sign of any worker after which there is none."
    ),
    "PREPARE": Setting(
        True,
        (bool,),
        "Whether hot statements are prepared on direct connections, outside of transactions; behind a pooler never.",
    ),
    "DURABLE_PUBLISH": Setting(
        True,
        (bool,),
        "Whether a refresh waits until its value is on the disk. False: a crash of the database server takes back the "
        "values of the last half second, whole, and they are computed again.",
    ),
    "TIER_SECONDS": Setting(
        0.0,
        NUMBER,
        "Seconds a fresh value may be served from this process's memory; 0 is off. Values are at most this old.",
    ),
    "TIER_ENTRIES": Setting(10_000, (int,), "How many values that memory holds."),
    "EXECUTOR": Setting(
        "process",
        (str, dict),
        "Where refreshes run: 'process', 'thread' or 'inline' for ``kck worker`` by itself; 'celery', 'django_tasks', "
        "'procrastinate' or the path of a class of your own for a fleet that is there already, or a dict with that as "
        'its ``"executor"`` and options of the class.',
    ),
    "POLL_SECONDS": Setting(1.0, NUMBER, "Seconds between two looks of a worker that was not woken."),
    "FLUSH_INTERVAL": Setting(
        1.0, NUMBER, "Seconds at most between a message and its products, where topics keep up."
    ),
    "HANDLER_TIMEOUT": Setting(
        600.0,
        NUMBER,
        "Seconds after which a consumer that stands still within a batch of messages has lost it to another.",
    ),
    "PENDING_LIMIT": Setting(
        1000, (int,), "Changes a read applies in memory; with more, the product is computed."
    ),
    "PENDING_FOLD": Setting(
        100, (int,), "Changes waiting for one product from which a read hands their fold to a thread."
    ),
    "VALUE_WARN_BYTES": Setting(
        1_048_576, (int,), "Bytes of a stored value above which a warning is logged."
    ),
    "KEY_MAX_CHARS": Setting(100_000, (int,), "Characters a key may have."),
    "RUN_RETENTION_DAYS": Setting(30, NUMBER, "Days that runs are kept by ``kck prune``."),
    "MESSAGE_RETENTION_DAYS": Setting(
        8,
        NUMBER,
        "Days that handled messages stay in the log: for topics that go back, and to know one that comes again.",
    ),
    "ALLOW_PICKLE": Setting(False, (bool,), "Whether the signed pickle codec may be used."),
    "PERMISSION": Setting(
        "staff",
        (str,),
        "Who may see products that say nothing themselves (``permission``): 'public', 'authenticated', 'staff', "
        "'superuser', 'nobody', a permission such as 'shop.view_order', or the path of a function of (user, action, "
        "key) such as 'shop.rules.may_see'.",
    ),
    "LIVE": Setting(
        "poll",
        (str, bool),
        "How an open page is kept current: 'poll', it asks now and then; 'stream', it is also told at once, where the "
        "project runs under ASGI; False, not at all.",
    ),
    "LIVE_SECONDS": Setting(30.0, NUMBER, "Seconds between two questions of an open page that is looked at."),
    "LIVE_CLIENTS": Setting(
        200, (int,), "Streams that a process keeps open; whoever comes then gets 503, and asks now and then."
    ),
    "WEEK_START": Setting(
        "monday",
        (str,),
        "On which day weeks begin: 'monday', 'sunday' or 'saturday'. To be decided early: flows that count by the week "
        "begin anew where it changes.",
    ),
    "CORS_ORIGINS": Setting(
        [],
        (list, tuple),
        "Origins whose scripts may ask the API from a browser, such as 'https://example.org'; none by default. With a "
        "token: no cookies are sent from elsewhere.",
    ),
    "API_AUTH": Setting(
        "",
        (str,),
        "The path of a function of (request) that returns the user whom the header ``Authorization: Bearer …`` is of, "
        "or None where it is nobody's; empty: such a header means nothing.",
    ),
    "COUNT_READS": Setting(
        True,
        (bool,),
        "Whether processes tell the store, once a minute, how many reads of each family were answered at once.",
    ),
    "NOTE_SQL": Setting(
        True,
        (bool,),
        "Whether a refresh notes the SQL that its primer runs, without parameters, for its page and ``kck explain``.",
    ),
    "PROMETHEUS_VALUES": Setting(
        [],
        (list, tuple),
        "Keys, or key bases of families with a domain, whose numbers Prometheus is told, beside what goes on; none by "
        "default: whoever scrapes need not be who may see them.",
    ),
    "SOURCES": Setting(
        {},
        (dict,),
        'Where messages come from: a name for each, with ``{"source": "kck_flow.sources.amqp.AMQP", ...}``, a class '
        "and its options.",
    ),
}

_ORIGIN = re.compile(r"https?://[a-z0-9-]+(\.[a-z0-9-]+)*(:\d{1,5})?")
CHOICES: dict[str, tuple[Any, ...]] = {
    "REFRESH_IN_PROCESS": ("auto", True, False),
    "LIVE": ("poll", "stream", False),
    "WEEK_START": ("monday", "sunday", "saturday"),
}
LOCAL_EXECUTORS = ("process", "thread", "inline")
EXECUTORS = {
    "celery": "kck_flow.executors.celery.Celery",
    "django_tasks": "kck_flow.executors.django_tasks.DjangoTasks",
    "procrastinate": "kck_flow.executors.procrastinate.Procrastinate",
}
# What brings the package that an executor needs.
EXECUTOR_EXTRAS = {"celery": "celery", "django_tasks": "tasks", "procrastinate": "procrastinate"}
# A pool of nothing, a lease that is over at once: refused by a check.
# Characters of a source's name, which an index holds.
LONGEST_SOURCE = 200
POSITIVE = {
    "LEASE_SECONDS",
    "WORKER_LEASE_SECONDS",
    "POOL_THREADS",
    "CLAIM_TIMEOUT",
    "STATEMENT_TIMEOUT",
    "PRIVATE_CONNECTIONS",
    "POLL_SECONDS",
    "FLUSH_INTERVAL",
    "HANDLER_TIMEOUT",
    "TIER_ENTRIES",
    "KEY_MAX_CHARS",
    "PENDING_LIMIT",
    "LIVE_SECONDS",
}


class Conf:
    """The settings as attributes: ``conf.WAIT``. Each is kept once read, until ``override_settings`` changes it."""

    def __getattr__(self, name: str) -> Any:
        if name not in SETTINGS:
            raise AttributeError(unknown(name))
        given = getattr(settings, "KCK_FLOW", None)
        if not isinstance(given, dict):  # told by the checks, which have to get that far
            given = {}
        # As an attribute of its own: the next read does not come here. Reads of a product ask for several.
        value = self.__dict__[name] = given[name] if name in given else SETTINGS[name].default
        return value


conf = Conf()


def _forget(*, setting: str, **_: Any) -> None:
    if setting == "KCK_FLOW":
        conf.__dict__.clear()


setting_changed.connect(_forget, dispatch_uid="kck_flow.conf")


def unknown(name: str) -> str:
    """Return the sentence for a setting that does not exist, with the nearest that does."""
    near = difflib.get_close_matches(str(name).upper(), SETTINGS, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else f" There are: {', '.join(sorted(SETTINGS))}."
    return f"KCK_FLOW has no setting {name!r}.{hint}"


def problems() -> list[str]:
    """Return one sentence for each thing wrong with ``settings.KCK_FLOW``, with its place; the checks show them."""
    given: Any = getattr(settings, "KCK_FLOW", None)
    if given is None:
        return []
    if not isinstance(given, dict):
        return [f"KCK_FLOW must be a dict, not {type(given).__name__} ({place(given)})."]
    wrong = {name: _problem(name, value) for name, value in given.items()}
    return [f"{text} ({place(given, name)})" for name, text in wrong.items() if text is not None]


def _problem(name: Any, value: Any) -> str | None:
    if name not in SETTINGS:
        return unknown(name)
    setting = SETTINGS[name]
    # True is an int to Python; as a number of seconds it is a mistake.
    fits = isinstance(value, setting.kinds) and (bool in setting.kinds or not isinstance(value, bool))
    if not fits:
        kinds = " or ".join(kind.__name__ for kind in setting.kinds)
        return f"KCK_FLOW[{name!r}] must be {kinds}, not {value!r}. {setting.text}"
    if name in CHOICES and value not in CHOICES[name]:
        return f"KCK_FLOW[{name!r}] must be one of {CHOICES[name]}, not {value!r}."
    if name == "DATABASES":
        missing = [alias for alias in value if not isinstance(alias, str) or alias not in settings.DATABASES]
        if missing or not value:
            return f"KCK_FLOW['DATABASES'] names {missing or 'nothing'}; DATABASES has {list(settings.DATABASES)}."
        if len(set(value)) < len(value):
            return f"KCK_FLOW['DATABASES'] names a database twice: {list(value)}."
    if name == "SOURCES":
        return next(filter(None, (source_problem(one, options) for one, options in value.items())), None)
    if name == "EXECUTOR":
        return executor_problem({"executor": value} if isinstance(value, str) else value)
    if name == "CORS_ORIGINS":
        wrong = next((one for one in value if not is_origin(one)), None)
        if wrong is not None:
            return (
                f"KCK_FLOW['CORS_ORIGINS'] has {wrong!r}, which is no origin: write it as "
                "'https://example.org', without a path or a star."
            )
    if name in POSITIVE and value <= 0:
        return f"KCK_FLOW[{name!r}] must be above 0, not {value!r}. {setting.text}"
    if int in setting.kinds and value < 0:
        return f"KCK_FLOW[{name!r}] must not be negative, and is {value!r}. {setting.text}"
    if setting.kinds == NUMBER and not (value == 0 or LEAST <= value <= MOST):
        return f"KCK_FLOW[{name!r}] must be between {LEAST} and {MOST:,}, not {value!r}. {setting.text}"
    return None


def is_origin(value: Any) -> bool:
    """Whether this is an origin as a browser writes it: ``https://example.org``, ``http://localhost:3000``."""
    return isinstance(value, str) and bool(_ORIGIN.fullmatch(value))


def source_problem(name: Any, options: Any) -> str | None:
    """Return a sentence on what is wrong with one of ``KCK_FLOW["SOURCES"]``; None where nothing is."""
    if not isinstance(name, str) or not name:
        return f"KCK_FLOW['SOURCES'] calls a source {name!r}; its name must be a text, and not empty."
    if len(name) > LONGEST_SOURCE:
        return (
            f"KCK_FLOW['SOURCES'] calls a source {name[:60]!r}…: a name has at most {LONGEST_SOURCE} characters, "
            f"not {len(name):,}."
        )
    return named.problem(f"KCK_FLOW['SOURCES'][{name!r}]", options, "source")


def executor_problem(options: dict[Any, Any]) -> str | None:
    """Return a sentence on what is wrong with ``KCK_FLOW["EXECUTOR"]``, as a dict; None where nothing is."""
    named_so = "KCK_FLOW['EXECUTOR']"
    name = options.get("executor")
    if not isinstance(name, str):  # a class, or what named.problem() has words for
        return named.problem(named_so, options, "executor")
    if name in LOCAL_EXECUTORS:
        others = [one for one in options if one != "executor"]
        return f"{named_so}: {name!r} takes no option, such as {others[0]!r}." if others else None
    if name not in EXECUTORS and "." not in name:
        known = [*LOCAL_EXECUTORS, *EXECUTORS]
        near = difflib.get_close_matches(name, known, n=1)
        hint = (
            f"Did you mean {near[0]!r}?"
            if near
            else f"There are {', '.join(known)}, and classes by their path."
        )
        return f"{named_so}: there is no executor {name!r}. {hint}"
    if name in EXECUTORS:
        try:
            named.found(EXECUTORS[name])
        except ImportError as error:
            return f"{named_so}: {name!r} needs pip install 'kck-flow[{EXECUTOR_EXTRAS[name]}]' ({error})"
        except (
            Exception
        ) as error:  # of the package itself: Procrastinate has its own where its app is not ready
            return f"{named_so}: {name!r} cannot be used: {error}"
        options = {**options, "executor": EXECUTORS[name]}
    return named.problem(named_so, options, "executor")


def place(given: Any, name: Any = None) -> str:
    """Return ``file:line`` of ``KCK_FLOW``, or of one of its keys, in the settings module that it was written in."""
    known = ""
    for module in list(sys.modules.values()):
        if getattr(module, "__dict__", {}).get("KCK_FLOW") is not given or not getattr(
            module, "__file__", None
        ):
            continue
        try:
            tree = ast.parse(Path(str(module.__file__)).read_text())
        except (OSError, SyntaxError, ValueError):
            continue
        for node in ast.walk(tree):
            if not isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
                continue
            written = list(ast.walk(node))
            if not any(
                (isinstance(one, ast.Name) and one.id == "KCK_FLOW" and isinstance(one.ctx, ast.Store))
                or (
                    isinstance(one, ast.Subscript)
                    and isinstance(one.value, ast.Name)
                    and one.value.id == "KCK_FLOW"
                )
                for one in written
            ):
                continue
            known = known or f"{module.__file__}:{node.lineno}"
            for one in written:
                if isinstance(one, ast.Constant) and one.value == name and name is not None:
                    return f"{module.__file__}:{one.lineno}"
    return known or f"in {os.environ.get('DJANGO_SETTINGS_MODULE') or 'the settings'}"
