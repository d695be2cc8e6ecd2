"""Adapters that bring hints to fleets of others' making; chosen by the setting ``EXECUTOR``.

What a hint is, and why it may be lost, is told in ``kck_flow.refresh.executor``; all that an adapter does is to send
one, and all that its task does is to call ``entry``.
"""
