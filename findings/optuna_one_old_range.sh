#!/usr/bin/env bash
# Optuna 5.0.0 and cmaes 0.13.1
# Guess:    one old trial whose range was narrower is one observation less for the sampler.
# Seen:     a sampler that models all parameters together works on those that every finished trial has with the same
#           range. One trial of another range, warm-started or from before a space was widened, takes the parameter out
#           for good: CMA-ES has nothing left, samples at random for the rest of the study, and says nothing.
# Matters:  studies that are continued after "let us widen the learning rate a bit"; warm starts from an earlier search.
# Instead:  a new study; carry old trials over with `create_trial` and the *new* distributions, dropping those outside
#           them.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check optuna==5.0.0 numpy==2.4.6 cmaes==0.13.1
venv/bin/python - <<'PY'
import optuna
from optuna.distributions import FloatDistribution
from optuna.trial import create_trial

optuna.logging.set_verbosity(optuna.logging.ERROR)


def study(old_high: float) -> optuna.Study:
    """Eighty trials after one old trial whose ranges ended at `old_high`; today they end at 2."""
    sampler = optuna.samplers.CmaEsSampler(seed=0, warn_independent_sampling=True)
    result = optuna.create_study(sampler=sampler)
    ranges = {name: FloatDistribution(0, old_high) for name in ("x", "y")}
    result.add_trial(create_trial(params={"x": 0.5, "y": 0.5}, distributions=ranges, value=9.0))
    result.optimize(lambda t: (t.suggest_float("x", 0, 2) - 1.7) ** 2 + (t.suggest_float("y", 0, 2) - 0.3) ** 2, n_trials=80)
    return result


seen = {}
for name, old_high in (("same range", 2.0), ("narrower range", 1.0)):
    done = study(old_high)
    modelled = sorted(done.sampler.infer_relative_search_space(done, done.trials[-1]))
    late = sorted(trial.value for trial in done.trials[-20:])[10]
    seen[name] = modelled
    print(f"an old trial of the {name}: guessed x and y modelled, seen {modelled}; median of the last 20 trials {late:.4f}")
    assert (late < 0.05) == (name == "same range"), "changed"
assert seen == {"same range": ["x", "y"], "narrower range": []}, f"changed: {seen}"
PY
