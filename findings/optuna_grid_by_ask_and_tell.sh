#!/usr/bin/env bash
# Optuna 5.0.0
# Guess:    asked and told by hand, `GridSampler` and `BruteForceSampler` hand out each point once, then say that there
#           are no more.
# Seen:     telling the *last* point raises RuntimeError ("`Study.stop` is supposed to be invoked inside an objective
#           function"), although its value has been stored.
# Matters:  every tool that drives Optuna by ask and tell (Ray Tune does): the sweep ends with an error, and a driver
#           that tells again on errors meets "already finished".
# Instead:  count the grid's points and stop before; or look at the trial's state after the error.
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
warnings.simplefilter("ignore")
names = ["x", "y", "z"]
for sampler in (optuna.samplers.GridSampler({"name": names}, seed=0), optuna.samplers.BruteForceSampler(seed=0)):
    study = optuna.create_study(sampler=sampler)
    said = []
    for _ in names:
        trial = study.ask()
        trial.suggest_categorical("name", names)
        try:
            study.tell(trial, 0.0)
            said.append("told")
        except RuntimeError as error:
            said.append(f"RuntimeError: {error}"[:40])
    states = [trial.state.name for trial in study.trials]
    print(f"{type(sampler).__name__}: guessed told three times, seen {said}; stored: {states}")
    assert said[:2] == ["told", "told"] and said[2].startswith("RuntimeError: `Study.stop`"), f"changed: {said}"
    assert states == ["COMPLETE"] * 3, f"changed: {states}"
PY
