"""What sealed batches say, for those who make them and those who read them. Pure functions."""
