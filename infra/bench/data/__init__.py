"""Benchmarks of data: made, stored, read, fed."""
