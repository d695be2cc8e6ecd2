"""A shop that sells subscriptions: two years of its accounts, made up, and counted."""
