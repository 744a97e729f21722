"""What is shared and what is streamed follows from sizes alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from data.errors import UserError
from infra.console.arguments import parse_bytes
from infra.sweep.data import without_pictures
from infra.sweep.data_memory import DataDivision, divide
from trainables.config import InputConfig, TrialConfig
from trainables.config.tree import override
from trainables.inputs.prepare import PrepareRow

PREPARE = PrepareRow(InputConfig(n_mels=64, hop=300))
ROW_BYTES = round(625 * PREPARE.bytes_per_label(False))


def index(rows: int) -> list[dict[str, Any]]:
    return [{"num_labels": 625, "has_video": True}] * rows


def divided(train: int, val: int, allowed_rows: float) -> DataDivision:
    return divide({"train": index(train), "val": index(val)}, PREPARE, round(allowed_rows * ROW_BYTES))


def test_everything_is_shared_where_it_fits() -> None:
    fits = divided(100, 10, 110)
    assert (fits.shared, fits.streamed) == (("train", "val"), ())
    assert fits.needed_bytes == 110 * ROW_BYTES


def test_the_smaller_split_is_shared_beside_a_stream() -> None:
    beside = divided(100, 10, 109)
    assert (beside.shared, beside.streamed) == (("val",), ("train",))
    assert beside.stream_bytes(trials=3) == 33 * ROW_BYTES
    assert divided(10, 100, 50).shared == ("train",)


def test_both_are_streamed_where_the_smaller_one_takes_too_much() -> None:
    both = divided(100, 10, 19)
    assert (both.shared, both.streamed) == ((), ("train", "val"))
    assert both.stream_bytes(trials=1) == round(9.5 * ROW_BYTES)


def test_no_more_trials_stream_than_there_is_room_for() -> None:
    assert divided(100, 10, 50).streams(workers=1) == 10
    assert divided(100, 10, 50).streams(workers=2) == 5


def test_too_little_memory_names_what_is_enough() -> None:
    with pytest.raises(UserError, match="too little even to stream train and val") as refused:
        divided(100, 10, 6).streams(workers=1)
    enough = parse_bytes(str(refused.value).split("--data-memory ")[1].split(",")[0])
    assert divided(100, 10, enough / ROW_BYTES).streams(workers=1) == 1


def test_pictures_count_where_they_are_looked_at() -> None:
    seeing = PrepareRow(InputConfig(n_mels=64, hop=300), ["frames"])
    pictures = 625 * 448 * 224 * 3
    assert divide({"test": index(2)}, seeing, 10**12).needed_bytes == 2 * (ROW_BYTES + pictures)


@pytest.mark.parametrize(("text", "expected"), [("500MB", 5 * 10**8), ("20GB", 2 * 10**10), ("1.5tb", 15 * 10**11)])
def test_amounts_of_memory_are_read(text: str, expected: int) -> None:
    assert parse_bytes(text) == expected


@pytest.mark.parametrize("text", ["", "20", "GB", "-1GB", "nanGB", "infGB", "20 gigabytes"])
def test_other_amounts_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="no amount of memory"):
        parse_bytes(text)


def test_pictures_that_are_not_there_are_told() -> None:
    seeing = override(TrialConfig(), {"visual.name": "resnet_conformer", "fusion.name": "gru"})
    configs = [seeing, seeing, TrialConfig()]
    assert [config.sees for config in configs] == [True, True, False]

    def said(without: int) -> str:
        splits = {"train": SimpleNamespace(clips=10, clips_without_video=without)}
        return without_pictures(configs, cast(Any, SimpleNamespace(manifest=SimpleNamespace(splits=splits))))

    assert said(0) == said(4) == ""
    assert said(6).startswith("4 of 10 training recordings has video, and 2 of 3 configs look at pictures")
    assert said(10).startswith("none of 10 training recordings has video")
