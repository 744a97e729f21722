"""What it costs to find a good configuration: ours against random search, on learning curves that were recorded.

    python -m infra.bench.search.search_cost --figure docs/search_cost.png

The curves are those of real trials on a grid over `quickstart` (`record_curves`). A search is simulated on them: the
product's own searcher and early stopping, called as Tune calls them, over `--slots` trials at a time. A suggestion
trains as the recorded trial nearest to it that the search has not had: of the same choices, with the nearest rate. Each
search has a range of its own, seven of the table's ten rates, so that the best ones lie anywhere in it.

A trial's score is that of its best epoch. A search has found what it was for when a trial that has trained all its
epochs scores among the best 5 % of those trials; what it has cost are the epochs that all its trials have reported by
then (and the seconds these took). The peer is random search that stops nothing; the other rows take one thing from
ours.
"""

from __future__ import annotations

import dataclasses
import gzip
import json
import math
import statistics
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import ray
from numpy.typing import NDArray

from infra.bench.measure import OURS, RESULTS, finish, parser, stamp
from infra.bench.search.plain_tune import PlainAsha, PlainSearch
from infra.bench.search.simulated_tune import KeepAndTell, LocalBoard, Report, Searching, Stopping, simulate
from infra.bench.search.wide_rates import with_rates
from infra.record.folder import SweepStore
from infra.record.groupings import variant_of
from infra.record.trials import COMPLETE, TrialRecord
from infra.search.fairness import make_fair
from infra.search.proposals import SearchSettings
from infra.search.samplers import DEFAULT
from infra.search.scheduler import GracefulStopping
from infra.search.searcher import StudySearcher
from infra.search.stoppers import StopperSettings, make_stopper
from search_spaces.quickstart import QUICKSTART
from trainables.training.reports import FOUND, LOSS, OBJECTIVE

TABLE = RESULTS / "quickstart_curves.json.gz"
DESIGN, HELD_OUT = HALVES = "design", "held-out"
"""What forecasts know of curves, and what they know nothing of."""
WINDOW = 7
"""Of the ten rates of the table, those that one search may choose."""
RANDOM = "random"
BEST_SHARE = 0.05
MOST_EPOCHS = 5_000
"""A search that has found nothing by then gives up."""
DRAWN_EPOCHS = 400
SLOTS = 2
BY = "fusion"
"""What searches are fair to."""
REPORTED = (OBJECTIVE, LOSS, FOUND)


class CurveTable:
    """Recorded trials, found by their parameters.

    Args:
        trials: parameters, and for each epoch the objective and its seconds (`epoch_s`).
    """

    def __init__(self, trials: Sequence[dict[str, Any]]) -> None:
        self.trials = list(trials)
        self._scores = np.array([min(trial[OBJECTIVE]) for trial in trials])
        self._rates = np.log([trial["params"]["lr"] for trial in trials])
        self._choices = [{k: v for k, v in trial["params"].items() if k != "lr"} for trial in trials]

    @classmethod
    def read(cls, path: Path) -> CurveTable:
        return cls(json.loads(gzip.decompress(path.read_bytes()))["trials"])

    @property
    def epochs(self) -> int:
        return len(self.trials[0][OBJECTIVE])

    def target(self, share: float = BEST_SHARE) -> float:
        """The score that this share of the trials reach."""
        return float(np.sort(self._scores)[max(1, math.floor(share * len(self.trials))) - 1])

    def nearest(self, params: dict[str, Any], used: Collection[int] = ()) -> int:
        """Of those not used yet, the trial with the most of these choices and, among them, the nearest rate."""
        other = [sum(params[k] != v for k, v in choices.items()) for choices in self._choices]
        again = np.isin(np.arange(len(self.trials)), list(used))
        return int(np.lexsort((np.abs(self._rates - math.log(params["lr"])), other, again))[0])

    @property
    def rates(self) -> tuple[float, float]:
        """The lowest and the highest."""
        low, high = np.exp([self._rates.min(), self._rates.max()])
        return float(low), float(high)

    def window(self, seed: int) -> CurveTable:
        """The trials with `WINDOW` neighbouring rates, so that the best ones lie anywhere in the range."""
        rates = sorted({trial["params"]["lr"] for trial in self.trials})
        first = seed % max(1, len(rates) - WINDOW + 1)
        kept = rates[first : first + WINDOW]
        return CurveTable([trial for trial in self.trials if trial["params"]["lr"] in kept])

    def half(self, name: str) -> CurveTable:
        """One of `HALVES`, drawn at random."""
        order, middle = np.random.default_rng(0).permutation(len(self.trials)), len(self.trials) // 2
        kept = {DESIGN: order[:middle], HELD_OUT: order[middle:]}[name]
        return CurveTable([self.trials[i] for i in sorted(kept)])


@dataclass(frozen=True, kw_only=True)
class Method:
    """A way to search."""

    sampler: str = DEFAULT
    stopper: str = "asha"
    grace_epochs: int = QUICKSTART.grace_epochs
    reduction: int = QUICKSTART.reduction
    first: bool = True
    """Begin with the space's first points."""
    fair: bool = True
    """Of early stopping, to fusions (`infra.search.fairness`)."""


PLAIN = "Optuna's TPE, Ray's ASHA"
METHODS: dict[str, Method | None] = {
    OURS: Method(),
    "ours, no first points": Method(first=False),
    "by forecast": Method(sampler="forecast", stopper="forecast", first=False),
    "TPE, forecast": Method(stopper="forecast", first=False),
    "random, forecast": Method(sampler="random", stopper="forecast", first=False),
    PLAIN: None,
    "TPE, no stopping": Method(first=False, stopper="none"),
    "random, ASHA": Method(sampler="random", first=False),
    RANDOM: Method(sampler="random", stopper="none", first=False),
}
DRAWN = (OURS, "by forecast", PLAIN, RANDOM)
"""In the figure."""


class Unkept(SweepStore):
    """A sweep's folder of which nothing is written."""

    def write(self, record: TrialRecord) -> None:
        pass


@dataclass
class Search:
    """How one search went."""

    epochs: float = math.inf
    """Cost in epochs until it found what it was for; infinite when it did not."""
    seconds: float = math.inf
    trials: int = 0
    steps: list[tuple[int, float]] = dataclasses.field(default_factory=list)
    """Cost in epochs, and the best score of a trial trained in full by then, each time that improved."""


@dataclass
class Simulation:
    """A search on recorded curves, report by report."""

    reports: Iterator[tuple[float, TrialRecord]]
    """Simulated seconds, and the record after the report."""
    curves: dict[int, dict[str, Any]]
    """The recorded trial behind each trial that has begun, by number."""

    def seconds(self, record: TrialRecord) -> float:
        """Of the last epoch."""
        return float(self.curves[record.number]["epoch_s"][len(record.reports) - 1])


def simulation(table: CurveTable, method: Method | None, seed: int, slots: int, trials: int) -> Simulation:
    """A method's search; nothing for a method is Ray's and Optuna's own (`infra.bench.search.plain_tune`)."""
    asked = method or Method(first=False)
    space = with_rates(*table.rates)
    if not asked.first:
        space = dataclasses.replace(space, first=())
    fixed = {"training.epochs": table.epochs}
    rule = StopperSettings(
        max_epochs=table.epochs, grace_epochs=asked.grace_epochs, reduction=asked.reduction, seed=seed
    )
    board = LocalBoard()
    searcher: Searching
    stopping: Stopping
    if method is None:
        searcher, stopping = PlainSearch(space, fixed, seed), PlainAsha(rule, board)
    else:
        settings = SearchSettings(space=space, trials=trials, fixed=fixed, seed=seed, sampler=asked.sampler)
        searcher = StudySearcher(settings, Unkept("/nowhere", "simulated"), [], is_over=lambda: False)
        by = partial(variant_of, by=BY)
        stopper = make_fair(asked.stopper, rule, by) if asked.fair else make_stopper(asked.stopper, rule)
        stopping = GracefulStopping(stopper, board, lambda: False, searcher.record_of)  # type: ignore[arg-type]
    curves: dict[int, dict[str, Any]] = {}
    used: set[int] = set()

    def next_report(record: TrialRecord, epoch: int) -> tuple[Report, float]:
        if epoch == 1:
            place = table.nearest(record.params, used)
            used.add(place)
            curves[record.number] = table.trials[place]
        trial = curves[record.number]
        return {"epoch": epoch, **{key: trial[key][epoch - 1] for key in REPORTED if key in trial}}, trial["epoch_s"][
            epoch - 1
        ]

    return Simulation(simulate(searcher, stopping, board, KeepAndTell(searcher, stopping), slots, next_report), curves)


def search(table: CurveTable, method: Method | None, seed: int, slots: int, least: int, most: int) -> Search:
    """Simulate one search until it has found what it is for, but for `least` epochs at least and `most` at most."""
    found, target, best = Search(), table.target(), math.inf
    seconds, simulated = 0.0, simulation(table, method, seed, slots, trials=most)
    for epochs, (_, record) in enumerate(simulated.reports, start=1):
        seconds += simulated.seconds(record)
        if record.state == COMPLETE and record.best and record.best[OBJECTIVE] < best:
            best = record.best[OBJECTIVE]
            found.steps.append((epochs, best))
            if best <= target and math.isinf(found.epochs):
                found.epochs, found.seconds, found.trials = epochs, seconds, len(simulated.curves)
        if epochs >= most or (epochs >= least and not math.isinf(found.epochs)):
            break
    return found


# --- many searches ----------------------------------------------------------------------------------------------------


def searches(
    table: CurveTable, methods: Mapping[str, Method | None], seeds: int, slots: int, least: int, most: int
) -> dict[str, list[Search]]:
    """Each method with the same seeds."""
    return {
        name: [
            search(table.window(seed), method, seed, slots, least if name in DRAWN else 0, most)
            for seed in range(seeds)
        ]
        for name, method in methods.items()
    }


def summary(found: Mapping[str, Sequence[Search]]) -> dict[str, dict[str, Any]]:
    """Median and quartiles of the cost in epochs, and the medians of seconds and trials, for each method."""
    return {
        name: {
            "epochs": spread([one.epochs for one in runs]),
            "seconds": spread([one.seconds for one in runs])["median"],
            "trials": statistics.median(one.trials for one in runs),
            "unfound": sum(math.isinf(one.epochs) for one in runs),
        }
        for name, runs in found.items()
    }


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median and quartiles, where some may be infinite."""
    low, median, high = np.quantile(values, [0.25, 0.5, 0.75], method="inverted_cdf")
    return {"median": float(median), "low": float(low), "high": float(high)}


def best_by_cost(runs: Sequence[Search], costs: NDArray[np.int64]) -> NDArray[np.float64]:
    """(runs, costs): the best score of a trial trained in full by the time that cost is paid; 1 before the first."""
    best = np.ones((len(runs), len(costs)))
    for row, run in zip(best, runs, strict=True):
        for epochs, score in run.steps:
            row[costs >= epochs] = score
    return best


def plot(found: Mapping[str, Sequence[Search]], target: float, until: int, path: Path) -> None:
    """Best so far against cost: the median over seeds, and its quartiles as a band."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    costs = np.arange(1, until + 1)
    figure, axes = plt.subplots(figsize=(7.2, 4.0), dpi=100)
    for name, runs in found.items():
        low, median, high = np.quantile(best_by_cost(runs, costs), [0.25, 0.5, 0.75], axis=0)
        (line,) = axes.step(costs, median, where="post", label=name, linewidth=2.2 if name in (OURS, RANDOM) else 1.2)
        if name in (OURS, RANDOM):
            axes.fill_between(costs, low, high, step="post", color=line.get_color(), alpha=0.18, linewidth=0)
    axes.axhline(target, color="0.4", linestyle=":", label=f"best {100 * BEST_SHARE:.0f} % of the table")
    axes.set(xlabel="epochs trained by all trials", ylabel="best SELD of a trial trained in full", xlim=(0, until))
    axes.set_ylim(bottom=target - 0.04, top=0.3)
    axes.legend(frameon=False, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(__doc__, repeats=1)
    options.add_argument("--table", type=Path, default=TABLE, help="recorded curves (default %(default)s)")
    options.add_argument("--seeds", type=int, default=200, help="searches of each method (default %(default)s)")
    options.add_argument("--slots", type=int, default=SLOTS, help="trials at a time (default %(default)s)")
    options.add_argument("--half", choices=HALVES, help="search one half of the table")
    options.add_argument("--figure", type=Path, help="draw the best so far against its cost")
    chosen = options.parse_args(arguments)
    table = CurveTable.read(chosen.table)
    if chosen.half is not None:
        table = table.half(chosen.half)
    started = time.monotonic()
    drawn = DRAWN_EPOCHS if chosen.figure else 0
    found = searches(table, METHODS, chosen.seeds, chosen.slots, drawn, MOST_EPOCHS)
    methods = summary(found)
    print(f"{'search':<24}{'epochs':>8}{'quartiles':>14}{'seconds':>9}{'trials':>8}{'ours costs less by':>20}")
    for name, cost in methods.items():
        epochs = cost["epochs"]
        cost["ratio"] = epochs["median"] / methods[OURS]["epochs"]["median"]
        cost["ratio_seconds"] = cost["seconds"] / methods[OURS]["seconds"]
        print(
            f"{name:<24}{epochs['median']:>8.0f}{epochs['low']:>7.0f}{epochs['high']:>7.0f}{cost['seconds']:>9.0f}"
            f"{cost['trials']:>8.0f}{cost['ratio']:>18.2f} x"
        )
    if chosen.figure:
        plot({name: found[name] for name in DRAWN}, table.target(), DRAWN_EPOCHS, chosen.figure)
    slots = [f"{chosen.slots}_slots"] if chosen.slots != SLOTS else []
    outcome = {
        "benchmark": "_".join(["search_cost", *([chosen.half.replace("-", "_")] if chosen.half else []), *slots]),
        "unit": "search",
        "methods": methods,
        "target": table.target(),
        "parameters": {
            "trials_in_table": len(table.trials),
            "half": chosen.half,
            "seeds": chosen.seeds,
            "slots": chosen.slots,
            "best_share": BEST_SHARE,
        },
        "took_s": time.monotonic() - started,
        **stamp(),
        "ray": ray.__version__,
        "optuna": optuna.__version__,
    }
    finish(outcome, chosen.save)


if __name__ == "__main__":
    main()
