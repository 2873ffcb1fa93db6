"""What an update adds to a plan beside new samples."""
