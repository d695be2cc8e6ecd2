"""The 336,776 flights that left New York City in 2013, and what can be said about them."""
