"""From predicted events to the numbers that a trial is judged by."""
