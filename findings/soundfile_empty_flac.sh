#!/usr/bin/env bash
# soundfile 0.14.0 with its libsndfile 1.2.2
# Guess:    a recording without samples is written as a FLAC file of 0 frames, as it is in WAV, RF64, W64, AIFF, AU and
#           Ogg.
# Seen:     `write` succeeds and leaves a file of 0 bytes, which `read` and `info` cannot open ("Format not
#           recognised").
# Matters:  a segment cut after the end of a recording, or trimmed silence: in the corpus it is a damaged file, not an
#           empty one.
# Instead:  refuse to write what has no samples, or look at the file's size.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check soundfile==0.14.0 numpy==2.4.6
venv/bin/python - <<'PY'
from pathlib import Path

import numpy as np
import soundfile

assert soundfile.__libsndfile_version__ == "1.2.2", soundfile.__libsndfile_version__


def frames(kind: str) -> object:
    soundfile.write("empty", np.zeros((0, 4)), 24000, format=kind)
    try:
        return soundfile.info("empty").frames
    except soundfile.LibsndfileError:
        return f"not readable, {Path('empty').stat().st_size} bytes"


seen = {kind: frames(kind) for kind in ("WAV", "RF64", "W64", "AIFF", "AU", "OGG", "FLAC")}
for kind, value in seen.items():
    print(f"{kind}: guessed 0 frames, seen {value}")
assert seen.pop("FLAC") == "not readable, 0 bytes", "changed"
assert set(seen.values()) == {0}, f"changed: {seen}"
PY
