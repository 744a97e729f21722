#!/usr/bin/env bash
# soxr 1.1.0 and numpy 2.4.6
# Guess:    resampling int16 is resampling the same numbers as float and rounding; silence stays silence; from a rate to
#           the same rate nothing changes; a channel is the same alone and among others.
# Seen:     int16 is dithered, which python-soxr neither says nor lets one switch off: silence becomes noise of -1, 0
#           and 1, the same rate changes samples, a channel resampled alone differs from the same one beside others. Two
#           equal calls are equal.
# Matters:  quiet recordings of microphone arrays; tests for silence; "bit for bit the same, one channel at a time";
#           hashes.
# Instead:  float32 in, float32 out, and one's own rounding at the end.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check soxr==1.1.0 numpy==2.4.6
venv/bin/python - <<'PY'
import numpy as np
import soxr

sound = (np.random.default_rng(0).standard_normal((24000, 4)) * 3000).astype(np.int16)
silence = np.zeros(24000, np.int16)
all_at_once = soxr.resample(sound, 24000, 16000)
alone = soxr.resample(sound[:, 2], 24000, 16000)

seen = {
    "silence as int16": np.unique(soxr.resample(silence, 24000, 16000)).tolist(),
    "silence as float32": np.unique(soxr.resample(silence.astype(np.float32), 24000, 16000)).tolist(),
    "same rate, int16, unchanged": bool(np.array_equal(soxr.resample(sound, 24000, 24000), sound)),
    "a channel alone is the same": bool(np.array_equal(alone, all_at_once[:, 2])),
    "as float and rounded": bool(np.array_equal(np.rint(soxr.resample(sound.astype(np.float64), 24000, 16000)), all_at_once)),
    "twice the same": bool(np.array_equal(soxr.resample(sound, 24000, 16000), all_at_once)),
}
guessed = [[0], [0.0], True, True, True, True]
stated = [[-1, 0, 1], [0.0], False, False, False, True]
for (name, value), guess in zip(seen.items(), guessed):
    print(f"{name}: guessed {guess}, seen {value}")
assert list(seen.values()) == stated, f"changed: {seen}"
PY
