"""The topics of the streaming scenarios."""
