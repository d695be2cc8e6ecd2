"""A build farm's messages: generated, sent through the log, and counted."""
