"""The 13 sound event classes of STARSS23, in the order of their label index."""

from __future__ import annotations

import re

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


def _slug(name: str) -> str:
    """Letters and digits alone, without "and": water_tap, "Water tap" and waterTap are one."""
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", name)
    return "".join(word.lower() for word in words if word.lower() != "and")


# What the public generators of spatial scenes and FSD50K call them besides.
_OTHER_NAMES = {
    "femaleSpeech": 0,
    "maleSpeech": 1,
    "domesticSounds": 5,
    "Domestic_sounds_and_home_sounds": 5,
    "doorCupboard": 7,
    "Cupboard_open_or_close": 7,
    "Drawer_open_or_close": 7,
    "musicInstrument": 9,
    "waterTap": 10,
}
_NAMED = {
    # A class goes by its name, by each part of it that a comma sets off, and by its short name.
    **{
        _slug(name): index
        for index, (long, short) in enumerate(zip(CLASS_NAMES, SHORT_NAMES, strict=True))
        for name in (long, *long.split(","), short)
    },
    **{_slug(name): index for name, index in _OTHER_NAMES.items()},
}


def class_named(name: str) -> int | None:
    """The class with that name, long or short, in any case and with any signs between the words, if there is one."""
    return _NAMED.get(_slug(name))
