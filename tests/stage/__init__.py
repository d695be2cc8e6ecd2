"""Products that do what a test has written down for them, in whatever process they are computed.

`primers.py` declares them, `acting.py` carries out their scripts, `reader.py` is a process that asks the
cache what the test tells it to ask, `directing.py` is the test's side of all three.
"""
