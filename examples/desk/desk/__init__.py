"""A support desk: four months of its tickets, made up, and counted."""
