"""Parts of one's own that cannot run: `plan` and `sweep` name them before anything is paid for or written."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from data.errors import UserError
from data.registry.plugins import load_plugins
from infra.api.asked import sweep_request
from infra.costs.feasible import broken_parts, check_parts
from infra.plan.plan import plan_space
from infra.plan.preflight import REFUSED
from infra.stack.settings import Settings
from infra.sweep.request import SweepRequest
from search_spaces.quickstart import QUICKSTART
from search_spaces.space import Trial
from support.forgotten_plugins import forgotten_plugins
from trainables.config import TrialConfig
from trainables.config.tree import from_dict, override
from trainables.networks.broken_part import BrokenPart
from trainables.networks.estimate import estimate

PARTS = """
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from trainables.inputs.features import NUM_FEATURE_CHANNELS
from trainables.parts.audio.contract import AUDIO_ENCODERS, AudioEncoder
from trainables.parts.fusions.contract import FUSIONS, Fusion, FusionModule
from trainables.parts.schedules.contract import SCHEDULES, Multiplier, Schedule


@FUSIONS.register
@dataclass(frozen=True, kw_only=True)
class Bilinear(Fusion):
    name: ClassVar[str] = "bilinear"
    needs: ClassVar[tuple[str, ...]] = ("audio", "visual")
    fault: str = ""

    @property
    def depth(self) -> int:
        return {"no depth": "deep"}.get(self.fault) or 1 // (self.fault != "depth raises")

    def build(self, audio_width: int, visual_width: int) -> FusionModule:
        return BilinearFusion(self.fault, audio_width, visual_width)


class BilinearFusion(FusionModule):
    def __init__(self, fault: str, audio_width: int, visual_width: int) -> None:
        super().__init__()
        self.fault = fault
        self.bilinear = nn.Bilinear(audio_width, visual_width, 24)
        if fault != "no width":
            self.width_out = 32 if fault == "wrong width" else 24

    def forward(self, audio: Tensor | None, visual: Tensor | None) -> Tensor:
        joined = self.bilinear(audio, audio.mean(1) if self.fault == "raises" else visual)
        return joined.mean(1) if self.fault == "no time" else joined


@SCHEDULES.register
@dataclass(frozen=True, kw_only=True)
class Flat(Schedule):
    name: ClassVar[str] = "flat"
    gives: str | None = None

    def multiplier(self, epochs: int, steps_per_epoch: int) -> Multiplier:
        return self.gives and (lambda step: float("nan") if self.gives == "nan" else self.gives)


@AUDIO_ENCODERS.register
@dataclass(frozen=True, kw_only=True)
class Narrow(AudioEncoder):
    name: ClassVar[str] = "narrow"
    width_field: ClassVar[str] = "width"
    width: int = 16

    def build(self, num_bands: int) -> nn.Module:
        return NarrowEncoder(num_bands)


class NarrowEncoder(nn.Module):
    def __init__(self, num_bands: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(NUM_FEATURE_CHANNELS, 8, (4, num_bands), stride=(4, 1))

    def forward(self, features: Tensor) -> Tensor:
        return self.convolution(features).squeeze(3).transpose(1, 2)
"""
RAISES, DEPTH = (
    next(number for number, line in enumerate(PARTS.splitlines(), 1) if text in line)
    for text in ("joined = self", "depth raises")
)
SEEN = {"name": "resnet_conformer", "block": "basic", "depths": [1, 1, 1, 1], "width": 8}
BASE = {
    "inputs": {"n_fft": 1024, "hop": 600, "n_mels": 32, "frame_width": 96, "frame_height": 48, "frame_rate_hz": 2.0},
    "audio": {"name": "narrow", "width": 8},
    "training": {"batch_size": 4, "epochs": 1},
}
FAULTS = [
    ("wrong width", r"BilinearFusion \({file}\) gives \(4, 30, 24\), and \(B, T, width_out\) = \(4, 30, 32\) is"),
    ("no time", r"BilinearFusion \({file}\) gives \(4, 24\), and \(B, T, width_out\) = \(4, 30, 24\) is expected"),
    ("no width", r"BilinearFusion \({file}\) has no width_out; set self.width_out to the width of what forward"),
    ("raises", rf"Bilinear \({{file}}:{RAISES}\): RuntimeError: "),
    ("no depth", r"depth of Bilinear \({file}\) is 'deep', and has to be a whole number"),
    ("depth raises", rf"Bilinear \({{file}}:{DEPTH}\): ZeroDivisionError: "),
]


@pytest.fixture
def plugin(tmp_path: Path) -> Iterator[str]:
    with forgotten_plugins():
        path = tmp_path / "my_parts.py"
        path.write_text(PARTS)
        yield str(path)


def request(plugin: str, fault: str) -> SweepRequest:
    """Of a space with a fusion of the project beside one that has this fault."""

    def suggest(trial: Trial) -> TrialConfig:
        if trial.suggest_categorical("fusion", ["audio_only", "bilinear"]) == "audio_only":
            return from_dict(BASE)
        return from_dict({**BASE, "visual": SEEN, "fusion": {"name": "bilinear", "fault": fault}})

    return sweep_request(dataclasses.replace(QUICKSTART, name="mine", suggest=suggest, first=()), plugins=plugin)


@pytest.mark.parametrize(("fault", "said"), FAULTS)
def test_a_fusion_that_cannot_run_is_named(plugin: str, fault: str, said: str) -> None:
    configs = request(plugin, fault).draw(8).configs
    (bilinear, *_) = [config for config in configs if config.fusion.name == "bilinear"]
    with pytest.raises(BrokenPart, match="^fusion 'bilinear': " + said.format(file=plugin)):
        estimate(bilinear)


@pytest.mark.parametrize(("fault", "said"), FAULTS)
def test_neither_plan_nor_sweep_begins_with_it(plugin: str, fault: str, said: str) -> None:
    asked, root = request(plugin, fault), Path(plugin).parent / "root"
    settings = Settings(root=str(root), sources=dict.fromkeys(("s3", "mlflow", "ray"), "missing"))
    plan = plan_space(asked, settings, samples=12)
    (check,) = [check for check in plan.checks if check.name == "models"]
    assert check.state == REFUSED
    assert plan.refused
    assert "fusion 'bilinear'" in check.text
    assert check.text.endswith("no config with it can be built")
    with pytest.raises(UserError, match="^fusion 'bilinear': " + said.format(file=plugin)):
        asked.settle(str(root))
    assert not root.exists()


def test_an_encoder_is_held_to_its_width(plugin: str) -> None:
    load_plugins([plugin])
    config = from_dict({**BASE, "audio": {"name": "narrow", "width": 16}})
    said = rf"'narrow': NarrowEncoder \({plugin}\) gives \(4, 30, 8\), and \(B, T, width\) = \(4, 30, 16\) is expected"
    with pytest.raises(BrokenPart, match=said):
        estimate(config)


@pytest.mark.parametrize(
    ("gives", "said"),
    [
        (None, r"multiplier of Flat \({file}\) is None, and has to be a function of the step"),
        ("half", r"Flat \('{file}'\): TypeError: must be real number, not str"),
        ("nan", r"multiplier at step 0 of Flat \({file}\) is nan, and has to be a finite number"),
    ],
)
def test_so_is_a_schedule_to_its_multiplier(plugin: str, gives: str | None, said: str) -> None:
    load_plugins([plugin])
    config = from_dict({**BASE, "schedule": {"name": "flat", "gives": gives}})
    with pytest.raises(UserError, match="^schedule 'flat': " + said.format(file=plugin)):
        check_parts([config], workers=1)


def test_one_config_that_can_be_built_lets_the_search_go_around_the_others(plugin: str) -> None:
    broken, sound = configs_of(plugin)
    assert broken_parts([broken, sound], workers=1) == {}
    assert broken_parts([broken], workers=1).keys() == {("fusion", "bilinear")}
    # What a broken fusion stands behind is not at fault.
    assert broken_parts([broken, broken], workers=1).keys() == {("fusion", "bilinear")}


def configs_of(plugin: str) -> tuple[TrialConfig, TrialConfig]:
    """A config that cannot be built, and the same mended."""
    configs = request(plugin, "wrong width").draw(8).configs
    broken = next(config for config in configs if config.fusion.name == "bilinear")
    return broken, override(broken, {"fusion.fault": ""})
