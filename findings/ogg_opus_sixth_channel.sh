#!/usr/bin/env bash
# soundfile 0.14.0 with its libsndfile 1.2.2
# Guess:    Ogg Opus is lossy for all channels alike: of six microphones each keeps its tone.
# Seen:     the sixth is gone. Six channels are coded as 5.1, whose sixth is the subwoofer's: above a few hundred hertz
#           nothing is left of it. Four channels are kept, and so are six in Ogg Vorbis. No warning in any case.
# Matters:  circular arrays of six microphones are common, and Opus is the obvious way to make such a corpus small.
# Instead:  FLAC up to eight channels; of Opus, pairs or files of four channels.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check soundfile==0.14.0 numpy==2.4.6
venv/bin/python - <<'PY'
import numpy as np
import soundfile

RATE_HZ = 24000
assert soundfile.__libsndfile_version__ == "1.2.2", soundfile.__libsndfile_version__
time_s = np.arange(2 * RATE_HZ) / RATE_HZ
tones = np.stack([0.2 * np.sin(2 * np.pi * hz * time_s) for hz in (500, 600, 700, 800, 900, 1000)], axis=1)


def kept(channels: int, subtype: str) -> list[float]:
    """The share of each channel's level that comes back."""
    soundfile.write("array.ogg", tones[:, :channels], RATE_HZ, format="OGG", subtype=subtype)
    back, _ = soundfile.read("array.ogg")
    return [round(float(np.std(back[:, c]) / np.std(tones[:, c])), 2) for c in range(channels)]


for channels, subtype in ((4, "OPUS"), (6, "VORBIS"), (6, "OPUS")):
    print(f"{channels} channels as {subtype}: guessed about 1 for each, seen {kept(channels, subtype)}")
assert min(kept(4, "OPUS")) > 0.9 and min(kept(6, "VORBIS")) > 0.9, "changed"
*others, sixth = kept(6, "OPUS")
assert min(others) > 0.9 and sixth < 0.05, f"changed: {others}, {sixth}"
PY
