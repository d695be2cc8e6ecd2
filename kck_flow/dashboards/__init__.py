"""VIEW: a request becomes a sheet of numbers that were computed before, and that a page, JSON, CSV or a picture."""
