"""Visual encoders."""
