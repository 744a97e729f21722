"""What one trial trains: features, encoders, fusion, loss, scores, and the loop around them."""
