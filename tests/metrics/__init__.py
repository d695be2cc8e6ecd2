"""Metrics: numbers remembered per period."""
