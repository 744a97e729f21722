"""MLflow's view of sweeps, kept in step with their records."""
