"""Pre-trained weights: which files are understood, and how they get into a network."""
