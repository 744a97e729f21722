"""Where results come from, and which secrets never go with them."""
