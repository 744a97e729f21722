"""How a sweep stands, from records and `driver.json` alone, and how that looks on 80 columns."""

from __future__ import annotations

import json
import logging
import os
import re
import time
from dataclasses import asdict, replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from data.errors import UserError
from infra.record.claim import FINISHED, LONG_SILENCE_S, SILENCE_S, Driver, read_driver, require_free
from infra.record.folder import SweepStore
from infra.record.trials import FAILED
from infra.watch.overview import Overseer
from infra.watch.reader import SweepReader
from infra.watch.screen import _duration, _logging_above, render
from support.overviews import DRIVER, FACTS, NOW, RECORDS, look


def test_trials_budgets_and_events_are_counted() -> None:
    seen = look()
    assert seen.counts == {"running": 2, "complete": 1, "pruned": 1, "failed": 1}
    assert [(t.number, t.epoch, t.epochs, t.attempt) for t in seen.running] == [(3, 2, 4, 2)]
    assert seen.waiting == 1
    assert seen.best is not None
    assert (seen.best.number, seen.best.epoch, seen.best.scores["SELD"]) == (0, 3, 0.4)  # failed ones do not count
    spent = {one.unit: (one.spent, one.limit) for one in seen.spending}
    assert spent["trials"] == (3, 10)
    assert spent["s"] == (3600, 43_200)
    # An attempt that lasts counts until now, whatever was written last.
    assert spent["GPU-hours"][0] == pytest.approx((1200 + 600 + 300 + 60 + 100 + 1800 + 60) / 3600)
    # 3.5 of 10 trials took an hour.
    assert seen.eta_s == pytest.approx(3600 * 6.5 / 3.5)
    assert [(e.number, e.text.split(":")[0]) for e in seen.events] == [
        (1, "tried again, node lost"),
        (1, "stopped after epoch 1 of 4"),
        (2, "failed, diverged"),
        (3, "tried again, raised"),
        (4, "tried again, node lost"),
    ]
    json.dumps(seen.as_json())


def test_a_driver_that_is_gone_is_told_from_one_that_lives() -> None:
    gone = look(replace(DRIVER, born=DRIVER.born - 100, beat=NOW - 600))
    assert gone.state == "gone"
    assert (gone.running, gone.waiting, gone.eta_s) == ([], 2, None)
    assert "same command goes on" in gone.next_step()
    elsewhere = replace(DRIVER, host="other", pid=1, beat=time.time())
    assert look(elsewhere).state == "running"
    assert look(replace(elsewhere, beat=NOW - SILENCE_S - 1)).state == "gone"
    spent = replace(FACTS, used_up="40 GPU-hours")
    assert "running trials stop" in look(replace(DRIVER, facts=asdict(spent))).next_step()
    assert "40 GPU-hours is spent" in look(replace(DRIVER, facts=asdict(spent), state=FINISHED)).next_step()


def test_a_finished_sweep_says_what_more_would_take() -> None:
    """More time brings no more trials, and more trials none of a space that is exhausted."""
    finished = replace(DRIVER, state=FINISHED)
    done = look(replace(finished, facts=asdict(replace(FACTS, trials=3)))).next_step()
    assert "--trials" in done
    assert "budget" not in done
    late = look(replace(finished, facts=asdict(replace(FACTS, trials=3, used_up="43200 s")))).next_step()
    assert late == done
    exhausted = look(finished).next_step()
    assert "no more to try" in exhausted
    assert "goes on" not in exhausted


def test_eighty_columns_are_enough() -> None:
    console = Console(file=StringIO(), width=80, highlight=False)
    console.print(render(look()))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    lines = text.splitlines()
    assert len(lines) < 30
    assert max(map(len, lines)) <= 80
    for expected in ("sweep deep", "running since", "2/4", "attempt 2", "3 of 10, 7 left", "1 h 00 m of 12 h 00 m"):
        assert expected in text
    for expected in ("trial 0 av_conformer, epoch 3", "lr 0.00123", "GPU 1 of 4", "1.0 of 4.0 GB", "loss is nan"):
        assert expected in text


def test_what_a_sweep_waits_for_is_said_while_it_runs() -> None:
    console = Console(file=StringIO(), width=120, highlight=False)
    waiting = replace(FACTS, away={"writing to http://store:8333": time.time() - 40})
    console.print(render(look(replace(DRIVER, facts=asdict(waiting)))))
    console.print(render(look(replace(DRIVER, facts=asdict(waiting), state=FINISHED))))
    said = re.findall(r"waits +(.*)", console.file.getvalue())  # type: ignore[attr-defined]
    assert [text.strip() for text in said] == ["writing to http://store:8333 has not been possible for 40 s"]


def test_looking_is_cheap() -> None:
    many = [replace(RECORDS[0], number=number) for number in range(2000)]
    overseer = Overseer("deep")
    overseer.look(many, DRIVER, NOW)
    started = time.process_time()
    overseer.look(many, DRIVER, NOW)
    assert time.process_time() - started < 0.05


def test_durations() -> None:
    seconds = (0.4, 59.4, 59.6, 725, 11_220, 187_200)
    assert [_duration(s) for s in seconds] == ["0 s", "59 s", "1 m 00 s", "12 m 05 s", "3 h 07 m", "2 d 04 h"]


def test_warnings_go_through_the_screen_and_lines_of_progress_do_not() -> None:
    console, logger = Console(file=StringIO(), width=200), logging.getLogger("seldtune.infra.sweep.recorder")
    before = logging.getLogger().handlers
    with _logging_above(console):
        logger.error("trial 3 [failed] for good")
        logger.info("trial 3 epoch 2/4")
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert len(lines) == 1
    assert lines[0].endswith("trial 3 [failed] for good")
    assert logging.getLogger().handlers is before


# --- who runs it ------------------------------------------------------------------------------------------------------


def write(store: SweepStore, driver: Driver) -> None:
    Path(store.uri).mkdir(parents=True, exist_ok=True)
    (Path(store.uri) / "driver.json").write_text(json.dumps(asdict(driver)))


def test_a_sweep_is_read_from_its_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no sweep 'deep'"):
        SweepReader(str(tmp_path), "deep")
    store = SweepStore(str(tmp_path), "deep")
    store.create({"seed": 0})
    write(store, DRIVER)
    reader = SweepReader(str(tmp_path), "deep")
    assert reader.look().counts["running"] == 0
    for one in RECORDS:
        store.write(one)
    assert reader.look().counts == look().counts
    store.write(replace(RECORDS[4], state=FAILED, error="node lost: x"))
    assert reader.look().counts["failed"] == 2


def test_a_driver_of_this_host_refuses_others_while_it_lives(tmp_path: Path) -> None:
    store = SweepStore(str(tmp_path), "deep")
    assert require_free(store.uri, "deep", "c") is None
    write(store, DRIVER)
    with pytest.raises(UserError, match=rf"'deep' is being run by pid {os.getpid()} on host .* since"):
        require_free(store.uri, "deep", "c")
    # Killed, or its pid come round again: nothing to wait for, however fresh its last sign.
    write(store, replace(DRIVER, born=DRIVER.born - 100))
    assert require_free(store.uri, "deep", "c") == read_driver(store.uri)
    write(store, replace(DRIVER, state=FINISHED))
    assert require_free(store.uri, "deep", "c") == read_driver(store.uri)


def test_a_driver_of_another_cluster_is_known_by_its_signs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SweepStore(str(tmp_path), "deep")
    elsewhere = replace(DRIVER, host="other", pid=1, beat=time.time())
    waits: list[float] = []

    def beats(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 4:
            write(store, replace(elsewhere, beat=elsewhere.beat + 10))

    monkeypatch.setattr("infra.record.claim.time.sleep", beats)
    write(store, elsewhere)
    with pytest.raises(UserError, match="pid 1 on host other"):
        require_free(store.uri, "deep", "another cluster")
    assert len(waits) == 4
    # On the same cluster Ray is asked, later.
    require_free(store.uri, "deep", elsewhere.cluster)
    # Silent for so long, it is dead whatever its clock.
    write(store, replace(elsewhere, beat=time.time() - LONG_SILENCE_S - 1))
    require_free(store.uri, "deep", "another cluster")
    assert len(waits) == 4
    # Silent while it is watched, it is dead.
    monkeypatch.setattr("infra.record.claim.SILENCE_S", 0.05)
    write(store, elsewhere)
    require_free(store.uri, "deep", "another cluster")
