#!/usr/bin/env bash
# mlflow-skinny 3.17.2 on its SQLite store
# Guess:    `tags.stage != 'dead'` finds every run that is not dead.
# Seen:     runs that have no such tag are not found; the same for parameters and metrics. There is no "or" to add them.
# Matters:  "all runs but the discarded ones" is empty until somebody tags; clean-ups and comparisons work on the wrong
#           set.
# Instead:  two searches (`tags.stage IS NULL` finds those without), or tag every run when it starts.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check mlflow-skinny==3.17.2 sqlalchemy==2.1.9 alembic==1.20.1
venv/bin/python - <<'PY'
from mlflow import MlflowClient

client = MlflowClient("sqlite:///record.db")
experiment = client.create_experiment("sweep", artifact_location="artifacts")
for name, stage in (("discarded", "dead"), ("kept", "live"), ("new", None)):
    run_id = client.create_run(experiment, run_name=name).info.run_id
    if stage:
        client.set_tag(run_id, "stage", stage)
        client.log_param(run_id, "fold", "4" if stage == "dead" else "3")
        client.log_metric(run_id, "loss", 1.0 if stage == "dead" else 2.0)


def found(condition: str) -> list[str]:
    return sorted(run.info.run_name for run in client.search_runs([experiment], condition))


for condition in ("tags.stage != 'dead'", "params.fold != '4'", "metrics.loss != 1.0"):
    seen = found(condition)
    print(f"{condition}: guessed kept and new, seen {seen}")
    assert seen == ["kept"], f"changed: {seen}"
null = found("tags.stage IS NULL")
print(f"tags.stage IS NULL: {null}")
assert null == ["new"], f"changed: {null}"
PY
