"""Whatever is fed to what reads users' files, it answers with a result or a documented error, soon and within memory.

FUZZ_INPUTS says how many inputs there are in all (`make fuzz`: 100,000). A failing one is named by its seed, which
makes it again.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pytest
import soundfile

from data.durations import parse_duration_s
from data.errors import UserError
from data.fields import from_text
from data.files.audio import read_foa_int16
from data.files.boxes import read_boxes_csv
from data.files.class_map import DATA_SETS, read_class_map
from data.files.dcase_csv import parse_events_csv
from data.files.label_folder import read_folder
from data.files.yaml_files import read_mapping
from data.scenes.synth import SynthSettings, synthesise
from data.scenes.synth_settings import synth_settings
from data.stores.chunks import MANIFEST_NAME, open_store
from infra.record.retries import parse_retries
from infra.stack.home import STATE_NAME, StackState, read_state, write_state
from infra.stack.settings import check_root_uri
from search_spaces.registry import SPACES, find_space
from support.fuzzing import Target, TooLong, inputs, within_time
from support.pages import REPOSITORY
from trainables.config import TrialConfig
from trainables.config.tree import from_dict, to_dict

INPUTS = int(os.environ.get("FUZZ_INPUTS", "2400"))
MOST_MB = 600
"""By which all inputs of a target together may raise the process's memory."""
ROWS = b"0,3,0,-30,10,150\n4,11,1,170,-5,200\n5,11,1,171,-5,201\n"


SCENES = b"""
profile: standard
train_clips: 2
clip_s: 10
scene:
  polyphony: 2
  speed_m_s: [0.5, 1.5]
  classes: [door, 3]
"""


CLASSES = b"""
of: dcase2021
classes:
  - Dog bark
  - {name: Speech, short: speech, from: [Female speech, 8]}
drop: [3, piano]
"""


def file_read(path: Path, read: Callable[[Path], object]) -> Callable[[bytes], object]:
    def write_and_read(content: bytes) -> object:
        path.write_bytes(content)
        return read(path)

    return write_and_read


def sounds() -> list[bytes]:
    made = []
    audio = np.random.default_rng(0).uniform(-0.3, 0.3, (2_400, 4))
    for container, coding in (
        ("WAV", "PCM_16"),
        ("WAVEX", "FLOAT"),
        ("RF64", "PCM_24"),
        ("W64", "PCM_16"),
        ("AIFF", "PCM_16"),
        ("AU", "PCM_16"),
    ):
        buffer = io.BytesIO()
        soundfile.write(buffer, audio, 24_000, format=container, subtype=coding)
        made.append(buffer.getvalue())
    return made


def as_config(content: bytes) -> object:
    """What `model.json` holds, where it is JSON at all."""
    try:
        tree = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return from_dict(tree) if isinstance(tree, dict) else None


def drawn(name: str) -> TrialConfig:
    """A config of a space."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    return SPACES[name].suggest(study.ask())


def read_scenes(path: Path) -> SynthSettings:
    return synth_settings(read_mapping(path, "fields"), str(path), {}, {})


def as_options(content: bytes) -> None:
    """Texts of options, each by its own rule."""
    text = content.decode(errors="replace")
    for read in (parse_duration_s, parse_retries, check_root_uri, lambda text: from_text(text, tuple[float, float])):
        with contextlib.suppress(UserError, TypeError):  # whoever catches a TypeError says which field it is of
            read(text)


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Target]:
    folder = tmp_path_factory.mktemp("fuzz")
    tiny = SynthSettings(train_clips=1, val_clips=1, test_clips=0, clip_s=5.0, train_rooms=1, with_video=False)
    store = synthesise(tiny, str(folder / "store"))
    (folder / "home").mkdir()
    write_state(folder / "home", StackState(root="s3://bucket", buckets=["bucket"], secrets={"s3": "secret"}))
    labels = [
        ROWS,
        b"frame,class,source,azimuth,elevation\n" + ROWS.replace(b",150", b""),
        b"0,3,0,0.6,-0.8,0.0\n",
        b'0,"Door, open or close",0,-30,10,150\n4,door,1,170,-5,200\n',
        b"",
    ]
    own = replace(store.manifest, classes=DATA_SETS["dcase2021"])
    of_own = replace(drawn("quickstart"), classes=own.classes)
    # The others name parts of a plugin.
    spaces = [(REPOSITORY / "examples" / name).read_bytes() for name in ("fusions.yaml", "population.yaml")]
    return {
        "labels": Target(labels, lambda content: parse_events_csv(content, "labels.csv")),
        "predictions": Target(labels, file_read(folder / "p.csv", lambda path: read_folder({"p": path}))),
        "boxes": Target(
            [b"frame,left,top,right,bottom,score\n0,0.1,0.2,0.3,0.4,0.9\n"],
            file_read(folder / "b.csv", lambda path: read_boxes_csv(str(path), 20)),
        ),
        "manifest": Target(
            [manifest.to_json().encode() for manifest in (store.manifest, own)],
            file_read(folder / "store" / MANIFEST_NAME, lambda path: open_store(str(path.parent)).check()),
        ),
        "config": Target(
            [json.dumps(to_dict(config)).encode() for config in (drawn("quickstart"), drawn("fusion"), of_own)],
            as_config,
        ),
        "classes": Target([CLASSES], file_read(folder / "classes.yaml", read_class_map)),
        "space": Target(spaces, file_read(folder / "space.yaml", lambda path: find_space(str(path)))),
        "scenes": Target([SCENES], file_read(folder / "scenes.yaml", read_scenes)),
        "sound": Target(sounds(), file_read(folder / "sound.wav", read_foa_int16)),
        "settings": Target(
            [(folder / "home" / STATE_NAME).read_bytes()],
            file_read(folder / "home" / STATE_NAME, lambda path: read_state(path.parent)),
        ),
        "options": Target([b"12h", b"90s", b"2,diverged=0,node-lost=50", b"s3://bucket/path", b"0.5,1.5"], as_options),
    }


NAMES = (
    "labels",
    "predictions",
    "boxes",
    "manifest",
    "config",
    "space",
    "scenes",
    "classes",
    "sound",
    "settings",
    "options",
)


@pytest.mark.parametrize("name", NAMES)
def test_anything_is_answered(name: str, targets: dict[str, Target]) -> None:
    target = targets[name]
    for seed in target.seeds:
        target.read(seed)
    before_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    for seed, content in inputs(target, name, INPUTS // len(NAMES)):
        try:
            with within_time():
                target.read(content)
        except UserError:
            pass
        except TooLong:
            pytest.fail(f"{seed} took more than two seconds")
        except Exception as error:
            pytest.fail(f"{seed} raised {type(error).__name__}: {error}")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before_mb < MOST_MB


def test_the_fuzzer_finds_what_is_planted() -> None:
    """A reader that fails on a byte that no seed holds."""

    def brittle(content: bytes) -> None:
        struct.pack("B", 256 if b"\xff" in content else 0)

    target = Target([b"0,1,2\n"], brittle)
    with pytest.raises(struct.error):
        list(map(brittle, (content for _, content in inputs(target, "planted", 200))))
