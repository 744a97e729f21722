"""Benchmarks of the search: overhead of trials, early stopping, cost of a good score."""
