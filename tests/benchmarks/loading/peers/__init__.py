"""One module per competitor: how its data set is written and how it is read."""
