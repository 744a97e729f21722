"""How often a search names the variant that is best: early stopping that is fair to variants, against ASHA alone.

    python -m infra.bench.search.fair_naming

On the learning curves of `search_cost`. The best variants are those whose best trial of the whole table, all of which
trained in full, is as good as the best of all but for what another seed may change (`ALIKE`). A search of so many
epochs, without first points, names the variant of its best trial: ours among those that trained in full; the peer,
Ray's ASHA with Optuna's TPE, among all, by the best score of each.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.bench.measure import OURS, finish, parser, stamp
from infra.bench.search.search_cost import BY, HALVES, PLAIN, TABLE, CurveTable, Method, simulation
from infra.record.groupings import variant_of
from infra.record.trials import COMPLETE
from trainables.training.reports import OBJECTIVE

SIDES: dict[str, Method | None] = {
    OURS: Method(first=False),
    "by forecast": Method(sampler="forecast", stopper="forecast", first=False),
    PLAIN: None,
}


@dataclass(frozen=True)
class Named:
    """What a search came to."""

    variant: str | None
    """None: no trial trained in full."""
    in_full: dict[str, int]
    """Trials that trained in full, by variant."""


ALIKE = 0.01
"""The standard deviation of SELD over seeds of one config (`decide` of `quickstart`)."""


def best_variants(table: CurveTable) -> list[str]:
    """The variants with the best trials of the table."""
    best: dict[str, float] = {}
    for trial in table.trials:
        name, score = str(trial["params"][BY]), min(trial[OBJECTIVE])
        best[name] = min(best.get(name, score), score)
    return sorted(name for name, score in best.items() if score < min(best.values()) + ALIKE)


def named(table: CurveTable, method: Method | None, seed: int, slots: int, epochs: int) -> Named:
    """What one search names after so many epochs of all its trials."""
    best: dict[str, float] = {}
    in_full: dict[str, int] = {}
    for spent, (_, record) in enumerate(simulation(table, method, seed, slots, trials=epochs).reports, start=1):
        name, scored = variant_of(record, BY), record.best
        if record.state == COMPLETE:
            in_full[name] = in_full.get(name, 0) + 1
        if scored and (method is None or record.state == COMPLETE):
            best[name] = min(best.get(name, scored[OBJECTIVE]), scored[OBJECTIVE])
        if spent >= epochs:
            break
    return Named(min(best, key=best.__getitem__, default=None), in_full)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(__doc__, repeats=1)
    options.add_argument("--table", type=Path, default=TABLE, help="recorded curves (default %(default)s)")
    options.add_argument("--seeds", type=int, default=200, help="searches of each side (default %(default)s)")
    options.add_argument("--slots", type=int, default=2, help="trials at a time (default %(default)s)")
    options.add_argument("--epochs", type=int, default=320, help="of all trials of a search (default %(default)s)")
    options.add_argument("--half", choices=HALVES, help="search one half of the table")
    chosen = options.parse_args(arguments)
    table = CurveTable.read(chosen.table)
    if chosen.half is not None:
        table = table.half(chosen.half)
    started, truth = time.monotonic(), best_variants(table)
    variants = sorted({str(trial["params"][BY]) for trial in table.trials})
    sides = {}
    for side, method in SIDES.items():
        ended = [named(table, method, seed, chosen.slots, chosen.epochs) for seed in range(chosen.seeds)]
        sides[side] = {
            "right": statistics.mean(one.variant in truth for one in ended),
            "all_in_full": statistics.mean(len(one.in_full) == len(variants) for one in ended),
            "in_full": {name: statistics.mean(one.in_full.get(name, 0) for one in ended) for name in variants},
        }
        print(
            f"{side:<26} names {' or '.join(truth)} in {sides[side]['right']:.1%}; "
            f"every variant has a trial in full in {sides[side]['all_in_full']:.1%}"
        )
    outcome = {
        "benchmark": "fair_naming",
        "unit": "search",
        "best": truth,
        "sides": sides,
        "parameters": {
            "trials_in_table": len(table.trials),
            "half": chosen.half,
            "seeds": chosen.seeds,
            "slots": chosen.slots,
            "epochs": chosen.epochs,
        },
        "took_s": time.monotonic() - started,
        **stamp(),
    }
    finish(outcome, chosen.save)


if __name__ == "__main__":
    main()
