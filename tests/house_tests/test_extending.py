"""`docs/extending.md` followed in a copy of the packages: each part is one new file, from the page's own text."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.pages import REPOSITORY, blocks

PAGE = REPOSITORY / "docs" / "extending.md"
FOLDERS = ("data", "trainables", "search_spaces", "infra")
FOLLOWS = """
import json
import optuna
import torch
from data.readers import READERS
from infra.search.samplers import SAMPLERS
from infra.search.stoppers import STOPPERS
from infra.search.stoppers.contract import StopperSettings
from search_spaces.registry import SPACES, find_space
from trainables.config import AUDIO_ENCODERS, FUSIONS, SCHEDULES
from trainables.config.tree import from_dict, to_dict
from trainables.networks.model import SeldModel, count_parameters

space = find_space("gates")
config = space.suggest(optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)).ask())
assert from_dict(json.loads(json.dumps(to_dict(config)))) == config
model = SeldModel(config)
frames = config.inputs.features_per_label
features = torch.randn(2, 7, 10 * frames, config.inputs.n_mels)
seen = torch.randint(0, 255, (2, 4, config.inputs.frame_height, config.inputs.frame_width, 3), dtype=torch.uint8)
output = model(features, seen)
output.square().mean().backward()
trained = sum(parameter.grad is not None for parameter in model.fusion.parameters())
rates = [from_dict({"schedule": {"name": "root_decay"}}).schedule.multiplier(4, 10)(step) for step in (0, 30)]
patience = STOPPERS["patience"](StopperSettings(max_epochs=12, grace_epochs=2))
yaml = find_space("mine.yaml").suggest(optuna.create_study().ask())
print(json.dumps({
    "output": list(output.shape),
    "parts": [model.audio.__class__.__name__, model.fusion.__class__.__name__],
    "trained": trained,
    "parameters": count_parameters(config),
    "rates": rates,
    "yaml": yaml.fusion.hidden,
    "around": [STOPPERS["patience"].name, SAMPLERS["late_tpe"].name, READERS["flat"].name, READERS["field"].name],
    "expected": patience.expected_epochs(8, 2),
    "clips": [clip.room for clip in READERS["flat"]().find("tree").clips],
    "listed": ["strided" in AUDIO_ENCODERS, "gated" in FUSIONS, "root_decay" in SCHEDULES, "gates" in SPACES],
}))
"""
MINE = """
name: mine
base: {preset: resnet-gru, size: small}
parameters:
  fusion: {choices: {wide: {name: gated, hidden: 96}}}
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages, and beside them what the page says that files hold."""
    folder = tmp_path_factory.mktemp("copy")
    for name in FOLDERS:
        shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for block in blocks(PAGE):
        if path := block.marks.get("file"):
            assert not (folder / path).exists(), f"{path} is there already: the page edits what it should add"
            (folder / path).write_text(block.text)
    (folder / "mine.yaml").write_text(MINE)
    for name in ("train/hall_1.wav", "train/hall_1.csv", "test/attic_1.wav", "test/attic_1.csv", "test/attic_2.wav"):
        (folder / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "tree" / name).touch()
    return folder


def run(folder: Path, program: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, "-c", program], cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.slow
def test_one_file_adds_a_part(copy: Path) -> None:
    done = run(copy, FOLLOWS)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["output"] == [2, 10, 117]
    assert found["parts"] == ["StridedEncoder", "GatedFusion"]
    assert found["trained"] == 4
    assert found["parameters"] > 1000
    assert found["rates"] == [1.0, 0.5]
    assert found["yaml"] == 96
    assert all(found["listed"])
    assert found["around"] == ["patience", "late_tpe", "flat", "field"]
    assert 2 <= found["expected"] <= 12
    assert sorted(found["clips"]) == ["attic", "hall"]


def test_each_kind_that_the_page_names_has_its_folder(copy: Path) -> None:
    named = re.findall(r"`((?:trainables/parts|infra/search|data/readers)/[\w/.]*)`", PAGE.read_text())
    assert len(named) >= 10
    assert not [path for path in named if not (copy / path).exists()]


def test_a_name_that_is_taken_is_refused(copy: Path, tmp_path: Path) -> None:
    again = shutil.copytree(copy, tmp_path / "again")
    written = again / "trainables" / "parts" / "fusions" / "gated.py"
    (written.parent / "second.py").write_text(written.read_text())
    done = run(again, "import trainables.config")
    assert done.returncode != 0
    assert "gated" in done.stderr
    assert "UserError" in done.stderr


@pytest.mark.parametrize("tool", [("ruff", "check"), ("ruff", "format", "--check", "--line-length", "120")])
def test_the_page_is_written_as_the_house_is(copy: Path, tool: tuple[str, ...]) -> None:
    files = [str(copy / path) for block in blocks(PAGE) if (path := block.marks.get("file"))]
    configured = ("--config", str(REPOSITORY / "pyproject.toml"))
    done = subprocess.run([sys.executable, "-m", *tool, *configured, *files], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
