"""Trainings of a sweep's configs with several seeds: asked for, made by a sweep of fixed points, and tested."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import ClassVar

from data import storage
from data.errors import UserError
from data.fields import check_plain
from data.registry.plugins import Plugin
from infra.finals.finalists import FINALIST_PARAM, SEED_PARAM, finals_space
from infra.finals.held_out import SPLIT, HeldOut, best_bundle, held_out
from infra.finals.training import Training
from infra.record.claim import read_driver
from infra.record.folder import SweepStore, require_plugins
from infra.record.trials import TrialRecord
from infra.stack.places import data_place
from infra.stack.settings import Settings
from infra.sweep.data import find_store
from infra.sweep.outcome import SweepOutcome
from infra.sweep.request import SweepRequest
from trainables.evaluation.bundle import JSON_NAME

logger = logging.getLogger(f"seldtune.{__name__}")


@dataclass(frozen=True, kw_only=True)
class TrainingsRequest:
    """What the user asked for; resources that are not given are those of the sweep's space.

    Raises:
        UserError: a field holds something of another type.
    """

    suffix: ClassVar[str]
    sweep: str
    name: str | None = None
    """Of the sweep that trains them; `<sweep>-<suffix>` if not given."""
    model: str = "seld"
    """In the registry."""
    data: str | None = None
    """The sweep's store; the one that it was on if not given."""
    workers: int = 1
    cpus_per_worker: int | None = None
    gpus_per_worker: float | None = None
    concurrency: int | None = None
    data_memory_bytes: int | None = None
    plugins: tuple[Plugin, ...] = ()

    def __post_init__(self) -> None:
        check_plain(self)

    @property
    def trainings_name(self) -> str:
        """Of the sweep that trains them."""
        return self.name or f"{self.sweep}-{self.suffix}"


@dataclass(frozen=True, kw_only=True)
class Searched:
    """A sweep that has been run, and the store that it was on."""

    name: str
    space: str
    data: str
    recordings: int
    """Of its test split."""
    records: Sequence[TrialRecord]

    def trainings(
        self,
        request: TrainingsRequest,
        configs: Sequence[TrialRecord],
        points: Sequence[tuple[int, int]],
        name: str,
    ) -> SweepRequest:
        """The sweep that trains these points in full.

        Args:
            configs: trials of the sweep.
            points: (number of one of them, seed); a call with more of them goes on from one with the first of them.
        """
        return SweepRequest(
            space=finals_space(self.name, self.space, configs, points),
            name=name,
            data=self.data,
            workers=request.workers,
            cpus_per_worker=request.cpus_per_worker,
            gpus_per_worker=request.gpus_per_worker,
            concurrency=request.concurrency,
            data_memory_bytes=request.data_memory_bytes,
            plugins=request.plugins,
            stopper="none",
        )


def find_searched(request: TrainingsRequest, settings: Settings) -> Searched:
    """The sweep whose configs are asked for.

    Raises:
        UserError: there is none, its plugins are not loaded, or its data is not where it was and has a test split.
    """
    storage.check_root(settings.root)
    searched = SweepStore(settings.root, request.sweep)
    asked = searched.settings()
    if asked is None:
        raise UserError(f"there is no sweep {request.sweep!r} below {settings.root}; run `seldtune sweep` first")
    require_plugins(request.sweep, asked)
    driver = read_driver(searched.uri)
    data_uri = driver.facts["data"] if driver else f"{settings.root}/data/{asked['space']}"
    data_uri = data_place(request.data, settings.root) if request.data else data_uri
    store = find_store(data_uri, settings.root)
    if store.manifest.sha256 != asked["data"]:
        raise UserError(
            f"sweep {request.sweep!r} was on data {asked['data'][:12]}, and {data_uri} holds "
            f"{store.manifest.sha256[:12]}; give the sweep's own --data"
        )
    recordings = store.split(SPLIT).clips
    if not recordings:
        raise UserError(f"the {SPLIT} split of {data_uri} is empty: there is nothing to test finalists on")
    records = searched.trials()
    return Searched(name=request.sweep, space=asked["space"], data=data_uri, recordings=recordings, records=records)


Trainings = dict[int, list[Training]]
"""By the number of their finalist, in order of their seeds."""


def put_to_test(
    outcome: SweepOutcome, points: Collection[tuple[int, int]], settings: Settings, *, shown_others: bool = False
) -> Trainings:
    """What the test split says of these trainings, (number of a finalist, seed); it is asked once of each."""
    found: Trainings = {}
    for record, tested in held_out(outcome, settings, shown_others=shown_others):
        number, seed = record.params[FINALIST_PARAM], record.params[SEED_PARAM]
        if (number, seed) in points:
            found.setdefault(number, []).append(_training(outcome, record, tested))
    for own in found.values():
        own.sort(key=lambda training: training.seed)
    return found


def _training(outcome: SweepOutcome, record: TrialRecord, tested: HeldOut) -> Training:
    described = json.loads(storage.read_bytes(f"{best_bundle(outcome.sweep, record)}/{JSON_NAME}"))
    extra = described["extra"]
    return Training(
        record=record,
        seed=record.params[SEED_PARAM],
        counts=tested.counts,
        kinds=tested.kinds,
        weights_sha256=described["weights_sha256"],
        commit=extra.get("git.commit"),
        changed=extra.get("git.changed") == "True",
    )
