#!/usr/bin/env bash
# pyloudnorm 0.2.0
# Guess:    the loudness of a first-order ambisonic recording (W Y Z X) is that of the sound, wherever it comes from; or
#           four channels are refused, as loudness is defined for loudspeakers.
# Seen:     four channels are taken for left, right, centre and a surround, which counts 1.5 dB more. X is the fourth: a
#           source in front or behind is 0.8 dB louder than the same source at the side; between them, between.
# Matters:  normalising FOA to a target loudness makes level depend on direction, which a network for localisation can
#           learn.
# Instead:  measure W alone.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check pyloudnorm==0.2.0 numpy==2.4.6 scipy==1.17.1
venv/bin/python - <<'PY'
import numpy as np
import pyloudnorm

RATE_HZ = 24000
sound = np.random.default_rng(0).standard_normal(RATE_HZ * 3) * 0.05
meter = pyloudnorm.Meter(RATE_HZ)


def loudness(azimuth_deg: float) -> float:
    azimuth = np.deg2rad(azimuth_deg)
    foa = np.stack([sound, sound * np.sin(azimuth), 0 * sound, sound * np.cos(azimuth)], axis=1)
    return round(float(meter.integrated_loudness(foa)), 2)


front, between, left, back = (loudness(azimuth) for azimuth in (0, 45, 90, 180))
w_only = round(float(meter.integrated_loudness(sound)), 2)
print(f"guessed one number; seen front {front}, 45 deg {between}, left {left}, back {back} LUFS (W alone {w_only})")
assert abs(front - left - 0.81) < 0.03 and abs(front - back) < 0.01 and left < between < front, "changed"
PY
