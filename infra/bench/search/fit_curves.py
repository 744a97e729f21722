"""What forecasts know of learning curves before a sweep has any: mean and covariance of half of the recorded ones.

    python -m infra.bench.search.fit_curves

The other half says what forecasts are worth, since nothing was chosen by it (`search_cost --half held-out`).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from infra.bench.search.search_cost import DESIGN, REPORTED, TABLE, CurveTable
from infra.search.forecast import POINTS, RECORDED, CurvePrior, Forecasts


def prior_of(table: CurveTable) -> CurvePrior:
    """That of all curves of a table."""
    size = 2 * POINTS + 1
    forecasts = Forecasts(CurvePrior(mean=np.zeros(size), covariance=np.eye(size)))
    for number, trial in enumerate(table.trials):
        config = {"training": {"epochs": table.epochs}}
        for epoch in range(1, table.epochs + 1):
            forecasts.hear(number, config, {"epoch": epoch, **{key: trial[key][epoch - 1] for key in REPORTED}})
    return CurvePrior.of(np.array([forecasts.points(number) for number in range(len(table.trials))]))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, default=TABLE, help="recorded curves (default %(default)s)")
    parser.add_argument("--out", type=Path, default=RECORDED)
    chosen = parser.parse_args(arguments)
    table = CurveTable.read(chosen.table).half(DESIGN)
    prior_of(table).write(chosen.out)
    print(f"{len(table.trials)} curves of {table.epochs} epochs in {chosen.out}")


if __name__ == "__main__":
    main()
