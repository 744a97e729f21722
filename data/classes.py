"""The 13 sound event classes of STARSS23, in the order of their label index."""

CLASS_NAMES: tuple[str, ...] = (
    "Female speech, woman speaking",
    "Male speech, man speaking",
    "Clapping",
    "Telephone",
    "Laughter",
    "Domestic sounds",
    "Walk, footsteps",
    "Door, open or close",
    "Music",
    "Musical instrument",
    "Water tap, faucet",
    "Bell",
    "Knock",
)

# For axes and legends.
SHORT_NAMES: tuple[str, ...] = (
    "female",
    "male",
    "clap",
    "phone",
    "laugh",
    "domestic",
    "steps",
    "door",
    "music",
    "instrument",
    "tap",
    "bell",
    "knock",
)

NUM_CLASSES = len(CLASS_NAMES)
