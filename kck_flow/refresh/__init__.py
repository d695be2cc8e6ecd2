"""TIME: due -> claim -> refresh -> record."""
