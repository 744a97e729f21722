#!/usr/bin/env bash
# pyarrow 25.0.1
# Guess:    what `write_table` writes without a word, `read_table` reads.
# Seen:     a column of fixed-size lists in which one row is null is written, and cannot be read any more: ArrowInvalid.
#           The file is whole: written without Arrow's own schema it comes back as lists of any length, nulls included.
# Matters:  embeddings or positions of fixed length where a window has none: the data set is found to be unreadable by
#           whoever trains, not by whoever wrote it.
# Instead:  no nulls in such columns (a mask beside zeros), or lists of any length, or plain binary with the shape in
#           the schema.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check pyarrow==25.0.1
venv/bin/python - <<'PY'
import pyarrow as pa
import pyarrow.parquet as pq

FIXED = pa.list_(pa.float32(), 3)


def round_trip(rows: list, **options: object) -> str:
    pq.write_table(pa.table({"direction": pa.array(rows, FIXED)}), "rows.parquet", **options)
    try:
        back = pq.read_table("rows.parquet")["direction"]
    except pa.ArrowInvalid as error:
        return f"ArrowInvalid: {error}"
    return "the same" if back.to_pylist() == rows else f"other rows: {back.to_pylist()}"


full, empty = [1.0, 0.0, 0.0], None
seen = {
    "no null": round_trip([full, full]),
    "a null inside a list": round_trip([[1.0, None, 0.0]]),
    "a null list": round_trip([full, empty, full]),
    "a null list, without Arrow's schema": round_trip([full, empty, full], store_schema=False),
}
for name, result in seen.items():
    print(f"{name}: guessed the same, seen {result}")
broken = seen.pop("a null list")
assert broken.startswith("ArrowInvalid: Expected all lists to be of size=3"), f"changed: {broken}"
assert set(seen.values()) == {"the same"}, f"changed: {seen}"
PY
