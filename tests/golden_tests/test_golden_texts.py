"""What commands say that need no service, word for word as it was: help, plans, scores, manifests and refusals."""

from __future__ import annotations

import io
import json
import os
import re
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from infra.cli import main
from infra.commands.kubernetes import ray_version
from support.golden_texts import GOLDEN, assert_golden, masked, masked_json
from support.help_texts import help_texts

Say = Callable[..., str]


def file_of(words: str) -> str:
    return f"help/{words.replace(' ', '-') or 'seldtune'}.txt"


@pytest.fixture(scope="module")
def helps() -> dict[str, str]:
    return help_texts()


def test_help_is_as_it_was(helps: dict[str, str]) -> None:
    for words, text in helps.items():
        assert_golden(file_of(words), text)


def test_no_command_is_gone(helps: dict[str, str]) -> None:
    assert {file_of(words) for words in helps} == {f"help/{path.name}" for path in (GOLDEN / "help").glob("*.txt")}


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Say:
    """Runs commands in this process; what each printed on both streams, and its exit code, in one text."""
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE", "MLFLOW_TRACKING_URI", "RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in (("COLUMNS", "118"), ("NO_COLOR", "1"), ("TERM", "dumb")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SELDTUNE_HOME", str(tmp_path / "home"))
    # What a usage error calls the program is read from here.
    monkeypatch.setattr(sys.modules["__main__"], "__package__", None, raising=False)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, only_out: bool = False) -> str:
        out, err, before = io.StringIO(), io.StringIO(), dict(os.environ)
        monkeypatch.setattr(sys, "argv", ["seldtune", *arguments])
        with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
            main()
        os.environ.clear()
        os.environ.update(before)
        if only_out:
            return out.getvalue()
        said = [f"$ seldtune {' '.join(arguments)}", out.getvalue().rstrip(), err.getvalue().rstrip()]
        text = "\n".join(part for part in [*said, f"(exit code {ended.value.code or 0})"] if part)
        return f"{text}\n\n".replace(str(tmp_path), "<folder>")

    return run


def test_refusals_are_as_they_were(say: Say, tmp_path: Path) -> None:
    for name, base, rate in (
        ("space", "{preset: resnet-gru, size: small, training: {epoch: 6}}", "{low: 1e-4, high: 1e-3}"),
        ("other", "audio_only", "{low: 1, high: 0}"),
    ):
        text = f"name: mine\nbase: {base}\nparameters: {{optimiser.lr: {rate}}}\n"
        (tmp_path / f"{name}.yaml").write_text(text)
    asked = (
        ("status",),
        ("status", "--watch"),
        ("status", "quickstart"),
        ("down",),
        ("sweep",),
        ("sweep", "quickstart"),
        ("plan",),
        ("plan", "quickstat"),
        ("plan", "space.yaml"),
        ("plan", "other.yaml"),
        ("plan", "absent.py"),
        ("plan", "quickstart", "--set", "lr"),
        ("plan", "--preset", "resnet"),
        ("plan", "quickstart", "--budget", "soon"),
        ("plan", "quickstart", "--data-memory", "plenty"),
        ("plan", "quickstart", "--retries", "often"),
        ("submit",),
        ("submit", "quickstart"),
        ("submit", "--status", "a", "--stop", "b"),
        ("render",),
        ("render", "absent.yaml"),
        ("render", "--check", "absent.yaml"),
        ("render", "quickstart", "--overlay", "large"),
        ("render", "quickstart", "--shape", "large"),
        ("render", "fusion", "--overlay", "dev", "--gpus", "1"),
        ("compare", "quickstart"),
        ("promote", "seld"),
        ("rollback", "seld"),
        ("history", "seld"),
        ("predict", "absent.wav"),
        ("score", "--reference", "absent", "--prediction", "absent"),
        ("weights", "import", "absent.pth", "--as", "resnet18"),
        ("data", "verify", "absent"),
        ("data", "inspect", "absent"),
        ("data", "embed", "absent", "--encoder", "vgg"),
        ("data", "synth", "--profile", "harder"),
        ("data", "synth", "--set", "polyphny=3"),
        ("data", "ingest", "absent"),
        ("up", "--nonsense"),
        ("no-such-command",),
    )
    assert_golden("commands/refusals.txt", "".join(say(*arguments) for arguments in asked))


def test_plans_of_published_systems_are_as_they_were(say: Say) -> None:
    asked = (("--preset", "list"), ("--preset", "resnet-gru", "--size", "small"), ("--preset", "list", "--json"))
    assert_golden("commands/plan-preset.txt", "".join(say("plan", *arguments) for arguments in asked))


def test_manifests_are_as_they_were(say: Say) -> None:
    """To the letter, but for versions."""
    gpu = ("fusion", "--data", "s3://bucket/data/mine", "--gpus", "1", "--budget", "12h")
    asked = (
        ("quickstart", "--overlay", "dev"),
        (*gpu, "--spot", "--set", "training.epochs=4", "--schedule", "0 2 * * *", "--time-zone", "Europe/Berlin"),
        ("depth", "--overlay", "kueue", "--queue", "mine", "--priority", "low", "--out", "depth.yaml"),
        ("--check", "depth.yaml"),
    )
    said = "".join(say("render", *arguments, "--offline") for arguments in asked)
    said += Path("depth.yaml").read_text()
    Path("depth.yaml").write_text(Path("depth.yaml").read_text().replace("entrypoint:", "entry:"))
    said += say("render", "--check", "depth.yaml", "--offline")
    said = re.sub(r"\d\d:\d\d:\d\d ", "", said).replace(ray_version(), "<Ray>")
    assert_golden("commands/render.txt", re.sub(r"(seldtune/seldtune:)[\d.]+", r"\1<version>", said))


def test_scores_are_as_they_were(say: Say, tmp_path: Path) -> None:
    for name, shift in (("reference", 0), ("prediction", 8)):
        for room in range(2):
            folder = tmp_path / name
            folder.mkdir(exist_ok=True)
            rows = [f"{frame},{c},0,{30 * c + shift - 20 * room},{5 - shift}" for frame in range(20) for c in (1, 8)]
            kept = rows[: len(rows) - shift]
            (folder / f"fold4_room{room}_mix001.csv").write_text("\n".join(kept) + "\n")
    asked = ("score", "--reference", "reference", "--prediction", "prediction")
    assert_golden("commands/score.txt", say(*asked))
    assert_golden(
        "commands/score-json.txt", masked_json(say(*asked, "--average", "micro", "--json", only_out=True), {})
    )


def test_masks_keep_words_and_keys() -> None:
    said = (
        "trial 7 cmaf    took 1 h 12 min at http://127.0.0.1:2000/runs/0a1b2c3d4e, 3.5 MB in /here/x, 2026-01-02 03:04"
    )
    assert masked(said, {"/here": "<folder>"}) == (
        "trial # cmaf  took <time> at http://#:#/runs/#, <size> in <folder>/x, #"
    )
    document = {"rows": [{"name": "a", "F": 0.5}, {"name": "b", "F": None}], "ok": True, "none": []}
    lines = ["none: []", "ok: True", "rows[].F: #", "rows[].F: None", "rows[].name: 'a'", "rows[].name: 'b'"]
    assert masked_json(json.dumps(document), {}).splitlines() == lines
