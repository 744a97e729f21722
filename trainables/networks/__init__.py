"""Whole networks: built from a config, filled with weights, measured before they run."""
