"""HTTP POST: who may send messages, and the view that takes them.

::

    # urls.py
    path("messages/<str:source>/", kck_flow.sources.http.receive),
    path("messages/<str:source>/<str:topic>/", kck_flow.sources.http.receive),

It answers 202 once the messages are in the log for good, and problem details (RFC 9457) where they are not.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any

from django.db import Error as DatabaseErrors
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt

from .. import spread
from ..conf import conf
from ..errors import StoreUnavailable, UnstorableValue
from ..message import LONGEST_TOPIC, Message
from ..store.session import caller
from ..streams import log, topics
from . import make, texts
from .reading import Reading, decoded, pattern_of

logger = logging.getLogger("kck_flow")

# Characters of a token or secret: what is shorter can be guessed.
SHORTEST = 16

_FIELDS = {"topic", "body", "id", "at", "key", "headers"}


@dataclass(frozen=True)
class Sender:
    """Somebody who may send.

    Attributes:
        name: For the settings and the log.
        secrets: What he signs with, or shows; any of them will do, so that they can be changed one by one.
        signs: Whether they are secrets to sign with, or tokens to be shown.
    """

    name: str
    secrets: tuple[bytes, ...]
    signs: bool
    topics: tuple[Any, ...]

    def may_send(self, topic: str) -> bool:
        return any(pattern.fullmatch(topic) for pattern in self.topics)


class HTTP:
    """Messages that are sent to us. Nobody may, but whom ``senders`` names.

    Args:
        senders: A name for each, ``{"token": "...", "topics": ["orders.*"]}``: who shows the token may send to these
            topics; or ``{"secret": "...", "topics": [...]}``: who signs with the secret. A list of tokens or secrets
            takes any of them.
        most: Messages that one request may bring.
        most_bytes: Bytes that it may have.
        tolerance: How far the timestamp of a signed request may be from our time.
        id, at, key: As of every source (``Reading``), for messages whose topic stands in the address.
    """

    name = ""

    def __init__(
        self,
        senders: Mapping[str, Mapping[str, Any]],
        *,
        most: int = 1000,
        most_bytes: int = 4_194_304,
        tolerance: timedelta = timedelta(minutes=5),
        id: str = "",
        at: str = "",
        key: str = "",
    ) -> None:
        if not isinstance(senders, Mapping) or not senders:
            raise ValueError(
                "senders names nobody, so nobody could send: name each with a token, or a secret, and topics."
            )
        self.senders = [_sender(name, given) for name, given in senders.items()]
        for option, number in (("most", most), ("most_bytes", most_bytes)):
            if isinstance(number, bool) or not isinstance(number, int) or number < 1:
                raise ValueError(f"{option} must be a number above 0, not {number!r}.")
        if not isinstance(tolerance, timedelta):
            raise TypeError(f"tolerance must be a timedelta, not {tolerance!r}.")
        self.most, self.most_bytes, self.tolerance = most, most_bytes, tolerance.total_seconds()
        self.reading = Reading(id=id, at=at, key=key)


def _sender(name: str, given: Any) -> Sender:
    if not isinstance(given, Mapping) or set(given) - {"topics"} not in ({"token"}, {"secret"}):
        raise ValueError(
            f"the sender {name!r} needs either a 'token' or a 'secret', and 'topics', and nothing else."
        )
    signs = "secret" in given
    secrets = given["secret" if signs else "token"]
    secrets = [secrets] if isinstance(secrets, str) else secrets
    if (
        not isinstance(secrets, (list, tuple))
        or not secrets
        or any(not isinstance(one, str) or len(one) < SHORTEST for one in secrets)
    ):  # which it is, no message and no log shall show
        raise ValueError(
            f"the sender {name!r} needs a token or secret of at least {SHORTEST} characters, or a list of such."
        )
    patterns = texts(f"the topics of the sender {name!r}", given.get("topics", ()))
    if not patterns:
        raise ValueError(f"the sender {name!r} has no topics, and could send nothing.")
    return Sender(name, tuple(one.encode() for one in secrets), signs, tuple(map(pattern_of, patterns)))


class _Refused(Exception):
    """The request is not taken. ``detail`` says why, and what to do."""

    def __init__(self, status: HTTPStatus, detail: str, **headers: str) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


@csrf_exempt
def receive(request: HttpRequest, source: str, topic: str = "") -> HttpResponse:
    """Take the messages of a POST; answer once they are in the log.

    A message is a JSON object with its ``topic`` and ``body``, and, if it has them, ``id``, ``at`` (ISO 8601 with an
    offset), ``key`` and ``headers``. The request brings one, a list of them, or one a line
    (``Content-Type: application/x-ndjson``). With a topic in the address, the request's whole JSON (or each line of it)
    is a body, as those send who know nothing of us.

    Who shows a token sends ``Authorization: Bearer TOKEN``. Who signs sends ``X-Timestamp``, seconds since 1970, and
    ``X-Signature: sha256=HEX``, the HMAC-SHA256 of the timestamp, a dot and the body.

    A message without an ``id`` that is sent twice counts twice, unless its request has an ``Idempotency-Key``, or is
    the very same signed one.

    Args:
        source: One of ``KCK_FLOW["SOURCES"]``, of the class ``kck_flow.sources.http.HTTP``.

    Raises:
        DeclarationError: the source is configured wrongly.
    """
    try:
        told = _take(request, source, topic)
    except _Refused as refused:
        return JsonResponse(
            {
                "type": "about:blank",
                "title": refused.status.phrase,
                "status": int(refused.status),
                "detail": refused.detail,
            },
            status=int(refused.status),
            headers=refused.headers,
            content_type="application/problem+json",
        )
    return JsonResponse(told, status=HTTPStatus.ACCEPTED)


def _take(request: HttpRequest, source: str, topic: str) -> dict[str, int]:
    made = _made(source)
    if made is None:
        raise _Refused(HTTPStatus.NOT_FOUND, f"Nothing is received here under the name {source!r}.")
    if request.method != "POST":
        raise _Refused(HTTPStatus.METHOD_NOT_ALLOWED, "Messages are sent by POST.", Allow="POST")
    if not request.headers.keys() & {"Authorization", "X-Signature"}:  # whoever is nobody need not be heard
        raise _unknown()
    raw = _read(request, made)
    sender, signed = _authenticated(request, raw, made)
    messages = _messages(request, raw, topic, made)
    for number, message in enumerate(messages):
        if not sender.may_send(message.topic):
            raise _Refused(
                HTTPStatus.FORBIDDEN,
                f"Message {number}: the sender {sender.name!r} may not send to the topic {message.topic!r}.",
            )
    once = request.headers.get("Idempotency-Key", "") or signed
    if once:
        for number, message in enumerate(messages):
            # Told by its request, a message is not that of another sender.
            message.id = message.id or f"{sender.name}/{once}/{number}"
    return _keep(source, messages)


_known: dict[str, tuple[Any, Any]] = {}


def _made(source: str) -> HTTP | None:
    """Return a source, made once for each time that the settings are read; None where it is none to send to."""
    given = conf.SOURCES.get(source)
    if given is None:
        return None
    if _known.get(source, (None, None))[0] is not given:
        _known[source] = given, make(source)
    found = _known[source][1]
    return found if isinstance(found, HTTP) else None


def _read(request: HttpRequest, made: HTTP) -> bytes:
    # Read no more than that, whatever the request says that it has.
    raw = request.read(made.most_bytes + 1)
    if len(raw) > made.most_bytes:
        raise _Refused(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"A request may have {made.most_bytes:,} bytes. Send what it brings in several.",
        )
    return bytes(raw)


def _authenticated(request: HttpRequest, raw: bytes, made: HTTP) -> tuple[Sender, str]:
    """Return who sends, and what tells this very request from every other where it is signed."""
    shown = request.headers.get("Authorization", "")
    signature, stamp = request.headers.get("X-Signature", ""), request.headers.get("X-Timestamp", "")
    found: Sender | None = None
    if signature:
        if not stamp.isascii() or not stamp.isdigit() or abs(time.time() - int(stamp[:20])) > made.tolerance:
            raise _Refused(
                HTTPStatus.UNAUTHORIZED,
                f"X-Timestamp must be the seconds since 1970, no further than {made.tolerance:g} from now.",
                WWW_Authenticate="Bearer",
            )
        given = signature.removeprefix("sha256=").lower().encode()
        for sender in made.senders:
            for secret in sender.secrets if sender.signs else ():
                right = hmac.new(secret, f"{stamp}.".encode() + raw, hashlib.sha256).hexdigest().encode()
                # All are compared, each in the same time: how long it takes tells nothing.
                if hmac.compare_digest(right, given):
                    found = sender
    elif shown[:7].lower() == "bearer ":
        given = shown[7:].strip().encode()
        for sender in made.senders:
            for token in () if sender.signs else sender.secrets:
                if hmac.compare_digest(token, given):
                    found = sender
    if found is None:
        raise _unknown()
    return found, hashlib.sha256(f"{stamp}.".encode() + raw).hexdigest() if signature else ""


def _unknown() -> _Refused:
    return _Refused(
        HTTPStatus.UNAUTHORIZED,
        "Show a token (Authorization: Bearer ...), or sign the request (X-Timestamp, X-Signature).",
        WWW_Authenticate="Bearer",
    )


def _messages(request: HttpRequest, raw: bytes, topic: str, made: HTTP) -> list[Message]:
    kind = request.content_type or ""
    lines = kind in ("application/x-ndjson", "application/jsonl", "application/x-jsonlines")
    if not lines and kind != "application/json" and not kind.endswith("+json"):
        raise _Refused(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            f"Content-Type is application/json or application/x-ndjson here, not {kind!r}.",
            Accept_Post="application/json, application/x-ndjson",
        )
    if lines:
        parts = [line for line in raw.split(b"\n") if line.strip()]
        _count(len(parts), made)
        given = [_json(line, f"Line {number}") for number, line in enumerate(parts)]
    else:
        whole = _json(raw, "The request")
        given = whole if isinstance(whole, list) and not topic else [whole]
        _count(len(given), made)
    if topic:
        headers = {"content_type": kind}
        return [
            made.reading.message(name="", topic=_topic(topic, "The address"), body=one, headers=headers)
            for one in given
        ]
    return [_message(one, f"Message {number}") for number, one in enumerate(given)]


def _count(count: int, made: HTTP) -> None:
    if count > made.most:
        raise _Refused(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"A request may bring {made.most:,} messages, not {count:,}. Send them in several.",
        )


def _json(raw: bytes, where: str) -> Any:
    body, how = decoded(raw)
    if how:
        raise _Refused(
            HTTPStatus.BAD_REQUEST,
            f"{where} is no JSON that could be kept: UTF-8, numbers within their range, and not nested too deep.",
        )
    return body


def _message(given: Any, where: str) -> Message:
    if not isinstance(given, dict) or not {"topic", "body"} <= given.keys() <= _FIELDS:
        raise _wrong(
            where,
            f"must be an object with 'topic' and 'body', and of the rest only {', '.join(sorted(_FIELDS))}",
        )
    at = given.get("at")
    if at is not None:
        try:
            at = datetime.fromisoformat(at)
        except (TypeError, ValueError):
            raise _wrong(where, f"'at' must be ISO 8601 with an offset, not {at!r}") from None
        if at.tzinfo is None:
            raise _wrong(where, f"'at' must have an offset from UTC, and {given['at']!r} has none")
    headers = given.get("headers") or {}
    if not isinstance(headers, dict):
        raise _wrong(where, f"'headers' must be an object, not {headers!r}")
    return Message(
        _topic(given["topic"], where),
        given["body"],
        id=_text(given, "id", where),
        at=at,
        key=_text(given, "key", where),
        headers=headers,
    )


def _topic(given: Any, where: str) -> str:
    if not isinstance(given, str) or not 0 < len(given) <= LONGEST_TOPIC:
        raise _wrong(where, f"the topic must be a text of 1 to {LONGEST_TOPIC} characters")
    return given


def _text(given: Mapping[str, Any], field: str, where: str) -> str:
    value = given.get(field)
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise _wrong(where, f"{field!r} must be a text or a whole number, not {value!r}")
    return str(value)


def _wrong(where: str, what: str) -> _Refused:
    return _Refused(HTTPStatus.UNPROCESSABLE_ENTITY, f"{where}: {what}.")


def _keep(source: str, messages: Sequence[Message]) -> dict[str, int]:
    """Append messages to the logs that topics read; returns how many were new, known, and too old to tell."""
    told = {"new": 0, "known": 0, "refused": 0}
    aliases = sorted({spread.alias_of(one) for one in topics.topics()}) or [str(conf.DATABASES[0])]
    try:
        for alias in aliases:
            session = caller(alias)
            with session.transaction():
                before = log.known_from(session, messages)
                kept = [one for one in messages if not log.is_before(one, before)]
                new = log.append(session, source, kept)
            told = {"new": new, "known": len(kept) - new, "refused": len(messages) - len(kept)}
    except (UnstorableValue, ValueError) as error:
        raise _Refused(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from error
    except (DatabaseErrors, StoreUnavailable) as error:
        logger.error(
            "source.not_kept source=%s messages=%d error=%s", source, len(messages), str(error).strip()
        )
        raise _Refused(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "The messages could not be kept. Send the request again: what was kept all the same does no harm.",
            Retry_After="5",
        ) from error
    return told
