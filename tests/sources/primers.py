"""What reads what the brokers brought."""

from __future__ import annotations

from typing import Any

from kck_flow import Message, Topic


class Bridged(Topic):
    """All numbers that came, added up."""

    key_base = "bridged"
    topics = ["bridged"]

    def process(self, state: Any, message: Message) -> Any:
        return state + message.body["n"]
