"""Every space yields trials that can be built, and its first points are points of the space."""

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch

import search_spaces
from data.errors import UserError
from search_spaces.registry import SPACES, Spaces, find_space
from search_spaces.space import PRESET, SEED, SearchSpace, source_identity
from search_spaces.table1 import ROWS
from trainables.config import FUSIONS
from trainables.config.tree import from_dict, to_dict
from trainables.networks.model import SeldModel

optuna.logging.set_verbosity(optuna.logging.WARNING)

# By space, what of a config has to be seen among random points, and how often at least.
VARIED = {
    "quickstart": {"fusion": 3, "schedule": 2},
    "fusion": {"audio": 2, "visual": 3, "fusion": 4, "schedule": 3, "optimiser": 2},
    "schedule": {"schedule": 4, "optimiser": 2},
    "depth": {"fusion": 4},
    "table1": {"visual": 3, "fusion": 4},
    "table1-small": {"visual": 3, "fusion": 4},
}


@pytest.fixture(params=sorted(SPACES))
def space(request: pytest.FixtureRequest) -> SearchSpace:
    return SPACES[request.param]


def test_random_points_build(space: SearchSpace) -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=3))
    configs = [space.suggest(study.ask()) for _ in range(24)]
    for config in configs:
        assert from_dict(to_dict(config)) == config
    for config in {(config.audio.name, config.visual.name, config.fusion.name): config for config in configs}.values():
        with torch.device("meta"):
            SeldModel(config)
    for part, kinds in VARIED[space.name].items():
        assert len({getattr(config, part).name for config in configs}) >= kinds


def test_first_points_are_taken_as_given(space: SearchSpace) -> None:
    study = optuna.create_study()
    configs = []
    for point in space.first:
        study.enqueue_trial(point)
        trial = study.ask()
        configs.append(space.suggest(trial))
        assert {name: trial.params[name] for name in point} == point
    assert {config.fusion.name for config in configs} <= set(FUSIONS)
    assert len(set(configs)) == len(space.first)


def test_trials_share_their_inputs(space: SearchSpace) -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    assert len({space.suggest(study.ask()).inputs for _ in range(12)}) == 1


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("name", "a/b", "name = 'a/b': use letters, digits"),
        ("name", "é", "name = 'é': use letters, digits"),
        ("trials", 0, "trials = 0: has to be a whole number from 1 on"),
        ("trials", 2.0, r"trials = 2\.0: has to be a whole number"),
        ("grace_epochs", 0, "grace_epochs = 0: has to be a whole number from 1 on"),
        ("reduction", 1, "reduction = 1: has to be a whole number from 2 on"),
        ("budget_s", 0.0, r"budget_s = 0\.0: has to be more than 0"),
        ("budget_s", "12h", "budget_s = '12h': has to be a number"),
        ("cpus_per_worker", 0, "cpus_per_worker = 0: has to be a whole number from 1 on"),
        ("gpus_per_worker", -0.5, r"gpus_per_worker = -0\.5: has to be a number from 0 on"),
        ("sets_seed", 1, "sets_seed = 1: has to be true or false"),
    ],
)
def test_a_space_with_which_no_sweep_can_run_is_none(field: str, value: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        dataclasses.replace(SPACES["quickstart"], **{field: value})


def test_an_unknown_space_lists_the_known_ones_and_the_nearest() -> None:
    with pytest.raises(UserError, match=r"did you mean quickstart\?\).*fusion.*depth.*table1"):
        find_space("quickstrat")


def test_only_what_varies_with_depth_varies() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    configs = [SPACES["depth"].suggest(study.ask()) for _ in range(24)]
    assert len({(c.schedule, c.optimiser, c.augment, c.training, c.head) for c in configs}) == 1
    assert len({c.width for c in configs}) == 3
    assert len({c.fusion.depth for c in configs}) > 4


def test_the_schedule_space_holds_one_model() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    configs = [SPACES["schedule"].suggest(study.ask()) for _ in range(24)]
    assert len({(c.audio, c.visual, c.fusion, c.head, c.training) for c in configs}) == 1
    assert len({c.schedule for c in configs}) == 24


def test_table1_trains_each_row_with_each_seed() -> None:
    space = find_space("table1")
    study = optuna.create_study()
    seen = []
    for point in space.first:
        study.enqueue_trial(point)
        config = space.suggest(study.ask())
        assert config.training.seed == point[SEED]
        seen.append((point[PRESET], config.training.seed))
    assert seen == [(name, seed) for seed in (0, 1, 2) for name in ROWS]
    assert len(ROWS) == 9
    assert space.only_first
    assert space.sets_seed
    assert space.trials == len(seen)


def test_identities_tell_spaces_apart(tmp_path) -> None:
    assert len({space.identity for space in SPACES.values()}) == len(SPACES)
    assert all(space.identity for space in SPACES.values())
    files = {"a": "x = 1\n", "b": "x = 1  # the same\n\n", "c": "x = 2\n"}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    a, b, c = (source_identity(tmp_path / name) for name in files)
    assert a == b != c


def test_names_are_known_before_any_space_is_imported() -> None:
    code = (
        "import sys; from search_spaces.registry import SPACES;"
        "print(', '.join(SPACES), 'fusion' in SPACES, len(SPACES));"
        "assert not {'torch', 'trainables', 'search_spaces.quickstart'} & set(sys.modules)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent.parent, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "quickstart, fusion, schedule, depth, table1, table1-small True 6"


def test_every_name_is_that_of_its_space() -> None:
    assert all(space.name == name for name, space in SPACES.items())
    assert "nothing" not in SPACES
    assert SPACES.get("nothing") is None


def test_a_new_space_is_one_file(tmp_path, monkeypatch) -> None:
    (tmp_path / "of_a_test.py").write_text(
        "from search_spaces.space import SearchSpace\n"
        "from trainables.config import TrialConfig\n"
        "SPACE = SearchSpace(name='of-a-test', summary='one point', suggest=lambda trial: TrialConfig(), trials=1,\n"
        "                    budget_s=1.0, grace_epochs=1, reduction=2)\n"
    )
    monkeypatch.setattr(search_spaces, "__path__", [*search_spaces.__path__, str(tmp_path)])
    spaces = Spaces()
    assert list(spaces) == [*SPACES, "of-a-test"]
    assert spaces["of-a-test"].summary == "one point"
