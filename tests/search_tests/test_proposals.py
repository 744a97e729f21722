"""What a search proposes: a point that its space never suggests is refused before it becomes a trial."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from data.errors import UserError
from infra.search.proposals import draw
from search_spaces.quickstart import QUICKSTART
from search_spaces.space import Trial
from trainables.config import TrialConfig


def suggest(trial: Trial) -> TrialConfig:
    rate = trial.suggest_float("rate", 0.001, 0.009, step=0.002)
    config = QUICKSTART.suggest(trial)
    return replace(config, optimiser=replace(config.optimiser, lr=rate))


@pytest.mark.parametrize(("first", "refused"), [({"rate": 0.003}, 0), ({"rate": 5.0}, 1), ({"rate": 0.002}, 1)])
def test_first_points_outside_a_range_or_between_its_steps_are_refused(first: dict[str, Any], refused: int) -> None:
    draws = draw(replace(QUICKSTART, suggest=suggest, first=(first,)), {}, seed=0, count=4)
    assert len(draws.refusals) == refused
    assert len(draws.configs) == 4 - refused
    if refused:
        assert f"has rate = {first['rate']}, which the space never suggests" in draws.refusals[0]


def test_a_space_of_such_points_alone_is_refused() -> None:
    space = replace(QUICKSTART, suggest=suggest, first=({"rate": 5.0},), only_first=True)
    with pytest.raises(UserError, match=r"rate = 5\.0, which the space never suggests"):
        draw(space, {}, seed=0).require_configs()


def test_parameters_that_what_is_fixed_leaves_without_effect_are_told(caplog: pytest.LogCaptureFixture) -> None:
    assert draw(QUICKSTART, {}, 0).idle == ()
    assert draw(QUICKSTART, {"training.epochs": 3, "optimiser.momentum": 0.9}, 0).idle == ()
    drawn = draw(QUICKSTART, {"optimiser.name": "adamw"}, 0)
    assert drawn.idle == ("lr",)
    drawn.require_configs()
    assert "lr of space 'quickstart': searched, but without effect" in caplog.text
