"""The controls of a fusion: the same network without one of its modalities. Free of torch, for those who only judge."""

CLOSED: dict[str, str] = {"eyes": "visual", "ears": "audio"}
"""What `Fusion.closed` may be, and the embedding that it keeps at zero."""


def worth(control: str, low: float, high: float, seen: str) -> str:
    """What the interval of a gain over a control says of the modality.

    Args:
        control: of `CLOSED`; anything else takes the pictures away.
        seen: what the interval is over, such as recordings.
    """
    modality = CLOSED.get(control, "visual")
    if low > 0 or high < 0:
        return f"{modality} input {'helps' if low > 0 else 'harms'}"
    return f"{modality} input makes no difference that these {seen} show"
