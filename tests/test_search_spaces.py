"""Every space yields trials that can be built, and its first points are points of the space."""

import optuna
import pytest
import torch

from data.errors import UserError
from search_spaces.registry import SPACES, find_space
from search_spaces.space import SearchSpace
from trainables.config import FUSIONS
from trainables.config_tree import from_dict, to_dict
from trainables.model import SeldModel

optuna.logging.set_verbosity(optuna.logging.WARNING)


@pytest.fixture(params=sorted(SPACES))
def space(request: pytest.FixtureRequest) -> SearchSpace:
    return SPACES[request.param]


def test_random_points_build(space: SearchSpace) -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=3))
    seen = set()
    for _ in range(24):
        config = space.suggest(study.ask())
        seen.add(config.fusion.name)
        assert from_dict(to_dict(config)) == config
        with torch.device("meta"):
            SeldModel(config)
    assert len(seen) >= 3


def test_first_points_are_taken_as_given(space: SearchSpace) -> None:
    study = optuna.create_study()
    fusions = []
    for point in space.first:
        study.enqueue_trial(point)
        trial = study.ask()
        config = space.suggest(trial)
        fusions.append(config.fusion.name)
        assert {name: trial.params[name] for name in point} == point
    assert set(fusions) <= set(FUSIONS)
    assert len(set(fusions)) == len(space.first)


def test_trials_share_their_inputs(space: SearchSpace) -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    assert len({space.suggest(study.ask()).inputs for _ in range(12)}) == 1


def test_an_unknown_space_lists_the_known_ones() -> None:
    with pytest.raises(UserError, match="fusion"):
        find_space("quickstrat")
