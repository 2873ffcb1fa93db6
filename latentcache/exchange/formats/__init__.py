"""What other tools read, one file each: how a sample is named, laid out and valued there."""
