"""The controls of a fusion: the same network without one of its modalities. Free of torch, for those who only judge."""

CLOSED: dict[str, str] = {"eyes": "visual", "ears": "audio"}
"""What `Fusion.closed` may be, and the embedding that it keeps at zero."""
