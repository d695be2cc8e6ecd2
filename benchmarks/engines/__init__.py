"""The engines that refresh: each can start workers, be asked for one no-op job, and stop its workers."""
