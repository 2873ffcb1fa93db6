"""Commands that look into a store: what it holds, whether it is right, what it looks like."""
