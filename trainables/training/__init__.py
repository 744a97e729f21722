"""One trial: the loop, what a checkpoint holds, and how it reaches Ray."""
