"""A plan as a table and as JSON, where no service is there to ask: what can be told is told all the same."""

from __future__ import annotations

import io
import json
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from data.errors import UserError
from data.stores.rows import encode_flac
from infra.cli import app
from infra.commands.options import SweepOptions
from infra.commands.plan import plan as plan_command
from infra.plan.plan import Plan, hours, plan_space
from infra.plan.screen import show_plan
from infra.stack.settings import Settings
from infra.sweep.request import SweepRequest
from search_spaces.quickstart import QUICKSTART
from support.forgotten_plugins import forgotten_plugins
from support.stores import publish

PARTS = Path(__file__).parents[2] / "examples" / "parts.py"
SOURCES = {"s3": "unused", "mlflow": "missing", "ray": "missing"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    root = tmp_path_factory.mktemp("store")
    row = {
        "room": "r",
        "start_frame": 0,
        "num_frames": 600,
        "num_samples": 600 * 2400,
        "audio": encode_flac(np.zeros((4, 600 * 2400), dtype=np.int16)),
        "frames": [],
        "frame_rate_hz": 10.0,
        "has_video": False,
        "events": [],
    }
    publish(root, {"train": [[{"recording": "a", **row}]], "val": [[{"recording": "b", **row}]]})
    return str(root)


@pytest.fixture(scope="module")
def plan(data: str, tmp_path_factory: pytest.TempPathFactory) -> Plan:
    root = tmp_path_factory.mktemp("root")
    found = plan_space(SweepRequest(space=QUICKSTART, data=data), Settings(root=str(root), sources=SOURCES), samples=12)
    assert not list(root.iterdir())
    return found


def test_what_is_missing_is_refused_and_the_rest_is_told(plan: Plan) -> None:
    assert plan.refused
    assert {check.name for check in plan.checks if check.state == "refused"} == {"MLflow", "Ray"}
    assert [len(trials) for trials in plan.variants().values()] == [
        sum(trial.config.fusion.name == name for trial in plan.trials) for name in plan.variants()
    ]
    document = json.loads(json.dumps(plan.as_json()))
    assert document["feasible"] == document["samples"] == 12
    assert not document["possible"]
    assert document["parameters"]["min"] < document["parameters"]["mean"] < document["parameters"]["max"]
    assert sum(variant["samples"] for variant in document["variants"]) == 12
    for variant in document["variants"]:
        # 116 windows may start in the one recording of a minute: 7 steps of 16.
        assert variant["steps"] == {"min": 7, "mean": 7, "max": 7}
        assert 0 < variant["window_flops"]["max"] < variant["step_flops"]["min"]
        assert variant["trial_s"]["max"] == pytest.approx(14 * variant["epoch_s"]["max"])
    assert document["forecast"]["wall_s"] < document["forecast"]["whole_wall_s"]
    assert document["calibration"]["source"].startswith("assumed")


def test_the_table_has_a_line_for_each_fusion_and_each_check(plan: Plan) -> None:
    out = io.StringIO()
    show_plan(plan, Console(file=out, width=118))
    lines = out.getvalue().splitlines()
    assert all(len(line) <= 118 for line in lines)
    for name in plan.variants():
        assert sum(line.strip().startswith(name) for line in lines) == 1
    for check in plan.checks:
        assert any(line.split()[:2] == [check.state, check.name] for line in lines)


def test_what_cannot_be_made_is_counted_by_reason() -> None:
    request = SweepRequest(space=QUICKSTART, fixed={"visual.pool_columns": 2})
    draws = request.draw(24)
    configs, reasons = draws.configs, draws.refusals
    # Audio alone has no columns to pool.
    assert len(configs) + len(reasons) == 24
    assert {config.fusion.name for config in configs} == {"av_conformer", "gru", "cmaf"}
    assert len(set(reasons)) == 1
    assert "pool_columns" in reasons[0]


def test_the_first_points_are_among_the_samples() -> None:
    draws = SweepRequest(space=QUICKSTART).draw(4)
    assert [config.fusion.name for config in draws.configs] == [point["fusion"] for point in QUICKSTART.first]


def test_a_space_or_a_preset_has_to_be_named() -> None:
    with pytest.raises(UserError, match="name a search space"):
        plan_command(space="", **{f.name: f.default for f in fields(SweepOptions) if f.name != "space"})


def plan_words(*words: str) -> str:
    """What `seldtune plan` says."""
    result = CliRunner().invoke(app, ["plan", *words])
    if isinstance(result.exception, UserError):
        return str(result.exception)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_published_system_may_have_parts_of_a_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELDTUNE_DATA_MEMORY", "2GB")
    asked = ("--preset", "resnet-gru", "--size", "small", "--set", "fusion.name=gated")
    with forgotten_plugins():
        assert "fusion.name = 'gated' is not known" in plan_words(*asked)
        assert "name: gated" in plan_words(*asked, "--plugin", str(PARTS))


def test_what_would_not_be_heeded_is_refused() -> None:
    said = plan_words("quickstart", "--preset", "resnet-gru", "--gpus", "-5", "--budget", "nonsense")
    assert "resnet-gru is one config, not a sweep: leave out quickstart --budget nonsense --gpus -5" in said
    assert "leave out --trials 4;" in plan_words("--preset", "list", "--trials", "4")
    for of_presets in (("--size", "small"), ("--faithful",)):
        assert "give --preset, not a search space" in plan_words("quickstart", *of_presets)


@pytest.mark.parametrize(
    ("seconds", "text"), [(90, "90 s"), (600, "10 min"), (3 * 3600, "3.0 h"), (7 * 86400, "7.0 d")]
)
def test_times_are_in_the_unit_that_suits(seconds: float, text: str) -> None:
    assert hours(seconds) == text
