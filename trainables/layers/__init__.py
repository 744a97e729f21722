"""Building blocks that several parts share: plain torch."""
