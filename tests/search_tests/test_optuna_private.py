"""What is taken of Optuna behind its public face is there, in the release that was looked into."""

from __future__ import annotations

import optuna
from optuna.distributions import FloatDistribution
from optuna.samplers import NSGAIISampler

from infra.search.optuna_private import (
    NSGA2_GENERATION,
    OPTUNA,
    contains,
    note_of_study,
    notes_of_study,
    notes_of_trial,
    trial_id,
)


def test_this_is_the_release_that_was_looked_into() -> None:
    assert optuna.__version__ == OPTUNA, "look at every use in optuna_private anew, then name the release there"


def test_notes_of_a_study_and_of_its_trials() -> None:
    study = optuna.create_study(sampler=NSGAIISampler(seed=0, population_size=2))
    note_of_study(study, "who", [1, 2])
    assert notes_of_study(study) == {"who": [1, 2]}
    study.enqueue_trial({"x": 0.5})
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=5)
    enqueued, first, *_, last = [notes_of_trial(study, trial_id(trial)) for trial in study.get_trials()]
    assert enqueued == {}
    assert first == {NSGA2_GENERATION: 0}
    assert last[NSGA2_GENERATION] > 0
    assert len(notes_of_study(study)) > 1  # the parents of a generation


def test_a_distribution_contains_what_it_could_have_suggested() -> None:
    assert contains(FloatDistribution(0.1, 1.0), 0.5)
    assert not contains(FloatDistribution(0.1, 1.0), 1.5)
