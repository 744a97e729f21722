"""Stores as one: what is added is what it was, under another name, and training may take a share of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.errors import UserError
from data.feeding.windows import windows_of_epoch
from data.labels import Events
from data.names import origin_of
from data.stores.build import WriteTask
from data.stores.chunks import Store, open_store, read_shard
from data.stores.mix import mix, parts_of_store, parts_text
from data.stores.rows import RawRow, cut_rows, decode_flac
from data.timing import SAMPLES_PER_LABEL
from support.stores import publish

PICTURES = [bytes([number % 256]) * 40 for number in range(650)]


def recording(name: str, labels: int, seed: int, pictures: list[bytes] | None = None) -> list[RawRow]:
    """Rows of a recording with an event in every label frame; longer ones than a minute have several."""
    rng = np.random.default_rng(seed)
    audio = rng.integers(-3000, 3000, (4, labels * SAMPLES_PER_LABEL), dtype=np.int16)
    frames = np.arange(labels)
    events = Events.build(frames, frames % 13, np.ones(labels), frames % 180, frames % 45, frames + 100.0)
    return cut_rows(name, f"room{seed}", audio, events, PICTURES[:labels] if pictures is None else pictures)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Store]:
    """A target with two recordings to train on, one of them of two rows with a video that ends early; and another."""
    root = tmp_path_factory.mktemp("parts")
    target = {
        "train": [recording("long", 700, 1), recording("short", 60, 2)],
        "val": [recording("heard", 50, 3)],
        "test": [recording("kept", 50, 4)],
    }
    added = {
        "train": [[*recording("long", 90, 5, []), *recording("other", 80, 6)]],
        "val": [recording("unused", 40, 7)],
    }
    publish(root / "real", target)
    publish(root / "synthetic", added)
    return open_store(str(root / "real")), open_store(str(root / "synthetic"))


@pytest.fixture(scope="module")
def mixed(parts: tuple[Store, Store], tmp_path_factory: pytest.TempPathFactory) -> Store:
    return mix(str(tmp_path_factory.mktemp("mixed") / "both"), parts[0], {"synthetic": parts[1]})


def rows_of(store: Store, split: str) -> dict[tuple[str, int], RawRow]:
    rows = [row for shard in store.split(split).shards for row in read_shard(store, shard)]
    return {(row["recording"], row["start_frame"]): row for row in rows}


def test_all_is_what_it_was_under_its_own_name_or_the_parts(parts: tuple[Store, Store], mixed: Store) -> None:
    found = {split: rows_of(mixed, split) for split in ("train", "val", "test")}
    expected = {split: rows_of(parts[0], split) for split in ("train", "val", "test")}
    for (name, start), row in rows_of(parts[1], "train").items():
        renamed = {**row, "recording": f"synthetic+{name}", "room": f"synthetic+{row['room']}"}
        expected["train"][f"synthetic+{name}", start] = renamed
    for split, rows in expected.items():
        assert found[split].keys() == rows.keys()
        for place, row in rows.items():
            ours = found[split][place]
            np.testing.assert_array_equal(decode_flac(ours["audio"]), decode_flac(row["audio"]))
            assert {**ours, "audio": b""} == {**row, "audio": b""}, place
    assert ("long", 600) in found["train"], "rows of a recording are put together and cut again"


def test_it_says_what_it_was_made_of_with_hours_and_hashes(parts: tuple[Store, Store], mixed: Store) -> None:
    target, added = parts_of_store(mixed)
    assert (target["name"], added["name"]) == ("target", "synthetic")
    assert [part["manifest"] for part in (target, added)] == [part.manifest.sha256 for part in parts]
    assert target["hours"] == {"train": 76 / 3600, "val": 5 / 3600, "test": 5 / 3600}
    assert added["hours"] == {"train": pytest.approx(17 / 3600)}
    assert parts_of_store(parts[0]) == [target], "another store is its own target"
    assert f"synthetic: 17 s of synthetic {parts[1].manifest.sha256[:12]}" in parts_text(mixed)
    assert origin_of("synthetic+long") == "synthetic"
    assert origin_of("fold3_room1_mix001") == ""


def test_made_again_it_is_found_and_made_elsewhere_the_same(
    parts: tuple[Store, Store], mixed: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert mix(str(tmp_path / "both"), parts[0], {"synthetic": parts[1]}).manifest == mixed.manifest
    monkeypatch.setattr("data.stores.mix.read_shard", None)
    assert mix(mixed.root, parts[0], {"synthetic": parts[1]}).manifest == mixed.manifest


def test_interrupted_it_goes_on_with_what_is_left(
    parts: tuple[Store, Store], mixed: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("data.stores.mix.SHARD_BYTES", 1)
    done: list[str] = []

    def interrupted(work: Callable[[WriteTask], Any], tasks: Sequence[WriteTask]) -> Iterator[Any]:
        for task in tasks[:2]:
            done.append(task.task.key)
            yield work(task)
        raise KeyboardInterrupt

    def the_rest(work: Callable[[WriteTask], Any], tasks: Sequence[WriteTask]) -> Iterator[Any]:
        assert len(tasks) == 4
        assert not {task.task.key for task in tasks} & set(done)
        return map(work, tasks)

    with pytest.raises(KeyboardInterrupt):
        mix(str(tmp_path / "both"), parts[0], {"synthetic": parts[1]}, run=interrupted)
    again = mix(str(tmp_path / "both"), parts[0], {"synthetic": parts[1]}, run=the_rest)
    assert rows_of(again, "train") == rows_of(mixed, "train")


def test_what_cannot_be_mixed_is_refused(parts: tuple[Store, Store], mixed: Store, tmp_path: Path) -> None:
    target, added = parts
    empty = open_store(
        publish(tmp_path / "empty", {"train": [], "val": [recording("a", 40, 1)]}).root  # nothing to train on
    )
    marked = publish(tmp_path / "marked", {"train": [recording("a+b", 40, 1)]})
    for other, told in (
        ({}, "nothing to mix"),
        ({"a b": added}, "added store 'a b'"),
        ({"target": added}, "rename its folder"),
        ({"synthetic": empty}, "no recording to train on"),
        ({"mixed": mixed}, "mixed already"),
        ({"itself": target}, "would be trained on twice"),
        ({"one": added, "two": replace(added, root="elsewhere")}, "would be trained on twice"),
        ({"marked": marked}, "marks what was added"),
    ):
        with pytest.raises(UserError, match=told):
            mix(str(tmp_path / "out"), target, other)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("limit", "pools", "windows"),
    [
        (None, [(100, 1.0)], 100),
        (40, [(100, 1.0)], 40),
        (None, [(70, 0.7), (30, 0.3)], 100),
        (None, [(70, 0.5), (30, 0.5)], 60),
        (50, [(70, 0.5), (30, 0.5)], 50),
        (None, [(10, 0.1), (1000, 0.9)], 100),
    ],
)
def test_an_epoch_is_as_long_as_the_share_allows(
    limit: int | None, pools: list[tuple[int, float]], windows: int
) -> None:
    assert windows_of_epoch(limit, pools) == windows
