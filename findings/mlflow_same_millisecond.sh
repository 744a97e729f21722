#!/usr/bin/env bash
# mlflow-skinny 3.17.2 on its SQLite store
# Guess:    a run's metric is what was logged last.
# Seen:     it is the one of the largest step; of equal steps, of the largest timestamp (milliseconds); of equal ones,
#           the *largest value*, in whatever order they came. The history is sorted by value then. NaN never wins such a
#           tie.
# Matters:  a loss logged twice in a millisecond without steps (`log_batch`, fast loops, replays) shows the worse one,
#           and a run that became NaN shows its last finite loss.
# Instead:  give every value a step of its own.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check mlflow-skinny==3.17.2 sqlalchemy==2.1.9 alembic==1.20.1
venv/bin/python - <<'PY'
import math

from mlflow import MlflowClient
from mlflow.entities import Metric

client = MlflowClient("sqlite:///record.db")
experiment = client.create_experiment("sweep", artifact_location="artifacts")


def shown(*logged: tuple[float, int, int]) -> tuple[float, list[float]]:
    """The run's loss and its history after these (value, milliseconds, step)."""
    run_id = client.create_run(experiment).info.run_id
    for value, milliseconds, step in logged:
        client.log_batch(run_id, [Metric("loss", value, milliseconds, step)])
    history = [metric.value for metric in client.get_metric_history(run_id, "loss")]
    return client.get_run(run_id).data.metrics["loss"], history


tie = shown((0.9, 1000, 0), (0.2, 1000, 0), (0.5, 1000, 0))
late_small_step = shown((0.9, 1000, 5), (0.2, 2000, 3))
nan = shown((0.9, 1000, 0), (math.nan, 1000, 0))
steps = shown((0.9, 1000, 0), (0.2, 1000, 1), (math.nan, 1000, 2))
print(f"0.9, 0.2, 0.5 in one millisecond: guessed 0.5, seen {tie[0]}; history {tie[1]}")
print(f"0.9 at step 5, later 0.2 at step 3: guessed 0.2, seen {late_small_step[0]}")
print(f"0.9, NaN in one millisecond: guessed nan, seen {nan[0]}; with steps of their own: {steps[0]}")
assert tie == (0.9, [0.2, 0.5, 0.9]) and late_small_step[0] == 0.9 and nan[0] == 0.9 and math.isnan(steps[0]), "changed"
PY
