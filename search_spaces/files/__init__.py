"""Spaces of a user's own: read from a Python or a YAML file."""
