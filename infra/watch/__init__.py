"""How a sweep stands: on a screen, as JSON, as metrics."""
