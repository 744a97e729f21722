"""What a cluster says of a document before it is applied, with a stand-in for the cluster."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from infra.cli import app
from infra.kube.documents import as_yaml
from infra.kube.pods import pods_of
from infra.kube.rayjob import rayjob
from infra.kube.recurring import recurring
from infra.kube.server.api import ApiServer, UnreachableError, kubectls_server
from infra.kube.server.dry_run import ask
from infra.kube.server.named import named
from support.kube_requests import request
from support.kube_server import Cluster, forbidden, refusal, standing
from support.kubectl import needs_kubectl, use

JOBS = "/apis/ray.io/v1/namespaces/seldtune/rayjobs"


@pytest.fixture
def cluster() -> Cluster:
    """A cluster with all that a rendered sweep names."""
    found = Cluster()
    for document in (rayjob(request()), rayjob(request(overlay="kueue", priority="low"))):
        for one in named(document, "seldtune"):
            found.objects[one.place] = {"kind": one.kind, "metadata": {"name": one.name}}
    return found


@pytest.fixture
def server(cluster: Cluster) -> Iterator[ApiServer]:
    with standing(cluster) as (found, _):
        yield found


def test_what_is_in_order_is_asked_for_whole_and_leaves_nothing(cluster: Cluster, server: ApiServer) -> None:
    job = rayjob(request())
    asked = ask(server, job)
    assert asked.refused == []
    assert asked.said == []
    posts = [path for verb, path in cluster.asked if verb == "POST" and "selfsubject" not in path]
    assert len(posts) == 1 + len(list(pods_of(job))) == 5  # the job, its head, two groups, and what submits
    assert all("dryRun=All" in path and "fieldValidation=Strict" in path for path in posts)


def test_whoever_may_only_launch_is_judged_by_the_job_alone(cluster: Cluster, server: ApiServer) -> None:
    cluster.rights = {("create", "rayjobs")}
    assert ask(server, rayjob(request())).refused == []
    assert not [path for verb, path in cluster.asked if path.startswith("/api/v1/namespaces/seldtune/pods")]


UNKNOWN = 'RayJob in version "v1" cannot be handled as a RayJob: strict decoding error: unknown field "spec.ttl"'
INVALID = 'RayJob.ray.io "sweep-quickstart" is invalid: spec.backoffLimit: Invalid value: "string"'
TYPE = {"field": "spec.backoffLimit", "message": 'Invalid value: "string": must be of type integer'}
QUOTA = 'rayjobs.ray.io "sweep-quickstart" is forbidden: exceeded quota: seldtune, used: 200, limited: 200'
WEBHOOK = 'admission webhook "vrayjob.kb.io" denied the request: metadata.labels: Invalid value: "Team_A"'


@pytest.mark.parametrize(
    ("answer", "path", "got"),
    [
        (refusal(400, "BadRequest", UNKNOWN), "spec.ttl", "no such field"),
        (refusal(422, "Invalid", INVALID, causes=[TYPE]), "spec.backoffLimit", "must be of type integer"),
        (refusal(403, "Forbidden", QUOTA), "(document)", "exceeded quota"),
        (refusal(403, "Forbidden", WEBHOOK), "(document)", "Team_A"),
        (
            refusal(404, "NotFound", 'namespaces "seldtune" not found', name="seldtune", kind="namespaces"),
            "metadata.namespace",
            "is not there",
        ),
        (refusal(404, "NotFound", "the server could not find the requested resource"), "kind", "knows no RayJob"),
    ],
)
def test_each_reason_of_the_servers_is_told(
    cluster: Cluster, server: ApiServer, answer: tuple[int, dict[str, Any]], path: str, got: str
) -> None:
    cluster.posts[f"{JOBS} sweep-"] = answer
    (found,) = ask(server, rayjob(request())).refused
    assert found.path == path
    assert got in found.got
    assert found.fix


def test_what_the_user_may_not_ask_is_no_refusal(cluster: Cluster, server: ApiServer) -> None:
    cluster.rights = set()
    cluster.posts[f"{JOBS} sweep-"] = forbidden("create", "rayjobs", 'in the namespace "seldtune"')
    for place in list(cluster.objects):
        cluster.objects[place] = forbidden("get", place.split("/")[-2])
    asked = ask(server, rayjob(request()))
    assert asked.refused == []
    assert "you may not create a RayJob in namespace seldtune" in asked.said[0]


SECURITY = 'pods "x" is forbidden: violates PodSecurity "restricted:latest": unrestricted capabilities'
NO_CLASS = 'pods "x" is forbidden: no PriorityClass with name urgent was found'


def test_pods_that_admission_refuses_are_named(cluster: Cluster, server: ApiServer) -> None:
    head = "/api/v1/namespaces/seldtune/pods sweep-quickstart-00000-head"
    cluster.posts[head] = refusal(403, "Forbidden", SECURITY)
    (found,) = ask(server, rayjob(request())).refused
    assert (found.path, found.got) == ("spec.rayClusterSpec.headGroupSpec.template", SECURITY)
    cluster.posts[head] = refusal(422, "Invalid", "x", causes=[{"field": "spec.containers[0].name", "message": "bad"}])
    (found,) = ask(server, rayjob(request())).refused
    assert found.path == "spec.rayClusterSpec.headGroupSpec.template.spec.containers[0].name"
    # A quota that is full now is what a sweep waits for.
    cluster.posts[head] = refusal(403, "Forbidden", "exceeded quota: seldtune, requested: requests.cpu=4500m")
    assert ask(server, rayjob(request())).refused == []


@pytest.mark.parametrize(
    ("kind", "name", "path"),
    [
        ("Secret", "seldtune-ray-token", "spec.rayClusterSpec.authOptions.secretName"),
        ("Secret", "seldtune-storage", "containers[0].envFrom"),
        ("ConfigMap", "seldtune-settings", "containers[0].envFrom"),
        ("ServiceAccount", "seldtune-sweep", "serviceAccountName"),
        ("PriorityClass", "seldtune-head", "priorityClassName"),
        ("LocalQueue", "seldtune", "metadata.labels"),
        ("WorkloadPriorityClass", "low", "metadata.labels"),
    ],
)
def test_what_a_document_names_has_to_be_there(
    cluster: Cluster, server: ApiServer, kind: str, name: str, path: str
) -> None:
    queued = kind in ("LocalQueue", "WorkloadPriorityClass")
    job = rayjob(request(overlay="kueue", priority="low") if queued else request())
    (one,) = [one for one in named(job, "seldtune") if (one.kind, one.name) == (kind, name)]
    del cluster.objects[one.place]
    (found,) = ask(server, job).refused
    assert path in found.path
    assert found.got == f"no {kind} {name} in the cluster"


def test_no_secrets_content_leaves_the_server(cluster: Cluster, server: ApiServer) -> None:
    ask(server, rayjob(request()))
    assert [path for verb, path in cluster.asked if "/secrets/" in path and verb == "GET"]
    answer = server.get("/api/v1/namespaces/seldtune/secrets/seldtune-storage", metadata_only=True)
    assert answer.ok
    from infra.kube.server import api

    assert "PartialObjectMetadata" in api.METADATA_ONLY


def test_a_job_that_runs_is_not_changed_without_a_word(cluster: Cluster, server: ApiServer) -> None:
    job = rayjob(request())
    stored = {**copy.deepcopy(job), "status": {"jobDeploymentStatus": "Running"}}
    cluster.objects[f"{JOBS}/sweep-quickstart"] = stored
    cluster.posts[f"{JOBS} sweep-"] = refusal(409, "AlreadyExists", 'rayjobs.ray.io "sweep-quickstart" already exists')
    assert ask(server, job).said == ["RayJob sweep-quickstart runs already (Running): applied, nothing changes"]
    stored["spec"]["backoffLimit"] = 5
    asked = ask(server, job)
    assert not asked.refused
    assert "an edit comes into force at its next restart" in asked.said[0]
    stored["spec"]["entrypoint"] = "seldtune sweep quickstart --name other"
    (found,) = ask(server, job).refused
    assert found.path == "spec.entrypoint"
    assert "give another --name" in found.fix
    stored["status"]["jobDeploymentStatus"] = "Complete"
    asked = ask(server, job)
    assert not asked.refused
    assert "kubectl delete rayjob sweep-quickstart, then apply" in asked.said[0]


def test_what_a_schedule_will_create_is_asked_too(cluster: Cluster, server: ApiServer) -> None:
    config, cron = recurring(rayjob(request()), "0 2 * * *", None)
    for one in named(cron, "seldtune"):
        cluster.objects[one.place] = {"kind": one.kind}
    assert ask(server, config).refused == ask(server, cron).refused == []
    cluster.posts[f"{JOBS} sweep-"] = refusal(400, "BadRequest", UNKNOWN)
    (found,) = ask(server, config).refused
    assert found.path == "data[rayjob.yaml].spec.ttl"


# --- through kubectl --------------------------------------------------------------------------------------------------


@needs_kubectl
def test_kubectl_itself_is_asked(cluster: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text(as_yaml(rayjob(request())))
    with standing(cluster) as (_, url):
        use(monkeypatch, tmp_path, url)
        with kubectls_server() as found:
            assert (found.name, found.namespace) == (url, "team")
        said = CliRunner().invoke(app, ["render", "--check", str(mine)])
        assert said.exit_code == 0, said.output
        assert f"nothing wrong with them (judged by the API server {url})" in said.stdout
        cluster.posts[f"{JOBS} sweep-"] = refusal(400, "BadRequest", UNKNOWN)
        said = CliRunner().invoke(app, ["render", "--check", str(mine)])
        assert said.exit_code == 2
        assert "refused: RayJob sweep-quickstart: spec.ttl: no such field" in said.stderr
        said = CliRunner().invoke(app, ["render", "--check", str(mine), "--offline"])
        assert said.exit_code == 0, said.output


@needs_kubectl
def test_any_reason_of_kubectls_is_passed_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    use(monkeypatch, tmp_path, None)
    with pytest.raises(UnreachableError, match="current-context must exist"), kubectls_server():
        pass
    use(monkeypatch, tmp_path, "http://127.0.0.1:1")
    with pytest.raises(UnreachableError, match="connection refused"), kubectls_server():
        pass
    with pytest.raises(UnreachableError, match="elsewhere"), kubectls_server("elsewhere"):
        pass
    mine = tmp_path / "mine.yaml"
    mine.write_text(as_yaml(rayjob(request())))
    said = CliRunner().invoke(app, ["render", "--check", str(mine)])
    assert said.exit_code == 0
    assert "note: no cluster was asked" in said.stderr
    assert "connection refused" in said.stderr


PAGE = "<html><body><h1>502 Bad Gateway</h1>nginx</body></html>"


@pytest.mark.parametrize(
    "answer",
    [
        refusal(409, "Conflict", "Operation cannot be fulfilled on resourcequotas"),
        refusal(429, "TooManyRequests", "slow down"),
        refusal(500, "InternalError", 'failed calling webhook "vrayjob.kb.io": context deadline exceeded'),
        (502, PAGE),
    ],
)
def test_what_passes_is_no_verdict(
    cluster: Cluster, server: ApiServer, monkeypatch: pytest.MonkeyPatch, answer: tuple[int, Any]
) -> None:
    monkeypatch.setattr("infra.kube.server.api.PAUSE_S", 0.0)
    cluster.posts[f"{JOBS} sweep-"] = answer
    asked = ask(server, rayjob(request()))
    assert not asked.judged
    assert asked.refused == []
    assert "could not judge the RayJob now" in asked.said[0]
    assert len([path for verb, path in cluster.asked if verb == "POST" and "/rayjobs" in path]) == 3
    cluster.posts = {"/pods sweep-": answer}
    asked = ask(server, rayjob(request()))
    assert asked.judged
    assert asked.refused == []


def test_what_is_no_api_server_is_not_asked(cluster: Cluster, server: ApiServer) -> None:
    cluster.posts[f"{JOBS} sweep-"] = (200, "<html>Log in here</html>")
    with pytest.raises(UnreachableError, match="is no API server: it answers 'Log in here'"):
        ask(server, rayjob(request()))
    cluster.posts[f"{JOBS} sweep-"] = refusal(401, "Unauthorized", "Unauthorized")
    with pytest.raises(UnreachableError, match="does not accept kubectl's login"):
        ask(server, rayjob(request()))


def test_what_is_applied_with_it_need_not_be_there(cluster: Cluster, server: ApiServer) -> None:
    config, cron = recurring(rayjob(request()), "0 2 * * *", None)
    (missing,) = [one for one in named(cron, "seldtune") if one.kind == "ConfigMap"]
    cluster.objects.pop(missing.place, None)
    for one in named(cron, "seldtune"):
        if one.kind != "ConfigMap":
            cluster.objects[one.place] = {"kind": one.kind}
    (found,) = ask(server, cron).refused
    assert "no ConfigMap" in found.got
    assert ask(server, cron, {("ConfigMap", config["metadata"]["name"])}).refused == []


def test_lists_are_read_to_their_end(cluster: Cluster, server: ApiServer) -> None:
    answers = iter([{"metadata": {"continue": "more"}, "items": [{"a": 1}]}, {"metadata": {}, "items": [{"a": 2}]}])
    cluster.answer_get = lambda path: (200, {"kind": "List", **next(answers)})  # type: ignore[method-assign]
    answer, items = server.items("/api/v1/nodes")
    assert answer.ok
    assert items == [{"a": 1}, {"a": 2}]
