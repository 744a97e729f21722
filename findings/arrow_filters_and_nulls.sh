#!/usr/bin/env bash
# pyarrow 25.0.1
# Guess:    `filters=[("fold", "!=", 4)]` and `filters=[("fold", "not in", [4])]` read the same rows.
# Seen:     rows without a fold are left out by the first and kept by the second. NaN differs from null: "!=" and "not
#           in" keep it, "<=" and ">" both leave it out.
# Matters:  "all but the test fold" is a different training set by the spelling; "loss <= 5" plus "loss > 5" are not all
#           runs.
# Instead:  say what becomes of nulls: an expression such as `(pc.field("fold") != 4) | pc.field("fold").is_null()`.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check pyarrow==25.0.1
venv/bin/python - <<'PY'
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

table = {"row": ["fold 3", "fold 4", "no fold", "diverged"], "fold": [3, 4, None, 5], "loss": [1.0, 9.0, None, float("nan")]}
pq.write_table(pa.table(table), "rows.parquet")


def rows(filters: object) -> list[str]:
    return pq.read_table("rows.parquet", filters=filters)["row"].to_pylist()


differs, outside = rows([("fold", "!=", 4)]), rows([("fold", "not in", [4])])
low, high = rows([("loss", "<=", 5.0)]), rows([("loss", ">", 5.0)])
said = rows((pc.field("fold") != 4) | pc.field("fold").is_null())
print(f'guessed the same rows; seen: "!=" {differs}, "not in" {outside}, said by an expression {said}')
print(f'guessed that NaN is on one side; seen: "<=" {low}, ">" {high}')
assert differs == ["fold 3", "diverged"], f"changed: {differs}"
assert outside == said == ["fold 3", "no fold", "diverged"], f"changed: {outside}, {said}"
assert (low, high) == (["fold 3"], ["fold 4"]), f"changed: {low}, {high}"
PY
