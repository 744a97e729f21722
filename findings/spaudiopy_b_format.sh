#!/usr/bin/env bash
# spaudiopy 0.2.0 with scipy 1.17.1 and 1.16.3
# Guess:    `sph.src_to_b` gives one of the two B-formats there are: W Y Z X with W 1 (SN3D), or W X Y Z with W 0.707
#           (FuMa).
# Seen:     a third: W X Y Z with W 1. `sph.src_to_sh`, beside it, gives W Y Z X with all gains 0.28 times N3D. And with
#           today's scipy, which pip picks, `src_to_sh` raises: it calls a function that scipy has removed.
# Matters:  read as W Y Z X (what DCASE data is), `src_to_b` puts left to the top and front to the left.
# Instead:  b[[0, 2, 3, 1]] is SN3D; for higher orders `src_to_sh` with scipy<1.17, over its first gain and sqrt(2n +
#           1).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
cat >encode.py <<'PY'
import numpy as np
import scipy
from spaudiopy import sph

left, front, horizon = np.pi / 2, 0.0, np.pi / 2


def encoded(function, *order: int) -> list[list[float]]:
    return [(function(np.ones(1), azimuth, horizon, *order).ravel() + 0.0).round(3).tolist() for azimuth in (left, front)]


b_format = encoded(sph.src_to_b)
print(f"src_to_b, left and front: guessed [1, 1, 0, 0], [1, 0, 0, 1] or W 0.707; seen {b_format}")
assert b_format == [[1, 0, 1, 0], [1, 1, 0, 0]], "changed"
try:
    harmonics = encoded(sph.src_to_sh, 1)
except AttributeError as error:
    harmonics = f"AttributeError: {error}"
print(f"src_to_sh with scipy {scipy.__version__}: guessed the same on any scipy; seen {harmonics}")
if scipy.__version__ == "1.16.3":
    assert harmonics == [[0.282, 0.489, 0, 0], [0.282, 0, 0, 0.489]], "changed"
else:
    assert "has no attribute 'sph_harm'" in harmonics, "changed"
PY
for scipy in 1.17.1 1.16.3; do
    venv/bin/pip install --quiet --disable-pip-version-check spaudiopy==0.2.0 "scipy==$scipy" numpy==2.4.6
    venv/bin/python encode.py
done
