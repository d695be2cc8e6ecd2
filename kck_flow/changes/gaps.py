"""Whether flows are captured whole: looked at once a minute, and what was missed noted.

What a flow did not see cannot be counted later. So it is known up to when its capture was seen to be whole; when it is
found not to be, or to be another, a gap begins there. It ends when it is whole again.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from django.db import Error as DatabaseErrors

from ..store import gaps
from ..store.session import Session

logger = logging.getLogger("kck_flow")

# A look gives way to whoever puts triggers in place: sooner than the server looks for a deadlock.
LOCK_MS = 500


def look(session: Session, generations: Sequence[int] | None = None) -> list[str]:
    """Look how the flows in force (or some) are captured, and note what was missed; returns the key bases of those that
    are not captured whole now.
    """
    at = gaps.oldest_writer(session)
    seen = gaps.prints(session, generations)
    whole = [one for one in seen if one.print and one.is_as_known]
    if whole:
        gaps.seen_whole(session, whole, at)
    for one in seen:
        if not one.is_as_known:
            try:
                _note(session, one.generation)
            except DatabaseErrors as error:  # held by a migrate, which looks itself; or a standby
                logger.debug("capture.not_looked family=%s error=%s", one.key_base, str(error).strip())
    return [one.key_base for one in seen if not one.print]


def _note(session: Session, generation: int) -> None:
    with session.transaction():
        session.run(f"SET LOCAL lock_timeout = {LOCK_MS}")
        if gaps.hold(session, generation):
            at = gaps.oldest_writer(session)
            # Anew, now that nobody else notes it: another may have looked later, and been here before.
            for one in gaps.prints(session, [generation]):
                note(session, one.generation, one.key_base, one.print, at)
        session.run("SET LOCAL lock_timeout = DEFAULT")


def note(session: Session, generation: int, key_base: str, print_: str, at: float) -> None:
    """Note what captures a flow (``store.gaps.witness``), and say what was missed."""
    if gaps.witness(session, generation, print_, at):
        logger.warning("capture.gap family=%s whole=%s", key_base, "yes" if print_ else "no")
