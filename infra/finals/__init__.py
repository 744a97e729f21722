"""The best configs again with several seeds, and the test split, read once."""
