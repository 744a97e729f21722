"""Jobs of sweeps on a cluster: who may submit again, a log over broken connections, and how it ends."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from data.errors import UserError
from infra.cluster import jobs
from infra.cluster.job_api import Cluster, open_client
from infra.cluster.jobs import Follower, jobs_of, stop, submit
from support.dashboard import Dashboard, served
from support.submitting import refused, run

pytestmark = pytest.mark.usefixtures("laptop_alone")


def test_a_running_sweep_is_not_submitted_again_and_an_ended_one_goes_on(dashboard: Dashboard) -> None:
    client = open_client(Cluster(url=dashboard.url, token="token-of-cluster"))
    other, new = submit(client, "a-1", "sweep a-1", {})
    assert (other.id, new) == ("seldtune-a-1-1", True)
    first, new = submit(client, "a", "sweep a", {})
    assert (first.id, new) == ("seldtune-a-1", True)
    assert submit(client, "a", "sweep a", {}) == (first, False)
    dashboard.end(first.id, "FAILED", 1)
    assert submit(client, "a", "sweep a", {})[0].id == "seldtune-a-2"
    dashboard.end("seldtune-a-2", "SUCCEEDED")
    for number in range(3, 12):
        submit(client, "a", "sweep a", {})
        dashboard.end(f"seldtune-a-{number}", "SUCCEEDED")
    assert [job.number for job in jobs_of(client, "a")] == list(range(1, 12))
    assert [job.id for job in jobs_of(client, "a-1")] == ["seldtune-a-1-1"]


def test_of_two_who_submit_at_once_one_does(dashboard: Dashboard, monkeypatch: pytest.MonkeyPatch) -> None:
    client = open_client(Cluster(url=dashboard.url, token="token-of-cluster"))
    before, asked = client.submit_job, []

    def late(**options: Any) -> str:
        if not asked:
            asked.append(before(**options))  # the other one's
        return str(before(**options))

    monkeypatch.setattr(client, "submit_job", late)
    job, new = submit(client, "a", "sweep a", {})
    assert (job.id, new, len(dashboard.submitted)) == ("seldtune-a-1", False, 1)


def test_the_log_is_shown_once_over_broken_connections(dashboard: Dashboard) -> None:
    dashboard.log = "".join(f"line {number}\n" for number in range(30))
    dashboard.cuts = [11, 50, 50, 120]
    client = open_client(Cluster(url=dashboard.url, token="token-of-cluster"))
    job, _ = submit(client, "a", "sweep a", {})
    shown: list[str] = []

    def write(text: str) -> None:
        shown.append(text)
        if "".join(shown) == dashboard.log:
            dashboard.end(job.id, "SUCCEEDED")

    assert Follower(client, job.id, write).follow().state == "SUCCEEDED"
    assert "".join(shown) == dashboard.log
    assert dashboard.connections == 5


def test_a_cluster_that_is_away_is_waited_for_and_its_replacement_recognised(
    dashboard: Dashboard, caplog: pytest.LogCaptureFixture
) -> None:
    client = open_client(Cluster(url=dashboard.url, token="token-of-cluster"))
    job, _ = submit(client, "a", "sweep a", {})
    del dashboard.jobs[job.id]
    with pytest.raises(jobs.Gone, match="submit the sweep again, and it goes on"):
        Follower(client, job.id, print).follow()
    with served(Dashboard()) as brief:
        gone = open_client(Cluster(url=brief.url))
    with pytest.raises(UserError, match=r"has not answered for 0 s; job seldtune-a-1 may well run on"):
        Follower(gone, job.id, print, patience_s=0.2).follow()
    assert caplog.text.count("trying again") == 1


def test_a_job_is_over_though_the_end_of_its_log_is_gone(dashboard: Dashboard) -> None:
    client = open_client(Cluster(url=dashboard.url, token="token-of-cluster"))
    job, _ = submit(client, "a", "sweep a", {})
    dashboard.log, dashboard.cuts = "line\n", [5] * 100
    dashboard.end(job.id, "FAILED", 1)
    shown: list[str] = []
    assert Follower(client, job.id, shown.append).follow().state == "FAILED"
    assert shown == ["line\n"]


def test_the_command_ends_as_the_sweep_did(dashboard: Dashboard) -> None:
    dashboard.log = "trial 0\n"
    states = (("SUCCEEDED", 0, 0), ("FAILED", 2, 2), ("FAILED", 0, 1), ("STOPPED", 0, 130))
    for number, (state, exit_code, expected) in enumerate(states, start=1):
        job = f"seldtune-quickstart-{number}"

        def end_once_it_is_there(*told: Any) -> None:
            while told[0] not in dashboard.jobs:
                time.sleep(0.05)
            time.sleep(0.3)  # so that it is followed for a while
            dashboard.end(*told)

        ending = threading.Thread(target=end_once_it_is_there, args=(job, state, exit_code, "No module named infra"))
        ending.start()
        result = run(dashboard, "quickstart", code=expected)
        ending.join()
        assert result.stdout == "trial 0\n"
        assert f"job {job} {state.lower()}" in result.stderr
        assert ("--code sends it" in result.stderr) == (state == "FAILED")


def test_status_and_stop(dashboard: Dashboard) -> None:
    with pytest.raises(AssertionError, match="was not submitted to"):
        run(dashboard, "--status", "quickstart")
    run(dashboard, "quickstart", "--detach")
    assert "seldtune-quickstart-1  running" in run(dashboard, "--status", "quickstart").stdout
    assert "stopped" in run(dashboard, "--stop", "quickstart").stdout
    client = open_client(Cluster(url=dashboard.url, token="token-of-cluster"))
    assert stop(client, jobs_of(client, "quickstart")[0]).state == "STOPPED"
    assert "name one search space" in refused("quickstart", "--status", "quickstart")
