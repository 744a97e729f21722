"""What reaches a real server of a sweep: no more a second than is allowed, a model with few requests, and no secret."""

from __future__ import annotations

import time
from pathlib import Path

import mlflow
import pytest
from mlflow.entities import LoggedModelStatus, Metric, Param
from optuna.distributions import CategoricalDistribution, distribution_to_json

from infra.models.packing import CODE
from infra.models.register import CHALLENGER, evidence_of, faults_of
from infra.provenance.secrets import MASK
from infra.record.trials import FAILED
from infra.tracking.tracker import SweepTracker
from infra.tracking.writer import Limits
from support.registered_models import register_untrained
from support.tested_models import evidence
from support.tracked_trials import EXPERIMENT, end, new_record, report
from support.tracking_server import Server
from trainables.training.reports import OBJECTIVE


@pytest.mark.slow
def test_many_trials_stay_below_the_rate(server: Server, moments: list[float]) -> None:
    limits = Limits(requests_per_s=60.0, burst=5)
    tracker = SweepTracker(server.url, EXPERIMENT, "many", {}, limits=limits)
    tracker.watch(lambda: {"system/cpus": 2.0}, every_s=1.0)
    records = [new_record(number) for number in range(100)]
    longest = 0
    started = time.monotonic()
    for epoch in range(1, 6):
        for record in records:
            record.add_report(report(record.number, epoch))
            if epoch == 5:
                end(record)
            tracker.update(record)
        time.sleep(1.0)
        longest = max(longest, int(tracker.unwritten().split()[0]))
    assert tracker.flush(300.0)
    seconds = time.monotonic() - started
    assert longest <= 100
    for index, moment in enumerate(moments):
        within = sum(moment <= other < moment + 1.0 for other in moments[index:])
        assert within <= limits.requests_per_s + limits.burst + 1  # a file's two requests may be apart
    print(f"{len(moments)} requests for 500 reports of 100 trials in {seconds:.1f} s; {longest} trials waited at most")
    assert len(moments) < 800
    assert tracker.close("FINISHED")
    _, children = server.runs("many")
    assert {run.info.status for run in children} == {"FINISHED"}
    assert {run.data.metrics["epoch"] for run in children} == {5.0}
    client = mlflow.MlflowClient(server.url)
    for run in children[::20]:
        assert [m.step for m in client.get_metric_history(run.info.run_id, OBJECTIVE)] == [1, 2, 3, 4, 5]
    seen = client.get_metric_history(tracker.parent_id, "system/trials_running")
    assert len(seen) >= 3
    assert [m.step for m in seen] == sorted(m.step for m in seen)
    # A sampler that fails ends nothing else.
    resting = SweepTracker(server.url, EXPERIMENT, "rests", {}, limits=limits)
    resting.watch(lambda: {"system/cpus": 1.0 / 0})
    resting.update(records[0])
    assert resting.close("FINISHED")
    assert len(server.runs("rests")[1]) == 1


@pytest.mark.slow
def test_a_model_is_registered_and_fetched_with_few_requests(
    server: Server, moments: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By files it was 320: one for each file of the code, and one for each metric of the run."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    client = mlflow.MlflowClient()
    experiment = client.create_experiment("models")
    run = client.create_run(experiment).info
    client.log_batch(run.run_id, [Metric(f"metric/{n}", 0.5, 0, 1) for n in range(50)], [Param("lr", "0.1")])
    client.set_terminated(run.run_id)
    ended = client.get_run(run.run_id).info
    moments.clear()
    version = register_untrained(tmp_path, run.run_id, alias=CHALLENGER, evidence=evidence())
    assert len(moments) <= 25
    moments.clear()
    fetched = Path(mlflow.artifacts.download_artifacts(version.uri, dst_path=str(tmp_path / "fetched")))
    assert len(moments) <= 20
    assert (fetched / CODE).is_file()
    assert faults_of(version) == []
    assert evidence_of(version) == evidence()
    # The run is as it was, and has the model.
    assert client.get_run(run.run_id).info == ended
    (logged,) = client.search_logged_models([experiment])
    assert (logged.source_run_id, logged.params, logged.status) == (run.run_id, {"lr": "0.1"}, LoggedModelStatus.READY)
    assert [model.model_id for model in client.get_run(run.run_id).outputs.model_outputs] == [logged.model_id]
    # Once more: nothing is there twice.
    assert register_untrained(tmp_path, run.run_id, alias=CHALLENGER, evidence=evidence()) == version
    assert len(client.search_logged_models([experiment])) == 1


@pytest.mark.slow
def test_no_secret_of_the_environment_reaches_the_server(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = {"AWS_SECRET_ACCESS_KEY": "planted-secret-one", "SOME_API_TOKEN": "planted-secret-two"}
    for name, value in planted.items():
        monkeypatch.setenv(name, value)
    said = " and ".join(planted.values())
    tracker = SweepTracker(server.url, EXPERIMENT, "secret", {"harmless": "visible-tag", "leaky": said})
    record = new_record(0)
    record.params["place"] = f"https://host/{said}"
    record.distributions["place"] = distribution_to_json(CategoricalDistribution([record.params["place"]]))
    record.add_report(report(0, 1))
    end(record, FAILED)
    record.error = f"visible-error: cannot sign with {said}"
    tracker.update(record)
    tracker.log_sweep({"leaky": said}, {}, {"leaky": said})
    (tmp_path / "leaky.txt").write_text(f"visible-file {said}")
    tracker.log_file(tmp_path / "leaky.txt")
    tracker.log_text("leaky.md", said)
    assert tracker.close("FINISHED")
    everything = b"".join(path.read_bytes() for path in server.folder.rglob("*") if path.is_file())
    for visible in ("visible-tag", "visible-error", "visible-file", MASK):
        assert visible.encode() in everything
    assert b"planted-secret" not in everything
