"""What verbs are told: the options that several have, and how keys, families and databases are found from them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django.core.management import CommandError

from .. import key as keys
from .. import spread
from ..cache.facade import Cache
from ..conf import conf
from ..decorators import Action
from ..errors import InvalidKey, UnknownPrimer
from ..key import Key
from ..primer import Primer, as_key
from ..refresh import plan
from ..registry import registry
from ..store import listings, private
from ..store.session import Session, caller
from . import tables, words
from .console import FAILED, USAGE, Console

Options = Mapping[str, Any]


@dataclass(frozen=True)
class Verb:
    """One word after ``manage.py kck``.

    Attributes:
        help: One sentence.
        arguments: Adds its options to its parser.
        run: Does it; returns the exit code.
        more: What its ``--help`` says below the options.
    """

    name: str
    help: str
    arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[Console, Options], int]
    more: str = ""


def usage(message: str) -> CommandError:
    """Return the error of a wrong argument: nothing was done."""
    return CommandError(message, returncode=USAGE)


def failed(message: str) -> CommandError:
    """Return the error of what was asked rightly and could not be done."""
    return CommandError(message, returncode=FAILED)


# -- options that several verbs have ----------------------------------------------------------------------------------


def add_format(parser: argparse.ArgumentParser, default: str = "table") -> None:
    """Add ``--format``."""
    parser.add_argument(
        "--format", choices=sorted({default, *tables.FORMATS}), default=default,
        help=f"{default} for people (default); json or csv for programs, with all columns.",
    )  # fmt: skip


def add_database(parser: argparse.ArgumentParser) -> None:
    """Add ``--database``."""
    parser.add_argument(
        "--database",
        metavar="ALIAS",
        help="Only this database; all of KCK_FLOW['DATABASES'] where not given.",
    )


def add_limit(parser: argparse.ArgumentParser, default: int) -> None:
    """Add ``--limit``."""
    parser.add_argument(
        "--limit",
        type=words.at_least(0),
        default=default,
        metavar="N",
        help=f"At most so many rows ({default}); 0 for all.",
    )


def add_product(
    parser: argparse.ArgumentParser, what: str = "Only this family: a primer's key base."
) -> None:
    """Add ``--product``."""
    parser.add_argument("--product", metavar="NAME", help=what)


def add_noinput(parser: argparse.ArgumentParser) -> None:
    """Add ``--noinput``."""
    parser.add_argument(
        "--noinput",
        "--no-input",
        action="store_false",
        dest="interactive",
        help="Ask nothing; take yes for an answer.",
    )


# -- what they mean ---------------------------------------------------------------------------------------------------


def aliases(options: Options) -> list[str]:
    """Return the databases a verb is about. Raises CommandError for one that holds no tables of ours."""
    known = [str(alias) for alias in conf.DATABASES]
    asked = options.get("database")
    if asked is None:
        return known
    if asked not in known:
        raise usage(
            f"KCK_FLOW['DATABASES'] has no {asked!r}. {words.nearest(asked, known)}It has: {', '.join(known)}."
        )
    return [asked]


def sessions(options: Options) -> list[Session]:
    """Return a session on each database a verb is about."""
    return [caller(alias) for alias in aliases(options)]


def session_of(key_base: str) -> Session:
    """Return a session on the database that holds a family."""
    return caller(spread.alias_of(registry.primers.get(key_base)))


@contextmanager
def slots(alias: str) -> Iterator[Session]:
    """Lend a session for statements about slots, which never belong in somebody's transaction."""
    if private.in_test_case():
        yield caller(alias)
    else:
        with private.session(alias, timeout=2.0) as session:
            yield session


def family(name: str) -> Primer:
    """Return the primer of a family. Raises CommandError, naming the nearest, and what could not be imported."""
    try:
        return registry.primer(name)
    except UnknownPrimer as error:
        raise usage(f"{error}{_broken()}") from None


def known_key(text: str) -> Key:
    """Return the canonical key of an argument; of a key without a primer, only where something is stored under it.

    Raises:
        CommandError: Its parts do not fit its primer, or nothing is known by that name; names what is near.
    """
    key = registry.stored_key(text, "") if text.startswith(keys.INTERNAL) else any_key(text)
    if key.key_base in registry.primers:
        return key
    session = session_of(plan.served(key.key_base))
    if key in listings.some(session, [key.digest]):
        return key
    raise usage(unknown(key))


def any_key(text: str) -> Key:
    """Return the canonical key of an argument, whether or not anything is known by that name. Raises CommandError."""
    try:
        return registry.key(text)
    except InvalidKey as error:
        base = keys.base_of(text)
        more = ""
        if text == base and base in registry.primers and registry.primers[base].parameters:
            more = f" For all of the family, where the verb takes it: --product {base}"
        raise usage(f"{error}{more}") from None


def unknown(key: Key) -> str:
    """Return the sentence for a key of which nothing is known: no primer and no value, but perhaps one nearby."""
    stored = listings.nearest(session_of(key.key_base), key)
    names = {*registry.primers, *stored}
    near = words.nearest(key, names) or words.nearest(key.key_base, registry.primers)
    return (
        f"Nothing is stored under {str(key)!r}, and no primer is named {key.key_base!r}. {near}List "
        f"them: manage.py kck keys --primers{_broken()}"
    )


def _broken() -> str:
    if not registry.broken:
        return ""
    names = ", ".join(broken.module for broken in registry.broken)
    return f" (Could not be imported: {names}. See: manage.py check --tag kck)"


def params_of(primer: Primer, given: Sequence[str]) -> dict[str, Any]:
    """Return the parameters of ``name=value`` arguments, typed. Raises CommandError."""
    by_name = {parameter.name: parameter for parameter in primer.parameters}
    found = {}
    for one in given:
        name, equals, text = one.partition("=")
        if not equals or name not in by_name:
            raise usage(
                f"{primer.name!r} takes {', '.join(f'{name}=…' for name in by_name) or 'no parameters'}, not {one!r}."
            )
        try:
            found[name] = by_name[name].from_text(text)
        except ValueError as error:
            raise usage(f"{primer.name!r}: {name} {error}.") from None
    return found


def domain_of(primer: Primer) -> list[Key]:
    """Return the keys that a primer keeps warm; a domain that is itself a product is read. What it raises, rises."""
    if not isinstance(primer.domain, str):
        return primer.domain_keys()
    listed = Cache.get_instance().get(primer.domain)
    return list(dict.fromkeys(as_key(primer, one) for one in listed or ()))


def is_action(primer: Primer) -> bool:
    """Whether it is a scheduled function: something done, not something to have."""
    return isinstance(primer, Action)
