"""A trained model at work: on recordings with labels, on a clip, as a bundle of files."""
