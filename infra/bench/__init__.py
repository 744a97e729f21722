"""Benchmarks against straightforward ways to the same numbers: `python -m infra.bench.<name>`; see README.md."""
