#!/usr/bin/env bash
# Optuna 5.0.0
# Guess:    `PatientPruner(None, patience, min_delta)` is the early stopping of training libraries: a trial whose best
#           value has not improved by more than `min_delta` for `patience` steps is pruned. So says its documentation.
# Seen:     it prunes what gets worse. A flat curve is never pruned; and a larger `min_delta` makes it more patient, not
#           less: the value must have got worse by more than that.
# Matters:  trials that stopped learning run to the end, and whoever raises `min_delta` to save time spends more.
# Instead:  a stopper of one's own over the reported values; as a guard against divergence it is fine.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check optuna==5.0.0 numpy==2.4.6
venv/bin/python - <<'PY'
import optuna

optuna.logging.set_verbosity(optuna.logging.ERROR)


def pruned_at(values: list[float], min_delta: float) -> int | None:
    trial = optuna.create_study(pruner=optuna.pruners.PatientPruner(None, patience=2, min_delta=min_delta)).ask()
    for step, value in enumerate(values):
        trial.report(value, step)
        if trial.should_prune():
            return step
    return None


curves = {
    "flat after three steps": [5.0, 4.0, 3.0] + [3.0] * 20,
    "0.001 better a step": [3.0 - 0.001 * i for i in range(23)],
    "0.05 worse a step": [3.0 + 0.05 * i for i in range(23)],
}
seen = {name: [pruned_at(values, delta) for delta in (0.0, 0.1, 1.0)] for name, values in curves.items()}
print("loss curves, patience 2, min_delta 0 / 0.1 / 1; pruned at step:")
print("guessed: flat: all early; 0.001 better: not / early / early; worse: all early")
for name, steps in seen.items():
    print(f"seen: {name}: {steps}")
assert seen["flat after three steps"] == seen["0.001 better a step"] == [None, None, None], f"changed: {seen}"
assert seen["0.05 worse a step"] == [3, 5, None], f"changed: {seen}"
PY
