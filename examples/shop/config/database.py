"""DATABASE_URL in Django's words."""

from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit


def from_url(url: str, *, schema: str = "", test_name: str = "") -> dict[str, Any]:
    """Return the ``DATABASES`` entry that ``url`` means.

    Args:
        url: ``postgres://user:password@host:port/name?option=value``; the host may be the percent-escaped
            folder of a socket, or be left out and given as the option ``host``.
        schema: The schema in which tables are made and looked for; empty for the database's own default.
        test_name: The database that ``manage.py test`` makes; empty for Django's choice, ``test_<name>``.

    Raises:
        ValueError: Another database than PostgreSQL, or no database named.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"postgres", "postgresql"}:
        raise ValueError(
            f"DATABASE_URL begins with {parts.scheme or 'nothing'!r}; this example needs postgres://"
        )
    name = unquote(parts.path.lstrip("/"))
    if not name:
        raise ValueError("DATABASE_URL names no database: postgres://user:password@host:port/name")
    options: dict[str, Any] = dict(parse_qsl(parts.query))
    host = options.pop("host", None) or unquote(parts.hostname or "")
    if schema:
        options["options"] = f"{options.get('options', '')} -c search_path={schema}".strip()
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": name,
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": host,
        "PORT": str(options.pop("port", None) or parts.port or ""),
        "OPTIONS": options,
        "CONN_MAX_AGE": 600,
        "TEST": {"NAME": test_name} if test_name else {},
    }
