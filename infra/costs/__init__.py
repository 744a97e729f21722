"""What trials take: calibrated, forecast, and refused where it is too much."""
