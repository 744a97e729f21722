"""A file of ours that something else broke is named, in one line that says what to do."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from data.errors import UserError
from infra.models.history import PROMOTE, AliasLog, Move
from infra.record.claim import read_driver
from infra.record.folder import SweepStore
from infra.record.trials import TrialRecord
from infra.search.warm_start import keep, kept
from infra.tracking.outbox import Outbox

READERS: dict[str, Callable[[SweepStore], object]] = {
    "sweep.json": lambda sweep: sweep.check({"seed": 0}),
    "trials/00000.json": lambda sweep: sweep.trials(),
    "driver.json": lambda sweep: read_driver(sweep.uri),
    "warm_start.json": kept,
    "outbox/00000001.json": lambda sweep: Outbox(f"{sweep.uri}/outbox").read(1),
}
FIXES = {"sweep.json": "restore it", "trials/00000.json": "restore it"}


BROKEN = [b"", b'{"number": 0', b"\xff\xfe", b"3"]
UNKNOWN_FIELD = b'{"extra": 1}'


@pytest.mark.parametrize(
    ("name", "content"),
    [(name, content) for name in READERS for content in (*BROKEN, *([UNKNOWN_FIELD] if name != "sweep.json" else []))],
)
def test_a_broken_file_is_named(name: str, content: bytes, tmp_path: Path) -> None:
    sweep = SweepStore(str(tmp_path), "mine")
    file = tmp_path / "sweeps" / "mine" / name
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    with pytest.raises(UserError, match=re.escape(f"{file} is not as this seldtune writes it")) as refused:
        READERS[name](sweep)
    assert "\n" not in str(refused.value)
    assert FIXES.get(name, "delete it") in str(refused.value)


@pytest.mark.parametrize("content", ["", "{}", '{"against": 3, "verdicts": []}'])
def test_a_broken_move_of_an_alias_is_named(content: str, tmp_path: Path) -> None:
    log = AliasLog(str(tmp_path), "seld", "champion")
    log.claim(Move(sequence=1, kind=PROMOTE, version="4", before=None, reason="because"))
    file = tmp_path / "registry" / "seld" / "champion" / "00001.json"
    file.write_text(content)
    with pytest.raises(UserError, match=rf"{file} is not as .*; restore it: tag alias\.champion\.00001 of .*'seld'"):
        log.last()


def test_whole_files_are_read_back(tmp_path: Path) -> None:
    sweep = SweepStore(str(tmp_path), "mine")
    assert (sweep.settings(), sweep.trials(), read_driver(sweep.uri), kept(sweep)) == (None, [], None, None)
    record = TrialRecord(number=0, params={}, distributions={}, config={})
    sweep.create({"seed": 0})
    sweep.write(record)
    keep(sweep, [record])
    assert sweep.check({"seed": 0})
    assert (sweep.trials(), kept(sweep)) == ([record], [record])
