"""AT REST: one module owns one table and every statement about it."""
