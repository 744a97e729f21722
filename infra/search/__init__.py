"""Optuna as Tune's search: samplers, stoppers, objectives, and the decisions they make."""
