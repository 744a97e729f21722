"""Time until a trial of `quickstart` is good: its recipe against the one that small models are usually trained by.

    python -m infra.bench.model.time_to_score --fusion audio_only --repeats 3

Both sides train the space's first trial with a fusion on `quickstart`'s data until the validation SELD score is
`GOOD_SELD` or the epochs are done; in turns, from another seed each time. The peer has half as many epochs again, for
in ours alone it hardly gets there. A side that does not counts with the time of all its epochs: its ratio is then a
lower bound.
"""

from __future__ import annotations

import tempfile
import time
from typing import Any

import torch
from optuna.trial import FixedTrial

from data.feeding.contract import PreparedRow
from data.feeding.feed import HeldRows
from data.scenes.synth import SynthSettings, synthesise
from data.stores.chunks import Store, read_shard
from infra.bench.measure import OURS, parser, result, show
from infra.sweep.data import moments, statistics_of
from search_spaces.quickstart import QUICKSTART
from trainables.config import TrialConfig
from trainables.config.tree import override
from trainables.inputs.prepare import PrepareRow
from trainables.training.alone import Alone
from trainables.training.checkpoint import TrialStore
from trainables.training.decision import GO_ON, STOP, Decision
from trainables.training.loop import train_trial
from trainables.training.reports import OBJECTIVE

GOOD_SELD = 0.36
PEER = "AdamW"
PEER_LONGER = 1.5
USUAL = {
    "optimiser.name": "adamw",
    "optimiser.lr": 1e-3,
    "inputs.level": "absolute",
    "output.vertical_weight": 1.0,
    "output.active_weight": 1.0,
}
"""What the peer has in place of `quickstart`'s recipe, and pictures without a gate; and `PEER_LONGER` the epochs."""

Splits = dict[str, list[PreparedRow]]


class UntilGood(Alone):
    """Stops once the score is good."""

    def report(self, metrics: dict[str, float]) -> Decision:
        super().report(metrics)
        return STOP if metrics[OBJECTIVE] <= GOOD_SELD else GO_ON


def configs(fusion: str, seed: int, **fixed: Any) -> dict[str, TrialConfig]:
    """Each side's trial."""
    point = next(point for point in QUICKSTART.first if point["fusion"] == fusion)
    ours = override(QUICKSTART.suggest(FixedTrial(point)), {"training.seed": seed, **fixed})
    gate = {"fusion.visual_gate": False} if ours.fusion.visual_gate else {}
    epochs = {"training.epochs": round(PEER_LONGER * ours.training.epochs)}
    return {OURS: ours, PEER: override(ours, {**USUAL, **gate, **epochs})}


def decoded(store: Store, config: TrialConfig) -> Splits:
    """The rows that both sides train and are scored on."""
    prepare = PrepareRow(config.inputs, config.columns)
    return {
        split: [prepare(row) for shard in store.split(split).shards for row in read_shard(store, shard)]
        for split in ("train", "val")
    }


def train(config: TrialConfig, splits: Splits) -> list[float]:
    """Train until the score is good; the score of each epoch."""
    session = UntilGood(torch.device("cpu"), {split: HeldRows(rows) for split, rows in splits.items()})
    statistics = statistics_of([moments(row["features"], config.inputs.level) for row in splits["train"]])
    with tempfile.TemporaryDirectory() as folder:
        train_trial(config, session, TrialStore(folder), *statistics, provenance={})
    return [report[OBJECTIVE] for report in session.reports]


def measure(fusion: str, seeds: int, scenes: SynthSettings, **fixed: Any) -> dict[str, Any]:
    """The outcome for the space's first trial with this fusion; the sides take turns, seed by seed."""
    times: dict[str, list[float]] = {OURS: [], PEER: []}
    scores: dict[str, list[list[float]]] = {OURS: [], PEER: []}
    with tempfile.TemporaryDirectory() as root:
        splits = decoded(synthesise(scenes, root), configs(fusion, 0, **fixed)[OURS])
    for seed in range(seeds):
        for side, config in configs(fusion, seed, **fixed).items():
            started = time.perf_counter()
            scores[side].append(train(config, splits))
            times[side].append(1000 * (time.perf_counter() - started))
            print(f"seed {seed}, {side}: SELD by epoch {' '.join(f'{score:.3f}' for score in scores[side][-1])}")
    return result(
        f"time_to_score_{fusion}",
        f"trial until SELD <= {GOOD_SELD}",
        times,
        {"space": QUICKSTART.name, "fusion": fusion, "seeds": seeds, "usual": USUAL, "peer_longer": PEER_LONGER},
        epochs={side: [len(run) for run in runs] for side, runs in scores.items()},
        reached={side: [run[-1] <= GOOD_SELD for run in runs] for side, runs in scores.items()},
    )


def main() -> None:
    options = parser(__doc__, repeats=3)
    options.add_argument("--fusion", default="audio_only", help="of the trial (default %(default)s)")
    asked = options.parse_args()
    torch.set_num_threads(asked.threads)
    show(measure(asked.fusion, asked.repeats, SynthSettings()), asked.save)


if __name__ == "__main__":
    main()
