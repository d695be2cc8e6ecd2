"""Ctrl-C while a command waits for what its threads compute."""

from __future__ import annotations

import signal
import threading

import pytest

from kck_flow.entry import Entry
from kck_flow.key import Key
from kck_flow.management.many import each


def test_a_signal_that_does_not_wake_the_wait_is_heard_before_a_product_is_done() -> None:
    done = threading.Event()

    def compute(key: Key) -> Entry:
        done.wait(30)
        raise ValueError

    def interrupt() -> None:
        # As when it comes in the moment before the wait begins: noted, and the main thread sleeps on.
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)

    keys = [Key(name, name, {}) for name in ("a", "b")]
    late = [threading.Timer(0.5, interrupt), threading.Timer(10, done.set)]
    # Whatever started us may have made us deaf to Ctrl-C, as a shell does with what runs in its background.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    for one in late:
        one.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            next(each(keys, compute))
        assert not done.is_set(), "it was heard when a product was done"
    finally:
        signal.signal(signal.SIGINT, before)
        done.set()
        for one in late:
            one.cancel()
