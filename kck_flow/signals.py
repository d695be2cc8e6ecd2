"""Django signals that mirror a primer's hooks.

Each is sent with ``sender`` the primer's class and the hook's arguments by name: ``key``, and ``value``,
``entry``, ``old``, ``changes`` or ``record`` where the hook has them.
"""

from __future__ import annotations

from django.dispatch import Signal

pre_prime, post_prime = Signal(), Signal()
pre_refresh, post_refresh = Signal(), Signal()
pre_set, post_set = Signal(), Signal()
pre_unset, post_unset = Signal(), Signal()
pre_augment, post_augment = Signal(), Signal()
pre_write, post_write = Signal(), Signal()
post_record = Signal()
