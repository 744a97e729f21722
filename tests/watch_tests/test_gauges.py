"""What a sweep tells Prometheus: from the overview to the text that Ray's agent serves, on a real Ray node."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest
import ray
import requests

from infra.bench.search.own_ray import own_ray
from infra.watch.gauges import SweepGauges
from support.overviews import look

K8S = Path(__file__).parents[2] / "k8s"


@pytest.mark.slow
def test_every_metric_of_the_dashboard_is_served() -> None:
    with own_ray(num_cpus=1):
        gauges, overview = SweepGauges("deep"), look()
        port = next(node["MetricsExportPort"] for node in ray.nodes())
        deadline, text = time.monotonic() + 60, ""
        while "ray_seldtune_tracking_pending" not in text and time.monotonic() < deadline:
            gauges.show(overview, pending=3)
            time.sleep(1)
            text = requests.get(f"http://127.0.0.1:{port}", timeout=10).text
    served = {
        name: {tuple(sorted(re.findall(r'(?:sweep|state)="[^"]+"', tags))): float(value) for tags, value in found}
        for name in ("best_seld", "trials", "budget_spent_ratio", "tracking_pending")
        if (found := re.findall(rf"^ray_seldtune_{name}{{(.*)}} (\S+)$", text, re.M))
    }
    sweep = 'sweep="deep"'
    assert overview.best is not None
    assert served["best_seld"] == {(sweep,): overview.best.scores["SELD"]}
    assert served["trials"] == {(f'state="{state}"', sweep): count for state, count in overview.counts.items()}
    assert served["tracking_pending"] == {(sweep,): 3}
    assert 0 < served["budget_spent_ratio"][(sweep,)] < 1
    dashboard = json.dumps(json.loads((K8S / "components" / "monitoring" / "sweeps.json").read_text()))
    assert {f"ray_seldtune_{name}" for name in served} == set(re.findall(r"ray_seldtune_\w+", dashboard))
