#!/usr/bin/env bash
# Optuna 5.0.0
# Guess:    enqueuing a point outside the search space is refused, or clipped to it.
# Seen:     a number outside is warned of and then used, while an unknown category raises. The finished trial holds a
#           value that its own distribution does not contain, wins if it is good, and makes the study impossible to
#           copy: `add_trials` refuses it.
# Matters:  first points typed by hand (1e-1 for 1e-4): the trial trains outside the space that the report describes,
#           and the study cannot be moved to another storage any more.
# Instead:  check `distribution._contains` or the range before enqueuing.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check optuna==5.0.0 numpy==2.4.6
venv/bin/python - <<'PY'
import warnings

import optuna

optuna.logging.set_verbosity(optuna.logging.ERROR)
study = optuna.create_study()
study.enqueue_trial({"rate": -5.0})
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    study.optimize(lambda trial: trial.suggest_float("rate", 0.0, 1.0), n_trials=5)
used = study.trials[0]
print(f"enqueued -5 for a range of 0 to 1: guessed an error or 0, seen {used.params} {used.state.name}, best {study.best_value}")
print("warned:", str(said[0].message).split(" for distribution")[0])
assert used.params == {"rate": -5.0} and study.best_value == -5.0 and "out of range" in str(said[0].message), "changed"

copied = "copied"
try:
    optuna.create_study().add_trials(study.trials)
except ValueError as error:
    copied = f"ValueError: {error}"
print(f"the study's copy: guessed copied, seen {copied}")
assert copied.startswith("ValueError: The value -5.0 of parameter 'rate' isn't contained"), "changed"

study.enqueue_trial({"optimiser": "adamw"})
try:
    study.ask().suggest_categorical("optimiser", ["adam", "sgd"])
    refused = False
except ValueError as error:
    refused = True
print(f"an unknown category: guessed an error, seen {'an error' if refused else 'none'}")
assert refused, "changed"
PY
