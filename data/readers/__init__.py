"""Data sets as they are published, taken into a chunk store."""
