"""From sweeps on storage to a report in a folder and in MLflow (what the report says: `infra.comparison.compare`)."""

from __future__ import annotations

import json
import logging
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException

from data import storage
from data.errors import UserError
from infra.comparison.compare import Comparison
from infra.comparison.page.page import page
from infra.comparison.tables import markdown, trials_csv, variants_csv
from infra.comparison.trials import LoadedSweep
from infra.record.folder import FINALS_NAME, SweepStore, require_plugins
from infra.stack.answers import mlflow_answers
from infra.tracking.tracker import SWEEP_TAG

logger = logging.getLogger(f"seldtune.{__name__}")

FOLDER = "comparison"
"""In the artifacts of a sweep's run."""
PAGE_NAME = "comparison.html"


def load_sweeps(root: str, names: Sequence[str], by: str = "fusion") -> list[LoadedSweep]:
    """The records of these sweeps.

    Args:
        by: what is compared; what was decided by that comes along.

    Raises:
        UserError: one of them does not exist, or was run with a plugin that is not loaded.
    """
    sweeps = []
    for name in names:
        store = SweepStore(root, name)
        settings = store.settings()
        if settings is None:
            raise UserError(f"there is no sweep {name!r} below {root}/sweeps; check the name")
        require_plugins(name, settings)
        finals, decision = _document(f"{store.uri}/{FINALS_NAME}"), _document(store.decision_uri(by))
        # Finals of an earlier version had no controls.
        tested = finals.get("gains", ()) if finals else ()
        sweeps.append(
            LoadedSweep(name=name, settings=settings, records=store.trials(), tested=tested, decision=decision)
        )
    return sweeps


def _document(uri: str) -> dict[str, Any] | None:
    return json.loads(storage.read_bytes(uri)) if storage.exists(uri) else None


def report_files(comparison: Comparison) -> dict[str, str]:
    """Name -> content; the page comes last, so that where it lies the others do too."""
    return {
        "comparison.md": markdown(comparison),
        "trials.csv": trials_csv(comparison),
        "variants.csv": variants_csv(comparison),
        "comparison.json": json.dumps(comparison.as_json(), indent=2) + "\n",
        PAGE_NAME: page(comparison),
    }


def write_files(files: Mapping[str, str], folder: str) -> str:
    """Write the report; each file appears whole or not at all. Returns where the page lies."""
    root = folder.rstrip("/") if storage.is_remote(folder) else str(Path(os.path.expanduser(folder)).absolute())
    for name, content in files.items():
        storage.write_bytes(f"{root}/{name}", content.encode())
    return f"{root}/{PAGE_NAME}"


def log_comparison(comparison: Comparison, files: Mapping[str, str], tracking_uri: str | None) -> list[str]:
    """Attach the report to the run of each of its sweeps, and its key figures as metrics; doing it again replaces it.

    The report does not depend on MLflow: without it, or where it holds no run of a sweep, a line says so. Returns the
    pages of the runs.
    """
    if not tracking_uri or mlflow_answers(tracking_uri) is False:
        logger.warning("MLflow does not answer: the comparison is not kept there; the same command does so later")
        return []
    client = mlflow.MlflowClient(tracking_uri)
    pages = []
    try:
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        for name in comparison.sweeps:
            query = f"tags.`{SWEEP_TAG}` = '{name}' and tags.`seldtune.kind` = 'sweep'"
            runs = client.search_runs(experiments, query, max_results=1)
            if not runs:
                logger.warning("MLflow holds no run of sweep %r: the comparison is not kept there", name)
                continue
            _log(client, runs[0].info.run_id, comparison, files)
            where = f"experiments/{runs[0].info.experiment_id}/runs/{runs[0].info.run_id}"
            pages.append(f"{tracking_uri.rstrip('/')}/#/{where}/artifacts")
    except (MlflowException, OSError) as error:
        logger.warning("MLflow: %s; the comparison is not kept there", str(error).splitlines()[0])
    return pages


def _log(client: mlflow.MlflowClient, run_id: str, comparison: Comparison, files: Mapping[str, str]) -> None:
    now = int(time.time() * 1000)
    figures = {
        # MLflow takes no comma in a name, and "gru, eyes closed" has one.
        f"comparison/{variant.name.replace(',', '')}/{name}": value
        for variant in comparison.variants
        for name, value in (
            ("median", variant.median),
            ("low", variant.interval.low if variant.interval else None),
            ("high", variant.interval.high if variant.interval else None),
            ("p_better", variant.test.superiority if variant.test else None),
            ("p_holm", variant.p_holm),
        )
        if value is not None
    }
    client.log_batch(run_id, metrics=[Metric(key, value, now, 0) for key, value in figures.items()])
    with tempfile.TemporaryDirectory() as scratch:
        for name, content in files.items():
            (Path(scratch) / name).write_text(content)
        client.log_artifacts(run_id, scratch, FOLDER)
