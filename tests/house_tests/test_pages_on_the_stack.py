"""Blocks of README and pages that need services, as written, on one embedded stack, from the README on downwards.

What is made smaller, so that all of it takes minutes: see `SMALLER` for commands, `MADE` for files that the pages speak
of. Nothing else is changed, but for the address of MLflow, which each stack chooses for itself.
"""

from __future__ import annotations

import os
import re
import runpy
import shutil
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import mlflow
import pytest

from infra.comparison import statistics
from infra.record.trials import COMPLETE, FAILED, PRUNED
from infra.stack.settings import load_settings
from infra.sweep import conclude
from search_spaces.presets import PRESETS
from support.checked_models import each_model_loaded_once
from support.embedded_stack import Stack
from support.pages import REPOSITORY, Block, blocks, pages, shape, shell_commands
from trainables.config import FUSIONS, SCHEDULES

pytestmark = pytest.mark.slow

# With so low a threshold what has hardly trained says something. A second trial at a time costs more to start than it
# gains: one sweep has two.
TRAINS_LITTLE = tuple(
    word
    for field in ("training.epochs=1", "training.epoch_windows=16", "training.batch_size=8", "inference.threshold=0.02")
    for word in ("--set", field)
)
ONE_BY_ONE = ("--concurrency", "1")
FEW_CLIPS = ("--train-clips", "2", "--val-clips", "1", "--test-clips", "2", "--clip-s", "6")
SMALLER: tuple[tuple[str, tuple[str, ...]], ...] = (
    # It has been run by then, with other settings.
    ("plan quickstart", ("--name", "planned")),
    ("sweep quickstart --trials 20", ("--trials", "5", *ONE_BY_ONE, *TRAINS_LITTLE)),
    ("sweep quickstart --name deep", ("--trials", "1", *TRAINS_LITTLE)),
    ("sweep quickstart --name tuned", ("--trials", "1", *TRAINS_LITTLE)),
    ("sweep quickstart --name small", ("--trials", "3", *ONE_BY_ONE, *TRAINS_LITTLE)),
    ("sweep quickstart", ("--trials", "4", *TRAINS_LITTLE)),
    ("sweep examples/population.yaml", ("--set", "training.epoch_windows=16", "--set", "training.batch_size=8")),
    ("data synth --tree", ("--clip-s", "6")),
    ("data synth", FEW_CLIPS),
    ("finals quickstart --best 3", ("--best", "1", "--seeds", "2", *ONE_BY_ONE)),
    ("finals quickstart --best 2", ("--best", "3", *ONE_BY_ONE)),  # one of them sees
    # Whether this checkout has changes is not what is looked at, nor what a model hears that has hardly trained.
    ("promote", ("--rules", "lenient.yaml")),
    ("table1", (*ONE_BY_ONE, *TRAINS_LITTLE)),
)
"""Beginning of a command -> what is said besides, the first that fits; an option that is there twice counts last."""
MADE = {"lenient.yaml": "clean_commit: false\nbetter_than_silence: false\nseeds: 2\nclass_drop: 1\n"}
REFUSED = {"promote seld --dry-run": 3}
"""Beginning of a command -> its exit code: nothing is better here than a model that has hardly trained."""
NAMES = (
    *(*FUSIONS, *SCHEDULES, *PRESETS, COMPLETE, PRUNED, FAILED, "quickstart", "planned"),
    *(statistics.REFERENCE, statistics.BETTER, statistics.WORSE, statistics.NO_DIFFERENCE, statistics.TOO_FEW),
)
"""Words that depend on what a run finds, and names of its sweeps."""
ON_THE_STACK = [block for page in pages() for block in blocks(page) if block.runs == "stack"]


@pytest.fixture(scope="module")
def sandbox(embedded_stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the blocks run: with the files that pages name, and a checkout's `examples`."""
    folder = tmp_path_factory.mktemp("pages")
    shutil.copytree(REPOSITORY / "examples", folder / "examples")
    for page in pages():
        for block in blocks(page):
            if "file" in block.marks and "/" not in block.marks["file"]:
                (folder / block.marks["file"]).write_text(block.text)
    for name, text in MADE.items():
        (folder / name).write_text(text)
    for name, shift in (("STARSS23/metadata_dev", 0), ("my_output", 8)):
        (folder / name).mkdir(parents=True)
        rows = [f"{frame},{c},0,{30 * c + shift},{5 - shift},150\n" for frame in range(20) for c in (1, 8)]
        for room in range(2):
            (folder / name / f"fold4_room{room}_mix001.csv").write_text("".join(rows))
    with pytest.MonkeyPatch.context() as patch, each_model_loaded_once(), embedded_stack.active():
        patch.chdir(folder)
        # What has hardly trained finds nothing that is there; it is registered here all the same.
        patch.setattr(conclude, "why_unfit", lambda record: None)
        for name, value in (("COLUMNS", "140"), ("NO_COLOR", "1"), ("TERM", "dumb"), ("SELDTUNE_NO_LIVE", "1")):
            patch.setenv(name, value)
        yield folder


def made_by_make(target: str) -> list[list[str]]:
    """The `seldtune` commands of a target of the Makefile."""
    recipe = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", (REPOSITORY / "Makefile").read_text(), re.M)
    assert recipe is not None
    lines = [line.strip().replace("$(BIN)/", "") for line in recipe[1].splitlines()]
    return [words for line in lines for words in shell_commands(line)]


def run(stack: Stack, words: list[str]) -> str:
    """What a command of a page prints, made smaller; of several that `make` runs, what the last prints."""
    if words[0] == "make":
        return [run(stack, command) for command in made_by_make(words[1])][-1]
    if words[0] == "source":
        return ""
    assert words[0] == "seldtune", f"no test runs {words[0]}"
    said = " ".join(words[1:])
    more = next((more for start, more in SMALLER if said.startswith(start)), ())
    code = next((code for start, code in REFUSED.items() if said.startswith(start)), 0)
    return stack.run(*words[1:], *more, code=code)


def lines_of(text: str) -> list[str]:
    """The kinds of lines of an output but for those that come and go: what is said of time hangs on how fast the
    machine is now, and a model that has hardly trained, or not at all, is often worse than one that says nothing."""
    come_and_go = ("ok models", "warning models", "ok time", "warning time", "budget #", "before", "note a model")
    return [line for line in shape(text, NAMES) if not line.startswith(come_and_go)]


@pytest.mark.parametrize("block", ON_THE_STACK, ids=lambda block: block.name)
def test_blocks_run_as_written(block: Block, sandbox: Path, embedded_stack: Stack) -> None:
    printed = ""
    if block.language == "python":
        program = sandbox / "block.py"
        address = load_settings().mlflow_tracking_uri or ""
        program.write_text(re.sub(r"http://127\.0\.0\.1:\d+", address, block.text))
        try:
            with redirect_stdout(StringIO()) as out:
                runpy.run_path(str(program))
        finally:
            # What a page tells MLflow holds for this process and its environment, and other tests come after.
            mlflow.set_tracking_uri(None)
            os.environ["MLFLOW_TRACKING_URI"] = address
        printed = out.getvalue()
    else:
        for line in block.text.replace("\\\n", " ").splitlines():
            for words in shell_commands(line):
                said = run(embedded_stack, words)
                if into := re.search(r" > (\S+)", line):
                    (sandbox / into[1]).write_text(said)
                else:
                    printed = said
    if block.output:  # of the last command of a block
        assert lines_of(printed) == lines_of(block.output)


def test_what_the_blocks_write_is_there(sandbox: Path) -> None:
    """After all blocks above."""
    assert (sandbox / "quickstart-comparison" / "comparison.html").is_file()
    assert (sandbox / "reports" / "schedule" / "comparison.html").is_file()
    assert sorted(path.suffix for path in (sandbox / "predictions").iterdir()) == [".csv", ".png"]
    assert list(sandbox.glob("fold*.png")), "the picture of `data inspect`"
    assert (sandbox / "mini.png").is_file()
    assert (sandbox / "first-comparison" / "comparison.html").is_file()
    assert sorted(path.suffix for path in (sandbox / "heard").iterdir()) == [".csv", ".png"]
