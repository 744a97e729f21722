#!/usr/bin/env bash
# safetensors 0.8.0 (safetensors.numpy) and numpy 2.4.6
# Guess:    an array is saved with the values that it shows, whatever its strides.
# Seen:     the shape is kept and the values are not: the bytes are written in the order in which they lie in memory. A
#           transposed array comes back with its rows and columns mixed up, a mirrored one unmirrored; nothing is said.
# Matters:  weights that were transposed for another framework, mirrored pictures, Fortran arrays of SciPy: the file
#           loads, has the right shapes, and holds other numbers.
# Instead:  np.ascontiguousarray(...) for every array before `save` and `save_file`. (safetensors.torch refuses such
#           tensors.)
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check safetensors==0.8.0 numpy==2.4.6
venv/bin/python - <<'PY'
import numpy as np
from safetensors.numpy import load, save

weights = np.arange(6, dtype=np.float32).reshape(2, 3)
cases = {
    "as it is": weights,
    "transposed": weights.T,
    "Fortran order": np.asfortranarray(weights),
    "contiguous copy of the transposed": np.ascontiguousarray(weights.T),
}
seen = {}
for name, array in cases.items():
    back = load(save({"w": array}))["w"]
    assert back.shape == array.shape, "the shape changed"
    seen[name] = bool(np.array_equal(back, array))
    print(f"{name}: guessed equal, seen {'equal' if seen[name] else f'{array.tolist()} -> {back.tolist()}'}")

stated = dict(zip(cases, (True, False, False, True)))
assert seen == stated, f"changed: {seen}"
PY
