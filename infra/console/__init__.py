"""What users write on the command line, and what a command prints."""
