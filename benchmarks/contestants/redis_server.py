"""What the bench itself asks of the Redis server: filling it and counting its writes."""

from __future__ import annotations

from typing import Any

READS = {
    "get",
    "mget",
    "exists",
    "ttl",
    "pttl",
    "ping",
    "select",
    "info",
    "hello",
    "client",
    "command",
    "strlen",
}


def client(place: dict[str, Any], number: int) -> Any:
    """Return a client for that database number of the server."""
    import redis

    return redis.Redis(host=place["host"], port=place["port"], db=number)


def populate(place: dict[str, Any], number: int, keys: int) -> None:
    """Put that many other keys into the database, made by the server itself."""
    own = client(place, number)
    own.execute_command("DEBUG", "POPULATE", keys, "other", 32)
    own.close()


def writes(place: dict[str, Any]) -> int:
    """Return how many commands that are no plain reads the server has run so far."""
    own = client(place, 0)
    stats = own.info("commandstats")
    own.close()
    names = ((name.removeprefix("cmdstat_").partition("|")[0], each["calls"]) for name, each in stats.items())
    return sum(int(calls) for name, calls in names if name not in READS)
