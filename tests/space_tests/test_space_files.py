"""Spaces of a user's own: what a file may say, and how it is told what it may not."""

import textwrap
from pathlib import Path

import optuna
import pytest

from data.errors import UserError
from search_spaces.presets import find_preset
from search_spaces.registry import find_space
from search_spaces.space import SearchSpace

optuna.logging.set_verbosity(optuna.logging.WARNING)

PYTHON = """
from dataclasses import replace
from search_spaces.quickstart import QUICKSTART

{more}
def suggest(trial):
    return replace(QUICKSTART.suggest(trial), {change})

SPACE = replace(QUICKSTART, name="mine", suggest=suggest)
"""
YAML = """
name: mine
base: {preset: resnet-gru, size: small, training: {epochs: 6}}
parameters:
  fusion:
    choices:
      gru: {name: gru, hidden: 32}
      cmaf: {name: cmaf, heads: 4, feed_forward: 64}
  fusion.layers: {low: 1, high: 3}
  schedule.name: {choices: [cosine, one_cycle]}
  schedule.rise_fraction: {low: 0.1, high: 0.5, step: 0.1, when: {schedule.name: one_cycle}}
  optimiser.lr: {low: 1e-4, high: 3e-3, log: true}
  audio.channels: {choices: [[16, 32, 64], [8, 16, 32]]}
first:
  - {fusion: cmaf, schedule.name: cosine, optimiser.lr: 1e-3, audio.channels: [8, 16, 32]}
trials: 12
budget: 90m
"""


def write(folder: Path, text: str, name: str = "space.yaml") -> str:
    path = folder / name
    path.write_text(textwrap.dedent(text))
    return str(path)


def configs(space: SearchSpace, count: int = 40) -> list:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=2))
    return [space.suggest(study.ask()) for _ in range(count)]


def python(folder: Path, change: str, more: str = "") -> str:
    return write(folder, PYTHON.format(change=change, more=more), "space.py")


def test_a_python_file_is_a_space(tmp_path: Path) -> None:
    space = find_space(python(tmp_path, "head=HeadConfig(hidden=7)", "from trainables.config import HeadConfig"))
    assert space.name == "mine"
    assert {config.head.hidden for config in configs(space, 4)} == {7}
    assert space.identity != find_space("quickstart").identity
    edited = find_space(python(tmp_path, "head=HeadConfig(hidden=8)", "from trainables.config import HeadConfig"))
    assert edited.identity != space.identity


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", r"space\.py' has to define one, .*; it defines none"),
        ("from search_spaces.quickstart import QUICKSTART", "it defines none"),
        (
            PYTHON.format(change="", more="") + "OTHER = replace(SPACE, name='b')",
            r"it defines several \(SPACE, OTHER\)",
        ),
        (
            "from trainables.config import OPTIMISERS\n"
            "from trainables.parts.optimisers.adam import Adam\n"
            "class Mine(Adam):\n    name = 'mine'\n"
            "OPTIMISERS.register(Mine)\n" + PYTHON.format(change="", more=""),
            r"registers optimiser 'mine', which no worker would know: .*--plugin",
        ),
        ("\nraise SystemExit(0)", r"space\.py:2: SystemExit: 0"),
        ("import nothing_like_it", r"space\.py:1: ModuleNotFoundError: No module named 'nothing_like_it'"),
        ("\n\nx = = 1", r"space\.py:3: SyntaxError"),
    ],
)
def test_a_python_file_without_a_space_is_refused(tmp_path: Path, text: str, message: str) -> None:
    for _ in range(2):  # a second time in one process it is the same
        with pytest.raises(UserError, match=message):
            find_space(write(tmp_path, text, "space.py"))


@pytest.mark.parametrize("name", ["space.py", "space.yaml"])
def test_a_missing_file_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=f"{name}.*[Nn]o such file"):
        find_space(str(tmp_path / name))


def test_what_a_python_space_raises_names_file_and_line(tmp_path: Path) -> None:
    space = find_space(python(tmp_path, "head=HeadConfig(hiden=7)", "from trainables.config import HeadConfig"))
    with pytest.raises(UserError, match=r"space\.py:7: TypeError: .*unexpected keyword argument 'hiden'"):
        configs(space, 1)
    space = find_space(write(tmp_path, PYTHON.format(change="", more="").replace("return", "pass #"), "space.py"))
    with pytest.raises(UserError, match=r"has to return a TrialConfig, got None"):
        configs(space, 1)
    leaves = PYTHON.format(change="", more="").replace("return", "raise SystemExit #")
    space = find_space(write(tmp_path, leaves, "space.py"))
    with pytest.raises(UserError, match=r"space\.py:7: SystemExit"):
        configs(space, 1)


def test_a_yaml_file_is_a_space(tmp_path: Path) -> None:
    space = find_space(write(tmp_path, YAML))
    assert (space.name, space.trials, space.budget_s, space.grace_epochs) == ("mine", 12, 5400.0, 3)
    seen = configs(space)
    assert {config.fusion.name for config in seen} == {"gru", "cmaf"}
    assert {config.fusion.layers for config in seen} == {1, 2, 3}
    assert {config.audio.channels for config in seen} == {(16, 32, 64), (8, 16, 32)}
    assert {config.training.epochs for config in seen} == {6}
    assert all(1e-4 <= config.optimiser.lr <= 3e-3 for config in seen)
    rises = {round(config.schedule.rise_fraction, 6) for config in seen if config.schedule.name == "one_cycle"}
    assert rises <= {0.1, 0.2, 0.3, 0.4, 0.5}
    assert len(rises) > 2
    base = find_preset("resnet-gru", "small")
    assert {config.visual for config in seen} == {base.visual}


def test_a_parameter_with_a_condition_is_there_only_under_it(tmp_path: Path) -> None:
    space = find_space(write(tmp_path, YAML))
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=2))
    for _ in range(12):
        trial = study.ask()
        config = space.suggest(trial)
        assert ("schedule.rise_fraction" in trial.params) == (config.schedule.name == "one_cycle")
    study.enqueue_trial(space.first[0])
    config = space.suggest(study.ask())
    assert (config.fusion.name, config.optimiser.lr, config.audio.channels) == ("cmaf", 1e-3, (8, 16, 32))
    assert config.fusion.heads == 4


def test_a_base_can_be_a_config_of_its_own(tmp_path: Path) -> None:
    text = """
    name: own
    base: {fusion: {name: audio_only}, training: {epochs: 3}}
    parameters: {training.seed: {low: 0, high: 9}}
    """
    space = find_space(write(tmp_path, text))
    assert space.sets_seed
    assert {config.training.epochs for config in configs(space, 3)} == {3}


def test_an_entry_of_a_part_can_be_named_alone(tmp_path: Path) -> None:
    text = """
    name: named
    base: {preset: resnet-gru, size: small, schedule: cosine}
    parameters:
      fusion: {choices: [gru, cmaf]}
      fusion.layers: {low: 1, high: 2}
    first:
      - {fusion: cmaf, fusion.layers: 2}
    """
    space = find_space(write(tmp_path, text))
    found = configs(space)
    assert {(config.fusion.name, config.fusion.layers) for config in found} == {
        (name, layers) for name in ("gru", "cmaf") for layers in (1, 2)
    }
    assert {config.schedule.name for config in found} == {"cosine"}
    text = text.replace("preset: resnet-gru, size: small", "visual: resnet_conformer, fusion: gru")
    own = find_space(write(tmp_path, text))
    assert configs(own, 1)[0].visual.name == "resnet_conformer"


def test_what_is_left_empty_is_as_if_it_were_not_there(tmp_path: Path) -> None:
    text = YAML.replace(YAML[YAML.index("first:") : YAML.index("trials:")], "first:\n")
    assert find_space(write(tmp_path, text.replace("low: 1, high: 3", "low: 1, high: 3, when: ")))


def test_a_mapping_may_take_from_another_and_say_some_otherwise(tmp_path: Path) -> None:
    text = YAML.replace("{name: gru,", "&gru {name: gru,").replace("fusion: cmaf", "fusion: large")
    text = text.replace("cmaf: {name: cmaf, ", "large: {<<: *gru, hidden: 64} #")
    assert {config.fusion.hidden for config in configs(find_space(write(tmp_path, text)))} == {32, 64}


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_bytes(b"\xff\xfename: mine")
    with pytest.raises(UserError, match=r"search space '.*space\.yaml': is no text in UTF-8"):
        find_space(str(path))


def test_the_identity_is_of_what_decides_points(tmp_path: Path) -> None:
    identity = find_space(write(tmp_path, YAML)).identity
    for same in (YAML.replace("trials: 12", "trials: 40"), "# a comment\n" + YAML, YAML.replace("90m", "2h")):
        assert find_space(write(tmp_path, same)).identity == identity
    for old, new in (("high: 3e-3", "high: 2e-3"), ("epochs: 6", "epochs: 7"), ("hidden: 32", "hidden: 64")):
        assert find_space(write(tmp_path, YAML.replace(old, new))).identity != identity
    assert find_space(write(tmp_path, YAML + "reduction: 4")).identity != identity


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("name: mine\n", "", "name is missing"),
        ("trials: 12", "trails: 12", r"trails is not a key \(did you mean trials\?\)"),
        ("trials: 12", "trials: 1.5", "trials = 1.5: has to be a whole number from 1 on"),
        ("budget: 90m", "budget: 90", "'90' is not a duration"),
        ("budget: 90m", "reduction: 1", "reduction = 1: has to be a whole number from 2 on"),
        ("name: mine", "name: a/b", "name = 'a/b': use letters, digits, - and _"),
        ("preset: resnet-gru", "preset: quickstart", "base: preset 'quickstart' .*a space can only be built on"),
        ("optimiser.lr: {low", "lr: {low", r"parameters: lr is not a field of a trial \(did you mean optimiser.lr\?\)"),
        (
            "optimiser.lr: {low: 1e-4, high: 3e-3, log: true}",
            "optimiser: {lr: {low: 1e-4, high: 3e-3, log: true}}",
            r"parameters: optimiser.lr: a field of a part is one word with a dot; write optimiser.lr: \{...\}",
        ),
        ("preset: resnet-gru", "preset: resnet-grv", "base: preset 'resnet-grv' is not known; .*resnet-gru"),
        ("training: {epochs", "training: {epoch", r"base: training.epoch is not a field; .*did you mean epochs"),
        (
            "optimiser.lr: {low",
            "optimiser.lrr: {low",
            r"parameters: optimiser.lrr is not a field; .*did you mean lr",
        ),
        ("optimiser.lr: {low", "optimizer.lr: {low", r"optimizer is not a field; .*did you mean optimiser"),
        (
            "low: 1e-4, high: 3e-3",
            "low: 3e-3, high: 1e-4",
            "lr: low = 0.003 has to be less than high = 0.0001",
        ),
        ("low: 1e-4, high", "low: 0, high", "optimiser.lr.low = 0: has to be more than 0 where log is true"),
        ("low: 1e-4, high", "low: cosine, high", "optimiser.lr.low = 'cosine': has to be a number"),
        ("low: 1e-4, high", "low: .inf, high", "optimiser.lr.low = inf: has to be a number"),
        ("high: 3e-3, log: true", "hihg: 3e-3", r"optimiser.lr.hihg is not a key \(did you mean high\?\)"),
        ("high: 3e-3, log", "high: 3e-3, choices: [1], log", "optimiser.lr needs either choices, or low and high"),
        ("fusion.layers: {low: 1", "fusion.layers: {low: 0.5", "fusion.layers = 0.5: has to be of type int"),
        ("low: 1, high: 3}", "low: 1, high: 3.5}", "fusion.layers takes whole numbers"),
        ("step: 0.1", "step: 7", r"schedule.rise_fraction.step = 7: has to be in \(0, 0.4\]"),
        (", when: {schedule.name: one_cycle}", "", "add a `when` that leaves one_cycle"),
        ("when: {schedule.name: one_cycle}", "when: {schedule.name: onecycle}", "'onecycle' never is; its choices are"),
        (
            "when: {schedule.name",
            "when: {schedule.nam",
            "schedule.nam is no parameter .*did you mean schedule.name",
        ),
        ("[cosine, one_cycle]", "[cosine, one_cicle]", "schedule.name = 'one_cicle' is not known; choose one of"),
        ("[cosine, one_cycle]", "[cosine, cosine]", "each may be there once"),
        ("hidden: 32}", "hiden: 32}", r"choice 'gru': fusion.hiden is not a field; .*did you mean hidden"),
        ("fusion: cmaf, schedule", "fusion: cmfa, schedule", r"first\[0\].fusion = 'cmfa': choose one of gru, cmaf"),
        (
            "optimiser.lr: 1e-3, audio",
            "optimiser.lr: 1, audio",
            "optimiser.lr = 1: has to be a number from",
        ),
        ("optimiser.lr: 1e-3, audio", "lr: 1e-3, audio", r"first\[0\]: lr is not a parameter"),
        ("budget: 90m", "trials: 13", "trials is given twice"),
        ("budget: 90m", "budget: [", "is no YAML"),
        ("trials: 12", "trials: &n [*n]", "is nested more than 100 deep, or holds itself"),
        ("trials: 12", f"trials: {'9' * 400}", "a number in line 16 has more than 64 bits"),
        ("[cosine, one_cycle]", "[2026-01-01]", "schedule.name = '2026-01-01' is not known"),
        ("[cosine, one_cycle]", "!!set {cosine}", "is no YAML: .*set"),
        ("preset: resnet-gru", "preset: [resnet-gru]", r"base: preset .*resnet-gru.* is not known"),
        ("size: small", "size: [small]", r"base: size .*small.* is not known"),
        ("size: small", "faithful: 'false'", "base: faithful = 'false': has to be true or false"),
        ("size: small", "1: 2", "base: 1 = 2: name a field"),
        ("training: {epochs", "training: {1", "base: training.1 is not a field"),
        ("optimiser.lr: {low", "1: {low", "parameters: 1 is not a field"),
        ("gru: {name: gru, h", "gru: {name: [gru], h", r"choice 'gru': fusion.name = \['gru'\] is not known"),
        ("step: 0.1", "step: 1e-300", "rise_fraction.step = 1e-300: too small for a range of 0.4"),
        ("when: {schedule.name: one_cycle}", "when: {schedule.name: []}", r"when: schedule.name = \[\]: name a choice"),
        ("when: {schedule.name: one_cycle}", "when: false", "rise_fraction.when = False: write"),
        ("first:\n  - {", "first: 0\n# - {", "first = 0: has to be a list of points"),
        (
            "fusion: cmaf, schedule.name: cosine,",
            "fusion: cmaf, schedule.name: one_cycle, schedule.rise_fraction: 0.25,",
            r"first\[0\].schedule.rise_fraction = 0.25 lies between two steps of 0.1: write 0.2 or 0.3",
        ),
        (
            "schedule.name: cosine, optimiser",
            "schedule.name: cosine, schedule.rise_fraction: 0.2, optimiser",
            r"first\[0\].schedule.rise_fraction: is not there with schedule.name = 'cosine'; leave it out",
        ),
    ],
)
def test_a_yaml_space_is_refused_with_key_and_value(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert YAML.count(old) == 1
    with pytest.raises(UserError, match=rf"space\.yaml': .*{message}"):
        find_space(write(tmp_path, YAML.replace(old, new)))


ONE = """
name: one
base: {preset: resnet-gru, size: small}
parameters: {FIELD: HOW}
first: [{FIELD: SAID}]
"""


@pytest.mark.parametrize(
    ("field", "how", "said", "point"),
    [
        ("fusion.layers", "{low: 1, high: 8, step: 2}", "3", 3),
        ("fusion.layers", "{low: 1, high: 8, step: 2}", "2", "2 lies between two steps of 2: write 1 or 3"),
        ("fusion.layers", "{low: 1, high: 8, step: 2}", "8", "8 lies between two steps of 2: write 7"),
        ("fusion.layers", "{low: 1, high: 8, log: true}", "3.0", 3),
        ("fusion.layers", "{low: 1, high: 8, log: true}", "1.5", "1.5: has to be a whole number from 1 to 8"),
        ("optimiser.lr", "{low: 0.1, high: 0.9, step: 0.1}", "0.3", 0.3),
        (
            "optimiser.lr",
            "{low: 1e-4, high: 3e-3, log: true}",
            "4e-3",
            "0.004: has to be a number from 0.0001 to 0.003",
        ),
        ("optimiser.lr", "{low: 1e-4, high: 3e-3, log: true}", "'1e-3'", "'1e-3': has to be a number"),
        ("optimiser.lr", "{choices: [1, 2]}", "1.0", 1),
        ("optimiser.lr", "{choices: [1, 2]}", "true", "True: choose one of 1, 2"),
        ("schedule.name", "{choices: [cosine, one_cycle]}", "Cosine", "'Cosine': choose one of cosine, one_cycle"),
    ],
)
def test_a_first_point_is_one_that_its_parameter_has(
    tmp_path: Path, field: str, how: str, said: str, point: float | str
) -> None:
    path = write(tmp_path, ONE.replace("FIELD", field).replace("HOW", how).replace("SAID", said))
    if isinstance(point, str):
        with pytest.raises(UserError, match=rf"first\[0\]\.{field} = {point}"):
            find_space(path)
        return
    space = find_space(path)
    assert [(type(value), value) for value in space.first[0].values()] == [(type(point), point)]
    study = optuna.create_study()
    study.enqueue_trial(space.first[0])
    trial = study.ask()
    space.suggest(trial)
    # What Optuna takes back when a sweep goes on from its record.
    study.add_trial(optuna.trial.create_trial(value=1.0, params=trial.params, distributions=trial.distributions))


def test_the_example_in_the_documentation_is_one(tmp_path: Path) -> None:
    from search_spaces.files import yaml_space

    assert yaml_space.__doc__ is not None
    example = textwrap.dedent(yaml_space.__doc__.partition("\n\n")[2])
    assert len({config.fusion.hidden for config in configs(find_space(write(tmp_path, example)))}) == 2
