"""What a build farm says: message number n of a seed is always the same, whoever makes it, and whenever."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from kck_flow import Message

LATENESS = timedelta(seconds=10)  # how long a message may be on its way

PACKAGES = [
    "bash",
    "coreutils",
    "curl",
    "django",
    "emacs",
    "gcc",
    "git",
    "llvm",
    "nginx",
    "openssl",
    "postgresql",
    "vim",
]
OFTEN = [1 / (place + 1) for place in range(len(PACKAGES))]  # some are built all the time
ARCHES = ["x86_64", "aarch64", "riscv64"]
USERS = ["ada", "barbara", "edsger", "grace", "ken", "margaret"]
STATUSES = {"build": ["started", "done", "failed"], "test": ["passed", "failed"], "ship": ["done"]}


@dataclass(frozen=True)
class Traffic:
    """Messages of a seed, so many a second from an instant on."""

    seed: int
    rate: float
    began_at: datetime

    def message(self, number: int) -> Message:
        """Return message ``number``. It is sent in the order of numbers, and happened up to LATENESS before that."""
        draw = random.Random(f"{self.seed}/{number}")
        category = draw.choices(list(STATUSES), [6, 3, 1])[0]
        status = draw.choice(STATUSES[category])
        package = draw.choices(PACKAGES, OFTEN)[0]
        body = {
            "category": category,
            "package": {"name": package, "arch": draw.choice(ARCHES)},
            "user": draw.choice(USERS),
            "status": status,
            "seconds": draw.randrange(1, 600),
        }
        late = draw.uniform(0, LATENESS.total_seconds())
        happened_at = self.began_at + timedelta(seconds=round(number / self.rate - late, 2))
        return Message(f"{category}.{status}", body, f"m{number:09}", happened_at, key=package)

    def messages(self, numbers: Iterable[int]) -> Iterator[Message]:
        return map(self.message, numbers)


def shuffled(fresh: Sequence[int], earlier: Sequence[int], doubled: float, draw: random.Random) -> list[int]:
    """Return which numbers are sent now, in which order: those that are new, and some again that were sent before.

    Args:
        doubled: The share of messages that are sent twice.
    """
    again = draw.sample(earlier, min(round(len(fresh) * doubled), len(earlier)))
    numbers = [*fresh, *again]
    draw.shuffle(numbers)
    return numbers
