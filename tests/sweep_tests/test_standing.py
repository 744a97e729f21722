"""What a start finds of a sweep, and leaves: trials that were begun are finished, however many are asked for now."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from data.classes import STARSS23, ClassList
from data.errors import UserError
from data.stores.chunks import Manifest, Shard, Store
from infra.record.budget import Budget, Ledger
from infra.record.folder import SweepStore
from infra.record.trials import COMPLETE, FAILED, PRUNED, TrialRecord
from infra.sweep.outcome import outcome_of
from infra.sweep.standing import Standing, classes_fixed, trials_owed
from infra.tracking.tracker import SweepTracker
from support.tiny_models import tiny_config
from trainables.config.tree import override


def trials(*states: str) -> list[TrialRecord]:
    return [TrialRecord(number, {}, {}, {}, state=state) for number, state in enumerate(states)]


@pytest.mark.parametrize(
    ("states", "asked", "owed"),
    [
        ((), 3, 3),
        ((COMPLETE, "running"), 3, 2),
        ((COMPLETE, "running"), 1, 1),
        (("running", "running", FAILED), 1, 2),
        ((COMPLETE, PRUNED), 1, 0),
    ],
)
def test_what_was_begun_is_owed_though_fewer_are_asked_for(states: tuple[str, ...], asked: int, owed: int) -> None:
    assert trials_owed(trials(*states), asked) == owed


def test_what_was_begun_ends_with_a_spent_budget_though_fewer_are_asked_for(tmp_path: Path) -> None:
    class Told:
        def update(self, *records: TrialRecord) -> None:
            told.extend(record.number for record in records)

    told: list[int] = []
    records = trials(COMPLETE, "running")
    store: Any = None
    standing = Standing(
        asked=store,
        store=store,
        prepare=store,
        sweep=SweepStore(str(tmp_path), "mine"),
        settings={},
        records=records,
        put_right=[],
        earlier=[],
        begun=True,
        ledger=Ledger(Budget(trials=1, wall_s=60.0), records, wall_s=60.0),
        owed=0,
    )
    outcome = outcome_of(standing, cast(SweepTracker, Told()), None, finished=True)
    assert outcome.finished
    assert outcome.used_up == "60 s"
    assert [record.state for record in records] == [COMPLETE, FAILED]
    assert told == [1]
    assert SweepStore(str(tmp_path), "mine").trials() == records[1:]


def test_the_classes_of_trials_are_those_of_their_data() -> None:
    animals = ClassList.of(("Dog", "Cat"))
    manifest = Manifest("made", {}, {}, Shard("index", "", 0, 0), classes=animals)
    store, plain = Store("s3://somewhere", manifest), tiny_config("audio_only")
    given = override(plain, classes_fixed([plain], store))
    assert given.classes == animals
    assert override(given, classes_fixed([given], store)) == given
    assert classes_fixed([plain], Store("s3://somewhere", replace(manifest, classes=STARSS23))) == {}
    own = replace(plain, classes=ClassList.of(("Wolf", "Cat")))
    with pytest.raises(UserError, match=r"classes = wolf, cat: those of a trial are its data's \(dog, cat\)"):
        classes_fixed([plain, own], store)
