"""Running it all: the embedded stack, sweeps on Ray Tune, tracking and registry in MLflow, the command line."""
