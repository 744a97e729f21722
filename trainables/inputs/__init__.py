"""What a model hears and sees, on its way from a stored row into the network."""
