"""One column of a run: pinned, dispatched to actors, encoded unit by unit, committed."""
