"""Pages as written: links lead somewhere, commands are those there are, what needs nothing but the project runs."""

from __future__ import annotations

import gzip
import importlib.util
import io
import json
import re
import runpy
from dataclasses import fields
from pathlib import Path

import optuna
import pytest
from rich.console import Console

from data.files.class_map import read_class_map
from data.files.yaml_files import read_mapping
from data.registry.plugins import load_plugins
from data.scenes.synth import SynthSettings, synthesise
from data.scenes.synth_settings import synth_settings
from infra.bench.search.record_curves import TABLE
from infra.commands.options import SweepOptions
from infra.comparison.compare import compare
from infra.comparison.tables import WIDTH, summary_lines, terminal_table
from infra.models.gate import Rules, read_rules
from infra.search.proposals import draw
from search_spaces.registry import find_space
from support.forgotten_plugins import forgotten_plugins
from support.packages import PACKAGES
from support.pages import (
    LANGUAGES,
    MARKS,
    README,
    REPOSITORY,
    RUNS,
    Block,
    anchors,
    blocks,
    links,
    pages,
    parse,
    seldtune_commands,
    shape,
    shell_commands,
)
from support.planted_sweeps import sweep, trial
from trainables.networks.model import count_parameters
from trainables.training.learner import kinship
from trainables.training.reports import OBJECTIVE

optuna.logging.set_verbosity(optuna.logging.WARNING)

PAGES = pages()
OPERATORS = {*(REPOSITORY / "k8s").glob("*.md"), REPOSITORY / "infra" / "bench" / "README.md"}
"""Pages whose blocks have tests of their own, or are benchmarks."""
BLOCKS = [block for page in PAGES for block in blocks(page)]
MARKED = [block for block in BLOCKS if block.page not in OPERATORS]
SWEEP_LIKE = ("sweep", "plan", "submit", "render")


def some(found: list[Block]) -> list[Block]:
    assert found, "a test of no block at all shows nothing"
    return found


def files_of(page: Path, folder: Path) -> None:
    """Write what the page says that files hold."""
    for block in blocks(page):
        if name := block.marks.get("file"):
            (folder / name).write_text(block.text)


# --- readers find what they look for ----------------------------------------------------------------------------------


def test_the_readme_is_one_page() -> None:
    assert len(README.read_text().splitlines()) <= 150


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "README.md"], ids=lambda page: page.name)
def test_a_page_begins_with_what_it_is_for(page: Path) -> None:
    title, _, text = page.read_text().partition("\n\n")
    assert title.startswith("# ")
    assert text.startswith("With this page you ")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_links_lead_to_what_is_there(page: Path) -> None:
    for link in links(page):
        if re.match(r"[a-z]+://|mailto:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name}: {link} leads nowhere"
        if anchor:
            assert anchor in anchors(target), f"{page.name}: {link}: there is no such heading, only {anchors(target)}"


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, left = {README}, [README]
    while left:
        page = left.pop()
        for link in links(page):
            target = (page.parent / link.partition("#")[0]).resolve()
            if target.suffix == ".md" and target.is_file() and target not in reached:
                reached.add(target)
                left.append(target)
    assert not {str(page.relative_to(REPOSITORY)) for page in PAGES} - {
        str(page.relative_to(REPOSITORY)) for page in reached
    }


def test_pictures_are_shown_somewhere() -> None:
    shown = {(page.parent / link).resolve() for page in PAGES for link in links(page)}
    assert set((REPOSITORY / "docs").glob("*.png")) <= shown


# --- blocks say how they are run, and commands are those there are ----------------------------------------------------


@pytest.mark.parametrize("block", some(MARKED), ids=lambda block: block.name)
def test_blocks_say_how_they_are_run(block: Block) -> None:
    assert set(block.marks) <= set(MARKS)
    assert block.runs in ("", *RUNS)
    assert block.marks.get("not run", "why") != "", "say why it is not run"
    if block.language in LANGUAGES:
        assert set(block.marks) & {"runs", "not run", "file"}, f"{block.name} says nothing of how it is run"


COMMANDS = [(block, words) for block in BLOCKS if block.language == "bash" for words in seldtune_commands(block.text)]


@pytest.mark.parametrize(("block", "words"), COMMANDS, ids=[f"{b.name}-{' '.join(w[:2])}" for b, w in COMMANDS])
def test_commands_are_those_there_are(block: Block, words: list[str]) -> None:
    parse(words)


# A plugin stays in the process that has loaded it: what it adds is followed in processes of their own.
SEARCHES = [
    (block, words)
    for block, words in COMMANDS
    if words[0] in SWEEP_LIKE and len(words) > 1 and words[1][0] not in "-." and "--plugin" not in words
]


@pytest.mark.parametrize(("block", "words"), SEARCHES, ids=[f"{b.name}-{' '.join(w[:2])}" for b, w in SEARCHES])
def test_spaces_and_fields_in_commands_are_those_there_are(
    block: Block, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files_of(block.page, tmp_path)
    monkeypatch.chdir(REPOSITORY if words[1].startswith("examples/") else tmp_path)
    _, given = parse(words)
    options = {field.name: given[field.name] for field in fields(SweepOptions)}
    request = SweepOptions(**options).request()
    assert draw(request.space, request.fixed, request.seed).require_configs()


def test_make_makes_what_pages_say() -> None:
    targets = set(re.findall(r"^([a-z]+):", (REPOSITORY / "Makefile").read_text(), re.M))
    made = {
        word
        for block in BLOCKS
        if block.language == "bash"
        for words in shell_commands(block.text)
        if words[0] == "make"
        for word in words[1:]
        if "=" not in word
    }
    assert {"sweep", "test"} <= made <= targets


def test_modules_that_pages_run_are_there() -> None:
    named = re.findall(r"python -m ([\w.]+)", "\n".join(page.read_text() for page in PAGES))
    assert named
    assert not [name for name in named if name.startswith("infra") and importlib.util.find_spec(name) is None]


# --- what needs nothing but the project -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small chunk store, in a folder."""
    folder = tmp_path_factory.mktemp("store")
    synthesise(SynthSettings(train_clips=1, val_clips=1, test_clips=1, clip_s=3.0), str(folder))
    return folder


@pytest.mark.parametrize(
    "block", some([b for b in MARKED if b.language == "python" and b.runs == "here"]), ids=lambda block: block.name
)
def test_python_runs_in_the_folder_of_a_store(
    block: Block, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program = tmp_path / "block.py"
    program.write_text(block.text)
    monkeypatch.chdir(store)
    runpy.run_path(str(program))
    assert shape(capsys.readouterr().out) == shape(block.output)


@pytest.mark.parametrize(
    "block",
    some([b for b in MARKED if b.language == "yaml" and (b.runs or "file" in b.marks)]),
    ids=lambda block: block.name,
)
def test_yaml_is_what_it_is_shown_as(block: Block, tmp_path: Path) -> None:
    path = tmp_path / block.marks.get("file", "block.yaml")
    path.write_text(block.text)
    if block.runs == "space":
        space, study = find_space(str(path)), optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        assert len({space.suggest(study.ask()) for _ in range(8)}) > 1
    elif block.runs == "scenes":
        assert synth_settings(read_mapping(path, "fields"), str(path), {}, {})
    elif block.runs == "classes":
        assert read_class_map(path).classes.short_names == ("dog_bark", "voice", "knocking")
    else:
        assert block.runs == "rules"
        assert read_rules(path) == Rules()
        assert list(read_mapping(path, "rules")) == [field.name for field in fields(Rules)]


# --- examples, and what pages say of the code -------------------------------------------------------------------------


EXAMPLES = sorted(path for path in (REPOSITORY / "examples").iterdir() if path.suffix in (".py", ".yaml"))
SPACES = [path for path in EXAMPLES if f"seldtune sweep examples/{path.name}" in path.read_text()]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_pages_name_every_example(path: Path) -> None:
    assert any((page.parent / link).resolve() == path for page in PAGES for link in links(page))


@pytest.mark.parametrize("path", SPACES, ids=lambda path: path.name)
def test_spaces_among_the_examples_can_be_searched(path: Path) -> None:
    (said,) = re.findall(r"^\W*(seldtune .*)$", path.read_text(), re.M)
    (command,) = seldtune_commands(said)
    assert command[:2] == ["sweep", f"examples/{path.name}"]
    parse(command)
    with forgotten_plugins():
        load_plugins([str(REPOSITORY / plugin) for plugin in re.findall(r"--plugin (\S+)", said)])
        space, study = find_space(str(path)), optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        assert len({space.suggest(study.ask()) for _ in range(8)}) > 1
        for point in space.first:
            study.enqueue_trial(point)
            space.suggest(study.ask())


def test_the_example_of_a_population_is_one_and_decides_often() -> None:
    """Population-based training takes over only between trials of one population, and from the second interval on."""
    space, study = find_space(str(REPOSITORY / "examples" / "population.yaml")), optuna.create_study()
    configs = [space.suggest(study.ask()) for _ in range(space.trials)]
    assert len({kinship(config) for config in configs}) == 1
    assert len(set(configs)) == space.trials >= 8
    assert all(config.training.epochs >= 4 * space.grace_epochs for config in configs)
    assert all(count_parameters(config) < 1_000_000 for config in configs)


def test_the_comparison_of_the_page_is_that_of_the_recorded_curves() -> None:
    recorded = json.loads(gzip.decompress(TABLE.read_bytes()))
    records = []
    for number, one in enumerate(recorded["trials"]):
        params = one["params"]
        record = trial(number, scores=one[OBJECTIVE], **params)
        for report, seconds in zip(record.reports, one["epoch_s"], strict=True):
            report["epoch_s"] = seconds
        records.append(record)
    comparison = compare([sweep(records, name="curves", stopper="none")])
    with (console := Console(highlight=False, width=WIDTH, file=io.StringIO())).capture() as captured:
        console.print(terminal_table(comparison))
    printed = [*captured.get().splitlines(), *summary_lines(comparison)]
    (block,) = (b for b in BLOCKS if b.page.name == "comparison.md" and "compare curves" in b.text)
    assert [line.rstrip() for line in printed] == block.output.splitlines()


@pytest.mark.parametrize("folder", [folder for folder, packages in PACKAGES.items() if packages])
def test_the_package_pictures_are_the_table_of_imports(folder: str) -> None:
    page, first = REPOSITORY / "docs" / "architecture.md", next(iter(PACKAGES[folder]))
    (picture,) = (block for block in blocks(page) if block.text.startswith(f"{first}\n"))
    drawn = {}
    for line in re.sub(r"\n {4,}", " ", picture.text).splitlines():
        name, _, used = line.partition(" > ")
        drawn[name.strip()] = set(re.findall(r"\w+|\.", used))
    assert drawn == PACKAGES[folder]
    explained = set(re.findall(r"^\| `(\w+)` \|", page.read_text(), re.M))
    assert PACKAGES[folder].keys() - {".", "pyfunc_loader"} <= explained
