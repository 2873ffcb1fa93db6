"""Growth: what a listing brings that a plan does not know, and what the plan has that is gone."""
