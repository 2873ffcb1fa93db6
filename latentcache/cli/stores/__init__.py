"""Commands that change or move stores that are there, or bring others'."""
