"""Synthetic scenes: drawn from settings and a seed, made audible and visible, written as a data set."""
