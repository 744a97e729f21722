"""Sweeps that are broken on purpose, on a real stack of their own: nothing is lost, and they go on by themselves."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from infra.console.output import EXIT_AWAY
from infra.drills.faults import DRILLS
from infra.drills.place import Place, own_folder
from infra.drills.relay import says
from infra.drills.sweep import TRIALS, Account, DrillSweep, settle, table_of

pytestmark = pytest.mark.slow

RESUMED_WITHIN_S = 10.0
"""After the service is back; measured on an idle machine, so asked of the drills outside CI alone."""


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    folder = own_folder()
    with Place(folder) as place:
        yield place
    assert not place.processes("ray")
    assert not place.processes("s3")
    shutil.rmtree(folder)


def test_a_store_is_waited_for_a_while_and_the_sweep_goes_on_in_any_case(place: Place) -> None:
    sweep = DrillSweep(place, "waits", environment={"SELDTUNE_PATIENCE": "3s"})
    sweep.start()
    first = sweep.wait_until(lambda records: sum(len(record.reports) for record in records) >= 2)
    with place.s3.faulty(says(403, "AccessDenied", writes=True)):
        assert sweep.wait() == EXIT_AWAY
    said = sweep.log.read_text()
    assert "waited 3 s (SELDTUNE_PATIENCE) for it. Nothing is lost" in said.splitlines()[-1]
    assert "Traceback" not in said

    again = DrillSweep(place, sweep.name)
    again.start()
    reports = sum(len(record.reports) for record in again.records())
    before = again.wait_until(lambda records: sum(len(record.reports) for record in records) > reports)
    place.kill("s3")
    while not any("does not answer" in text for text in again.said):
        assert again.runs
        time.sleep(0.1)
    place.start_again("s3")
    mended_at = time.time()
    code = again.wait()
    account = settle("store-killed", 0.0, again, before, mended_at, code)
    assert replace(account, resumed_after_s=None, message="") == Account(
        fault="store-killed",
        seconds=0.0,
        exit_code=0,
        trials_failed=0,
        tried_again=0,
        finished_lost=0,
        counted_twice=0,
        missing=0,
        resumed_after_s=None,
        message="",
    )
    after = again.found().records
    assert [record.state for record in after] == ["complete"] * TRIALS
    assert {attempt.outcome for record in after for attempt in record.attempts} == {"ended", "interrupted"}
    for record in (*first, *before):
        assert after[record.number].reports[: len(record.reports)] == record.reports


@pytest.mark.dear
@pytest.mark.parametrize("name", sorted(DRILLS))
def test_every_drill(place: Place, name: str) -> None:
    account = DRILLS[name].on(place)
    assert DRILLS[name].passed(account), account
    if DRILLS[name].seconds:
        assert account.resumed_after_s is None or account.resumed_after_s <= RESUMED_WITHIN_S, account


@pytest.mark.dear
def test_two_minutes_without_a_store_change_no_figure(place: Place) -> None:
    calm = DrillSweep(place, "calm")
    calm.start()
    assert calm.wait() == 0
    account = DRILLS["store-killed"].on(place, seconds=120, name="disturbed")
    assert DRILLS["store-killed"].passed(account), account
    assert table_of(DrillSweep(place, "disturbed").records()) == table_of(calm.records())
