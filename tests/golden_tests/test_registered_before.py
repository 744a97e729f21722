"""A model that an earlier build registered: it loads, predicts what it did, and can be promoted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest

import infra
from support.registered_before import BEFORE, PREDICTS, register, unpack, write_clip

CHECKOUT = str(Path(infra.__file__).parents[1])


def predicted(folder: Path, *python: str, **environment: str) -> tuple[np.ndarray, str]:
    """What the model makes of the clip in a fresh process, and the file of the code that did it."""
    model, clip, out = unpack(folder), folder / "clip.npz", folder / "output.npy"
    write_clip(clip)
    done = subprocess.run(
        [sys.executable, *python, str(model), str(clip), str(out)],
        env={**os.environ, **environment},
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return np.load(out), done.stdout.strip()


def test_it_predicts_the_same_by_the_code_of_today(tmp_path: Path) -> None:
    # As in every process of this project: its own code is there before the model is.
    output, code = predicted(tmp_path, "-c", f"import trainables.pyfunc_loader{PREDICTS}", PYTHONPATH=CHECKOUT)
    assert Path(code).is_relative_to(CHECKOUT)
    np.testing.assert_allclose(output, np.load(BEFORE / "output.npz")["output"], rtol=0, atol=1e-6)


def test_it_predicts_the_same_where_this_project_is_not_installed(tmp_path: Path) -> None:
    # Without `site` no path file is read, so that what is installed is there, and no checkout.
    alone = f"import sys\nsys.path.append({sysconfig.get_path('purelib')!r})\n{PREDICTS}"
    output, code = predicted(tmp_path, "-I", "-S", "-c", alone)
    assert Path(code).is_relative_to(tmp_path)
    np.testing.assert_allclose(output, np.load(BEFORE / "output.npz")["output"], rtol=0, atol=1e-6)


@pytest.mark.slow
def test_it_becomes_champion_and_predicts_a_recording(tmp_path: Path) -> None:
    environment = {**register(tmp_path), "PYTHONPATH": CHECKOUT}

    def seldtune(*arguments: str, code: int = 0) -> str:
        command = [sys.executable, "-m", "infra.cli", *arguments]
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == code, done.stderr
        return done.stdout

    refused = json.loads(seldtune("promote", "seld", "--dry-run", "--json", code=3))
    # It was trained for two epochs, which was once enough.
    assert [rule["rule"] for rule in refused["rules"] if not rule["passed"]] == ["better than silence"]
    rules = ("--rules", "rules.yaml")
    (tmp_path / "rules.yaml").write_text("better_than_silence: false\n")
    asked = json.loads(seldtune("promote", "seld", *rules, "--dry-run", "--json"))
    assert asked["passed"], asked["rules"]
    assert seldtune("promote", "seld", *rules, "--reason", "as good as ever").endswith("seld@champion is version 1\n")
    (move,) = json.loads(seldtune("history", "seld", "--json"))["moves"]
    tags = json.loads((BEFORE / "tags.json").read_text())
    assert (move["version"], move["evidence"]) == ("1", tags["evidence.sha256"])

    from data.files.audio import write_foa_wav

    write_foa_wav(tmp_path / "noise.wav", np.random.default_rng(1).integers(-99, 99, (4, 96_000)).astype(np.int16))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    environment["TMPDIR"] = str(scratch)
    found = json.loads(seldtune("predict", "noise.wav", "--json"))
    assert found["seconds"] == 4.0
    assert not list(scratch.iterdir()), "what was fetched stays behind"
    assert all((tmp_path / found[kind]).is_file() for kind in ("csv", "picture"))
