#!/usr/bin/env bash
# mlflow-skinny 3.17.2 on its SQLite store
# Guess:    a logged infinity is read as an infinity, as NaN is read as NaN.
# Seen:     it is read as the largest finite double, 1.797e308: `math.isinf` is false, means and plots become huge
#           instead of infinite.
# Matters:  "diverged" tested with `isinf` (or `not isfinite`) after a round through MLflow never holds.
# Instead:  log a flag or a tag beside the metric, or test `abs(value) >= sys.float_info.max`.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check mlflow-skinny==3.17.2 sqlalchemy==2.1.9 alembic==1.20.1
venv/bin/python - <<'PY'
import math
import sys

from mlflow import MlflowClient

client = MlflowClient("sqlite:///record.db")
run_id = client.create_run(client.create_experiment("sweep", artifact_location="artifacts")).info.run_id
seen = {}
for name, value in (("inf", math.inf), ("minus_inf", -math.inf), ("nan", math.nan)):
    client.log_metric(run_id, name, value)
    seen[name] = client.get_metric_history(run_id, name)[0].value
    print(f"logged {value}: guessed {value}, seen {seen[name]}")
assert seen["inf"] == sys.float_info.max == -seen["minus_inf"] and math.isfinite(seen["inf"]), f"changed: {seen}"
assert math.isnan(seen["nan"]), f"changed: {seen}"
PY
