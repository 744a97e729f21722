"""A comparison as one HTML page: its sections, its pictures, its style and script."""
