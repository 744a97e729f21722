"""What this project takes of Optuna behind its public face, all of it, as in the release below.

Samplers note things of the study and of each trial, e.g. the parents of a generation; a study that is rebuilt without
those notes goes on otherwise than the first would have. Optuna has no public way to read them or to put them back.
"""

from __future__ import annotations

from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import NSGAIISampler
from optuna.trial import FrozenTrial

OPTUNA = "5.0.0"
"""The release that was looked into."""

NSGA2_GENERATION: str = NSGAIISampler._get_generation_key()
"""The note by which NSGA-II knows the generation of a trial."""


def trial_id(trial: optuna.Trial | FrozenTrial) -> int:
    """What the study's storage calls a trial; its `number` is another."""
    return trial._trial_id


def notes_of_study(study: optuna.Study) -> dict[str, Any]:
    """What samplers noted of the study as a whole."""
    return dict(study._storage.get_study_system_attrs(study._study_id))


def note_of_study(study: optuna.Study, key: str, value: Any) -> None:
    """Put a note back that `notes_of_study` had."""
    study._storage.set_study_system_attr(study._study_id, key, value)


def notes_of_trial(study: optuna.Study, id_: int) -> dict[str, Any]:
    """What samplers noted of the trial with this `trial_id`, without the point that it was enqueued with."""
    noted = study._storage.get_trial(id_).system_attrs
    return {key: value for key, value in noted.items() if key != "fixed_params"}


def contains(distribution: BaseDistribution, value: Any) -> bool:
    """Whether the distribution could have suggested the value."""
    return distribution._contains(distribution.to_internal_repr(value))
