"""Video files: which frames they show and when, by their packets and headers alone."""
