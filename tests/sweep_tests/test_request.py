"""A request is settled once, and says what is wrong with it in the order in which `seldtune sweep` always did."""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path
from typing import Any

import pytest

from data.errors import UserError
from data.registry.plugins import load_plugins
from infra.api.asked import sweep_request
from infra.record.folder import SweepStore, require_plugins
from infra.search.proposals import DRAWN, draw
from infra.sweep.request import SweepRequest
from search_spaces.quickstart import QUICKSTART
from search_spaces.registry import find_space
from search_spaces.space import Trial
from search_spaces.table1 import table1_space
from support.forgotten_plugins import forgotten_plugins
from trainables.config import TrialConfig

ROOT = "/somewhere"


def test_what_is_left_open_is_the_spaces() -> None:
    settled = SweepRequest(space=QUICKSTART).settle(ROOT)
    assert (settled.name, settled.data_uri) == ("quickstart", "/somewhere/data/quickstart")
    assert (settled.budget.trials, settled.budget.wall_s) == (QUICKSTART.trials, QUICKSTART.budget_s)
    assert settled.search.trials == QUICKSTART.trials
    assert settled.resources.cpus_per_worker == QUICKSTART.cpus_per_worker
    assert (settled.rule.grace_epochs, settled.rule.reduction) == (QUICKSTART.grace_epochs, QUICKSTART.reduction)
    assert settled.rule.max_epochs == max(config.training.epochs for config in settled.configs)
    assert len(settled.configs) == DRAWN


def test_what_is_asked_goes_before_the_space() -> None:
    asked = SweepRequest(
        space=QUICKSTART, name="mine", data="s3://b/d", trials=3, budget_s=60.0, workers=2, seed=4, against=("latency",)
    )
    settled = asked.settle(ROOT)
    assert (settled.name, settled.data_uri) == ("mine", "s3://b/d")
    assert (settled.budget.trials, settled.budget.wall_s) == (3, 60.0)
    assert settled.search.objectives == ("seld", "latency")
    assert settled.lasting("a1") == {
        "space": "quickstart",
        "space_identity": QUICKSTART.identity,
        "data": "a1",
        "seed": 4,
        "sampler": "tpe",
        "stopper": "asha",
        "by": "fusion",
        "against": ["latency"],
        "warm_start": [],
        "fixed": {},
        "workers": 2,
    }


def test_fields_given_as_tuples_are_what_is_read_back(tmp_path: Path) -> None:
    settled = SweepRequest(space=QUICKSTART, fixed={"audio.channels": (16, 32, 64)}).settle(ROOT)
    sweep = SweepStore(str(tmp_path), "mine")
    sweep.create(settled.lasting("a1"))
    assert sweep.check(settled.lasting("a1"))
    as_list = SweepRequest(space=QUICKSTART, fixed={"audio.channels": [16, 32, 64]}).settle(ROOT)
    assert sweep.check(as_list.lasting("a1"))


@pytest.mark.parametrize("field", ["classes", "classes.names"])
def test_classes_are_no_setting_of_trials(field: str) -> None:
    with pytest.raises(UserError, match="classes are those of the data, and no setting of trials"):
        SweepRequest(space=QUICKSTART, fixed={field: ["a"]})


def test_what_differs_of_a_space_in_a_file_is_named(tmp_path: Path) -> None:
    text = (
        "name: plain\nbase: {preset: resnet-gru, size: small}\nparameters:\n  optimiser.lr: {choices: [0.001, 0.002]}\n"
    )
    changed = text.replace("0.002]", "0.002, 0.004]").replace("size: small", "size: small, training: {epochs: 7}")
    spaces = []
    for name, content in (("before", text), ("after", changed)):
        (tmp_path / f"{name}.yaml").write_text(content)
        spaces.append(find_space(str(tmp_path / f"{name}.yaml")))
    before, after = ((SweepRequest(space=space).settle(ROOT).lasting("a1"), space.decides) for space in spaces)
    sweep = SweepStore(str(tmp_path), "plain")
    sweep.create(*before)
    assert sweep.check(*before)
    said = r"parameters\.optimiser\.lr\.choices: was \[0\.001, 0\.002\], now \[0\.001, 0\.002, 0\.004\]"
    with pytest.raises(UserError, match=rf"base\.training\.epochs: was \d+, now 7; {said}") as refused:
        sweep.check(*after)
    assert "space_identity" not in str(refused.value)


def test_what_early_stopping_is_fair_to_follows_from_the_space_or_is_asked_for() -> None:
    settled = SweepRequest(space=QUICKSTART).settle(ROOT)
    assert settled.by == "fusion"
    assert settled.lasting("a1")["by"] == "fusion"
    one = {"fusion.name": "audio_only", "visual.name": "none"}
    assert SweepRequest(space=QUICKSTART, fixed=one).settle(ROOT).by == "schedule"
    asked = SweepRequest(space=QUICKSTART, by="depth").settle(ROOT)
    assert (asked.by, asked.lasting("a1")["by"]) == ("depth", "depth")
    for wrong in ("size", ""):
        with pytest.raises(UserError, match=f"--by '{wrong}' is not known; choose one of fusion, visual, audio"):
            SweepRequest(space=QUICKSTART, by=wrong)


def test_plugins_belong_to_what_must_not_change() -> None:
    example = Path(__file__).parents[2] / "examples" / "parts.py"
    with forgotten_plugins():
        asked = sweep_request("quickstart", plugins=str(example))
        (plugin,) = asked.plugins
        lasting = asked.settle(ROOT).lasting("a1")
        assert lasting["plugins"] == {"parts.py": plugin.identity}
        require_plugins("mine", lasting)
        other = {**lasting, "plugins": {"parts.py": "0123"}}
        said = (
            rf"'mine' was run with plugin parts\.py \(0123\), here is {plugin.identity}: give --plugin PATH/parts\.py"
        )
        with pytest.raises(UserError, match=said):
            require_plugins("mine", other)
        # One that is loaded for something else counts where a part of it is used.
        assert "plugins" not in SweepRequest(space=QUICKSTART).settle(ROOT).lasting("a1")
        load_plugins([str(example.with_name("patience.py"))])
        assert "plugins" in SweepRequest(space=QUICKSTART, stopper="patience").settle(ROOT).lasting("a1")
    with pytest.raises(UserError, match=r"which is not here: give --plugin PATH/parts\.py"):
        require_plugins("mine", lasting)


@pytest.mark.parametrize(
    ("faults", "message"),
    [
        ({"name": "no way", "workers": 0, "stopper": "luck"}, "no way"),
        ({"workers": 0, "stopper": "luck", "sampler": "tpee"}, "workers and CPUs start at 1"),
        ({"stopper": "luck", "sampler": "tpee"}, "stopper 'luck' is not known; choose one of asha, hyperband, median"),
        ({"sampler": "tpee", "against": ("speed",)}, "sampler 'tpee' is not known"),
        ({"against": ("speed",), "trials": 0}, "objective 'speed' is not known"),
        ({"trials": 0, "gpu_hours": 0.0}, "a budget of 0 trials and 600 s leaves nothing to do"),
        ({"gpu_hours": 0.0, "fixed": {"training.epochz": 1}}, "--gpu-hours 0 leaves nothing to do"),
        ({"fixed": {"training.epochz": 1}, "workers": 5}, "epochz"),
        ({"workers": 5}, "cannot be shared by 5 workers"),
    ],
)
def test_the_first_of_two_faults_is_said(faults: dict[str, Any], message: str) -> None:
    request = SweepRequest(**{"space": dataclasses.replace(QUICKSTART, budget_s=600.0), **faults})
    with pytest.raises(UserError) as refused:
        request.settle(ROOT)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("seed", -1, "a whole number from 0 to 4294967295"),
        ("seed", 2**32, "a whole number from 0 to 4294967295"),
        ("seed", 1.5, "a whole number"),
        ("trials", "3", "a whole number or None"),
        ("trials", 2.5, "a whole number or None"),
        ("workers", True, "a whole number"),
        ("cpus_per_worker", math.nan, "a whole number or None"),
        ("gpus_per_worker", math.nan, "a number or None"),
        ("budget_s", math.inf, "a number or None"),
        ("budget_s", [], "a number or None"),
        ("gpu_hours", 10**400, "a number or None"),
        ("data", 5, "text or None"),
        ("sampler", ["tpe"], "text"),
    ],
)
def test_a_request_takes_only_what_its_types_say(field: str, value: Any, rule: str) -> None:
    with pytest.raises(UserError, match=re.escape(f"{field} = {value!r}: has to be {rule}") + "$"):
        SweepRequest(**{"space": QUICKSTART, field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [("optimiser.lr", math.inf), ("optimiser.weight_decay", math.nan), ("training.clip_norm", -math.inf)],
)
def test_fields_of_trials_are_finite(field: str, value: float) -> None:
    with pytest.raises(UserError, match=rf"{field} = {value!r}: has to be a finite number"):
        SweepRequest(space=QUICKSTART, fixed={field: value}).settle(ROOT)


def test_a_sampler_of_one_objective_is_refused_a_second() -> None:
    with pytest.raises(UserError, match="'forecast' looks for the best score alone, and --against latency is another"):
        SweepRequest(space=QUICKSTART, sampler="forecast", against=("latency",)).settle(ROOT)


def test_a_space_is_drawn_from_once() -> None:
    calls = []

    def counted(trial: Trial) -> TrialConfig:
        calls.append(trial)
        return QUICKSTART.suggest(trial)

    request = SweepRequest(space=dataclasses.replace(QUICKSTART, suggest=counted), sampler="gp")
    request.settle(ROOT)
    assert len(calls) == DRAWN
    draws = request.draw(DRAWN + 6)
    request.settle(ROOT, draws.first(DRAWN))
    assert len(calls) == DRAWN + DRAWN + 6


def test_the_first_of_many_draws_are_those_of_fewer() -> None:
    many = draw(QUICKSTART, {"visual.pool_columns": 2}, seed=3, count=20)
    assert many.first(9) == draw(QUICKSTART, {"visual.pool_columns": 2}, seed=3, count=9)
    assert len(many.first(9).configs) + len(many.first(9).refusals) == 9


def test_of_a_space_of_fixed_points_those_are_drawn() -> None:
    space = table1_space(["audio_only", "resnet-gru"], "small", seeds=(0, 7))
    assert len(SweepRequest(space=space).settle(ROOT).configs) == 4
