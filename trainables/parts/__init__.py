"""What a trial chooses by name: one file for each fusion, encoder, output, schedule and optimiser."""
