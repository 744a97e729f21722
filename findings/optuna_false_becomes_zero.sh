#!/usr/bin/env bash
# Optuna 5.0.0
# Guess:    a choice comes back as what it was given as: of [0, False, None] the trial gets 0, False or None.
# Seen:     False never comes: 0 comes in its place, because choices are looked up by ==. The same with [1, True, 1.0].
#           No duplicate is reported; the first of the equal ones gets the chances of all.
# Matters:  "augment: [false, 0, 0.5]", "layers: [1, true]": a branch on `is False` is never taken, and the importance
#           of the choice is computed over fewer values than were written.
# Instead:  choices as strings, or refuse choices that are equal to one another before the search.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check optuna==5.0.0 numpy==2.4.6
venv/bin/python - <<'PY'
from collections import Counter

import optuna

optuna.logging.set_verbosity(optuna.logging.ERROR)
for choices, lost in (([0, False, None], False), ([1, True, 1.0], True), (["0", "False", "None"], None)):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(lambda trial: float(trial.suggest_categorical("choice", choices) is None), n_trials=90)
    seen = Counter(repr(trial.params["choice"]) for trial in study.trials)
    print(f"{choices}: guessed three values, about 30 times each; seen {dict(seen)}")
    if lost is None:
        assert len(seen) == 3, f"changed: {seen}"
    else:
        assert repr(lost) not in seen and seen[repr(choices[0])] > 45, f"changed: {seen}"
PY
