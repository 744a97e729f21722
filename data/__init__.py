"""Recordings, synthetic scenes, and the chunk store that streams them to training workers."""
