"""Pieces for tests with real processes, servers and failures. Nothing here knows what is tested."""
