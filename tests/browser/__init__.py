"""The pages in a real browser: seen, heard, used by keys alone, without scripts, under a strict policy."""
