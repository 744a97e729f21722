"""Where a sweep stands: what its request finds on storage, read before anything is written, decoded or run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import mlflow

from data import storage
from data.classes import STARSS23
from data.errors import UserError
from data.stores.chunks import Store
from data.stores.mix import SOURCE as MIXED
from data.stores.mix import parts_text
from infra.cluster.join import cluster_name
from infra.provenance.checkout import source_version
from infra.record.budget import Ledger
from infra.record.claim import read_driver, require_free
from infra.record.folder import SweepStore, put_right
from infra.record.trials import TrialRecord
from infra.search.evidence import too_little_gain
from infra.search.warm_start import earlier_trials, kept
from infra.stack.answers import require_answers
from infra.stack.settings import Settings
from infra.sweep.data import find_store, preparation
from infra.sweep.request import SettledRequest
from infra.tracking.experiment import EXPERIMENT, require_experiment
from trainables.config import TrialConfig
from trainables.inputs.prepare import PrepareRow
from trainables.networks.pretrained import require_weights


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A sweep that has been found possible, and how far it is."""

    asked: SettledRequest
    store: Store
    prepare: PrepareRow
    sweep: SweepStore
    settings: dict[str, Any]
    """What must not change while the sweep lives."""
    records: list[TrialRecord]
    """Its trials; new ones are added as they come."""
    put_right: list[TrialRecord]
    """Those that `infra.record.folder.put_right` changed, still to be written."""
    earlier: list[TrialRecord]
    """Trials of other sweeps that the sampler goes by."""
    begun: bool
    """Whether an earlier start wrote `earlier` down."""
    ledger: Ledger
    owed: int
    """Trials still to be run or continued."""

    @cached_property
    def tags(self) -> dict[str, str]:
        """Where its results come from."""
        return {
            "data": self.store.manifest.sha256,
            "data.parts": parts_text(self.store),
            **source_version(),
        }


def look_up(asked: SettledRequest, settings: Settings, *, claiming: bool = False) -> Standing:
    """Read what is there of the sweep and its data, and check what can be checked without writing or decoding anything.

    Args:
        claiming: refuse as well what another driver runs.

    Raises:
        UserError: the sweep cannot be run as asked.
    """
    storage.check_root(settings.root)
    require_answers(settings)
    require_experiment(settings.mlflow_tracking_uri)
    store = find_store(asked.data_uri, settings.root)
    store.check()
    data_sha256 = store.manifest.sha256
    lasting = asked.lasting(data_sha256)
    asked = asked.fixing(classes_fixed(asked.configs, store))
    prepare = preparation(asked.configs, data_sha256)
    require_weights(asked.configs)
    _require_added(asked.configs, store)
    sweep = SweepStore(settings.root, asked.name)
    last = require_free(sweep.uri, sweep.name, cluster_name(settings)) if claiming else read_driver(sweep.uri)
    records = sweep.trials() if sweep.check(lasting, asked.search.space.decides) else []
    before = kept(sweep)
    earlier = before or []
    if before is None and asked.warm_start:
        client, search = mlflow.MlflowClient(settings.mlflow_tracking_uri), asked.search
        earlier = earlier_trials(
            client, EXPERIMENT, asked.warm_start, search.space, data=data_sha256, objectives=search.objectives
        )
    changed = put_right(records, last.beat if last else 0.0)
    spent_s = max([record.budget_spent_s for record in records] + [last.facts["spent_wall_s"] if last else 0.0])
    ledger = Ledger(asked.budget, records, spent_s)
    enough = too_little_gain(records, asked.by, asked.budget.least_gain)
    return Standing(
        asked=asked,
        store=store,
        prepare=prepare,
        sweep=sweep,
        settings=lasting,
        records=records,
        put_right=changed,
        earlier=earlier,
        begun=before is not None,
        ledger=ledger,
        owed=0 if ledger.used_up() else trials_owed(records, len(records) if enough else asked.budget.trials),
    )


def classes_fixed(configs: Sequence[TrialConfig], store: Store) -> dict[str, Any]:
    """The fields that give configs the classes of their data.

    Raises:
        UserError: a config has others of its own.
    """
    classes = store.manifest.classes
    for config in configs:
        if config.classes not in (STARSS23, classes):
            raise UserError(f"classes = {config.classes}: those of a trial are its data's ({classes}); leave them out")
    return {} if classes == STARSS23 else {"classes.names": classes.names, "classes.short_names": classes.short_names}


def _require_added(configs: Sequence[TrialConfig], store: Store) -> None:
    """UserError where a config wants a share of windows from what was added to a store that nothing was added to."""
    shares = [config.training.added_share for config in configs if config.training.added_share]
    if shares and store.manifest.source != MIXED:
        raise UserError(
            f"training.added_share = {shares[0]:g}: nothing was added to {store.root}; `seldtune data mix` makes a "
            "store with more to train on"
        )


def trials_owed(records: Sequence[TrialRecord], trials: int) -> int:
    """How many are to be run or continued where so many are asked for; what was begun is finished in any case."""
    begun = sum(not record.ended for record in records)
    return max(begun, trials - (len(records) - begun))
