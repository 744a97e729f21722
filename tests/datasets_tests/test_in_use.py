"""A store that sweeps were begun on is not replaced: never while one runs, else only when that is asked for."""

from __future__ import annotations

import json
import os
import socket
import time
from dataclasses import asdict, replace
from pathlib import Path

import psutil
import pytest

from data.errors import UserError
from data.scenes.synth import SynthSettings, synthesise
from data.stores.chunks import Store, open_store
from infra.datasets.in_use import replacing, sweeps_on
from infra.record.claim import Driver
from infra.sweep.run import _require_unchanged

TINY = SynthSettings(train_clips=1, val_clips=1, test_clips=0, clip_s=5.0, train_rooms=1, with_video=False)
OTHER = replace(TINY, seed=5)


@pytest.fixture
def root(tmp_path: Path) -> str:
    return str(tmp_path / "root")


@pytest.fixture
def store(root: str) -> Store:
    return synthesise(TINY, f"{root}/data/tiny")


def begin(root: str, name: str, store: Store, state: str = "finished", *, settled: bool = True) -> None:
    """What a sweep on the store, driven by this very process, leaves on storage."""
    folder = Path(root, "sweeps", name)
    folder.mkdir(parents=True)
    driver = Driver(
        id=name,
        host=socket.gethostname(),
        pid=os.getpid(),
        born=psutil.Process().create_time(),
        cluster="here",
        since=time.time(),
        beat=time.time(),
        state=state,
        facts={"data": store.root},
    )
    (folder / "driver.json").write_text(json.dumps(asdict(driver)))
    if settled:
        (folder / "sweep.json").write_text(json.dumps({"space": "quickstart", "data": store.manifest.sha256}))


@pytest.mark.parametrize("settled", [True, False])
@pytest.mark.parametrize("replace_it", [True, False])
def test_while_a_sweep_runs_on_it_nothing_replaces_it(root: str, store: Store, settled: bool, replace_it: bool) -> None:
    begin(root, "night", store, "running", settled=settled)
    with pytest.raises(
        UserError, match=rf"tiny is in use: sweep 'night' is being run on it by pid {os.getpid()} on host"
    ):
        synthesise(OTHER, store.root, may_replace=replacing(root, replace_it))
    open_store(store.root).check()
    # What is there already is no other data.
    assert synthesise(TINY, store.root, may_replace=replacing(root, replace_it)).manifest == store.manifest


def test_data_of_ended_sweeps_is_replaced_when_that_is_asked_for(
    root: str, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("first", "second"):
        begin(root, name, store)
    told = r"sweeps begun on the data there \(first, second\) can be shown and compared, and do not go on without it"
    with pytest.raises(UserError, match=rf"holds other data .*: seed was 0, now 5; {told}; .* or say --replace"):
        synthesise(OTHER, store.root, may_replace=replacing(root, False))
    assert open_store(store.root).manifest == store.manifest
    assert synthesise(OTHER, store.root, may_replace=replacing(root, True)).manifest != store.manifest
    assert any("(first, second)" in message for message in caplog.messages)
    assert sweeps_on(root, open_store(store.root)) == ({}, [])


def test_without_sweeps_other_settings_alone_are_refused(root: str, store: Store) -> None:
    with pytest.raises(UserError, match="seed was 0, now 5; choose another name or place, or say --replace"):
        synthesise(OTHER, store.root, may_replace=replacing(root, False))
    begin(root, "elsewhere", synthesise(OTHER, f"{root}/data/other"), "running")
    assert synthesise(OTHER, store.root, may_replace=replacing(root, True)).manifest != store.manifest


def test_a_sweep_does_not_go_on_with_data_that_was_replaced_while_it_read_it(root: str, store: Store) -> None:
    """Until a sweep has read its data nobody sees it: what it read has to be what is there then."""
    _require_unchanged(store)
    synthesise(OTHER, store.root, may_replace=replacing(root, True))
    with pytest.raises(UserError, match="was replaced while it was being read; give the same command again"):
        _require_unchanged(store)
