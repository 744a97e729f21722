"""What can be chosen by name, and how parts come in from outside."""
