#!/usr/bin/env bash
# librosa 0.11.0
# Guess:    `time_to_samples` gives the nearest sample; times on a grid of 0.1 s are exact at 24 kHz, as 2,400 samples
#           fit in.
# Seen:     it cuts decimals off, and 2.3 s is 55199.999... samples: one in fourteen such times is a sample early.
#           Samples turned into seconds and back are not the same samples either.
# Matters:  windows cut at label times overlap by a sample or miss one, and lengths of equal windows differ by one.
# Instead:  round(seconds * rate).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check librosa==0.11.0 numpy==2.4.6
venv/bin/python - <<'PY'
import librosa
import numpy as np

RATE_HZ = 24000
labels_s = np.array([round(0.1 * i, 1) for i in range(600)])
early = np.flatnonzero(librosa.time_to_samples(labels_s, sr=RATE_HZ) != np.arange(600) * 2400)
samples = np.arange(RATE_HZ)
back = librosa.time_to_samples(librosa.samples_to_time(samples, sr=RATE_HZ), sr=RATE_HZ)
print(f"2.3 s: guessed 55200, seen {librosa.time_to_samples(2.3, sr=RATE_HZ)}")
print(f"600 label times of a minute: guessed 0 wrong, seen {len(early)}, the first {labels_s[early[:3]].tolist()}")
print(f"samples of a second, to seconds and back: guessed 0 wrong, seen {(back != samples).sum()}")
assert librosa.time_to_samples(2.3, sr=RATE_HZ) == 55199, "changed"
assert (len(early), (back != samples).sum()) == (44, 1363), "changed"
PY
