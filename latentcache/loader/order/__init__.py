"""Order as arithmetic: permutations, epochs, schedules, mixtures; no tables, no I/O."""
