"""The registry: models registered with their evidence, promoted through a gate, rolled back, and used."""
