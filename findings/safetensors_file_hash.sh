#!/usr/bin/env bash
# safetensors 0.8.0
# Guess:    the same tensors and the same metadata give the same bytes: the format has no timestamps, and tensors are
#           written in a fixed order.
# Seen:     with several entries of metadata the header's order changes from call to call, within one process too.
#           Without metadata, or with one entry, the bytes are the same each time.
# Matters:  a checkpoint's sha256 as its name, as a cache's key or as proof that two runs ended with the same weights.
# Instead:  hash the tensors (names, dtypes, shapes, bytes), or put all metadata into one entry as sorted JSON.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check safetensors==0.8.0 numpy==2.4.6
venv/bin/python - <<'PY'
import hashlib
import json

import numpy as np
from safetensors.numpy import save

tensors = {"w": np.ones((2, 3), np.float32), "b": np.zeros(3, np.float32)}
metadata = {f"setting_{i}": str(i) for i in range(12)}


def different(**options: object) -> int:
    return len({hashlib.sha256(save(tensors, **options)).hexdigest() for _ in range(20)})


seen = {
    "no metadata": different(),
    "one entry": different(metadata={"settings": json.dumps(metadata, sort_keys=True)}),
    "twelve entries": different(metadata=metadata),
}
for name, count in seen.items():
    print(f"{name}: 20 saves of the same, guessed 1 hash, seen {count}")
assert seen["no metadata"] == seen["one entry"] == 1, f"changed: {seen}"
assert seen["twelve entries"] > 10, f"changed: {seen}"
PY
