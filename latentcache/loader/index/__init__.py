"""From a row of the plan to its tar, its slot there, and what the plan says of it."""
