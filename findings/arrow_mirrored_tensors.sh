#!/usr/bin/env bash
# pyarrow 25.0.1 and numpy 2.4.6
# Guess:    `FixedShapeTensorArray.from_numpy_ndarray` takes a mirrored array (a view with a negative stride) by copying
#           it, or refuses it as it refuses other strides.
# Seen:     it takes colour pictures (row, column, colour) whose left and right are swapped, and gives back the same
#           shape with other values: it sorts the axes by their strides, signs included. Only the first axis is refused,
#           with a reason.
# Matters:  left-right swaps are the commonest augmentation of pictures and of microphone arrays; here the swap is lost
#           and the picture's axes are read in another order.
# Instead:  np.ascontiguousarray(...) before the call.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check pyarrow==25.0.1 numpy==2.4.6
venv/bin/python - <<'PY'
import numpy as np
import pyarrow as pa

pictures = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)  # picture, row, column, colour


def taken(array: np.ndarray) -> str:
    try:
        tensors = pa.FixedShapeTensorArray.from_numpy_ndarray(array)
    except ValueError as error:
        return f"refused: {error}"
    return "the same" if np.array_equal(tensors.to_numpy_ndarray(), array) else "other values"


seen = {
    "as they are": taken(pictures),
    "rows and columns swapped": taken(pictures.transpose(0, 2, 1, 3)),
    "left and right swapped": taken(pictures[:, :, ::-1]),
    "last picture first": taken(pictures[::-1]).split(":")[0],
    "left and right swapped, contiguous": taken(np.ascontiguousarray(pictures[:, :, ::-1])),
}
for name, result in seen.items():
    print(f"{name}: {result}")
print("guessed: the same or refused, for each")
stated = ["the same", "the same", "other values", "refused", "the same"]
assert list(seen.values()) == stated, f"changed: {seen}"
PY
