"""How fast kck_flow is, beside the caches and queues that people use today.

``python -m benchmarks`` runs everything and writes ``benchmarks/RESULTS.md``. Each scenario is a module that
begins with its number (``s1_warm_get.py``); it says what is measured, against whom, and what we aim for.
"""
