"""Signed links that were given away."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction

from ..conf import conf
from ..models import SharedLink as SharedLink


def one(name: str) -> SharedLink | None:
    """Return the link of a name, or None."""
    return SharedLink._default_manager.using(conf.DATABASES[0]).filter(name=name).first()


def every() -> list[SharedLink]:
    """Return all links, those that are over too, by name."""
    return list(SharedLink._default_manager.using(conf.DATABASES[0]))


def create(name: str, given: Mapping[str, Any]) -> SharedLink | None:
    """Add a link; returns None where the name was given before, even to one that was revoked."""
    made = SharedLink(name=name, **given)
    try:
        with transaction.atomic(using=conf.DATABASES[0]):
            made.save(using=conf.DATABASES[0], force_insert=True)
    except IntegrityError:
        return None
    return made


def revoke(name: str, at: datetime) -> bool:
    """Have a link hold no more; returns whether it did."""
    own = SharedLink._default_manager.using(conf.DATABASES[0])
    return own.filter(name=name, revoked_at=None).update(revoked_at=at) > 0
