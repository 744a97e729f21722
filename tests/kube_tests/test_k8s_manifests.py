"""The manifests in k8s/: what each overlay comes to is valid, shut by default, and names no secret's value.

Overlays are built with `kubectl kustomize`; where there is no kubectl, the files are looked at one by one.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from typer.testing import CliRunner

from infra.cli import app
from infra.commands.kubernetes import default_image, ray_version
from infra.kube.check import check_document
from infra.kube.documents import pod_templates, read_documents, under
from infra.kube.quantities import quantity
from infra.kube.rayjob import (
    CPU_NODES,
    GPU_NODES,
    HEAD_PRIORITY,
    SECRETS,
    SERVICE_ACCOUNT,
    SETTINGS_CONFIG_MAP,
    SWEEP_LABEL,
    TOKEN_SECRET,
    JobRequest,
    rayjob,
)
from infra.kube.recurring import LAUNCHER, recurring
from infra.kube.schemas import KINDS, schemas_from_folder
from infra.kube.shapes import SHAPES
from support.k8s import K8S, OVERLAYS, built
from support.kube_schemas import SCHEMAS, needs_schemas

KUBERNETES = "1.34"
OTHER_PROJECTS = ("ray.io/", "monitoring.coreos.com/", "kueue.x-k8s.io/", "kustomize.config.k8s.io/")
SECRETS_OF_OPERATORS = {*SECRETS, TOKEN_SECRET, "mlflow-server", "mlflow-postgres"}
NEXT = "seldtune-mlflow-next"
"""There only while the account is rotated."""
CLUSTER_WIDE = ("Namespace", "ClusterRole", "PriorityClass", "ResourceFlavor", "ClusterQueue", "WorkloadPriorityClass")


def rendered() -> list[dict[str, Any]]:
    """What `seldtune render` adds to an overlay."""
    job = rayjob(
        JobRequest(
            sweep="quickstart",
            arguments=["sweep", "quickstart", "--name", "quickstart"],
            budget_s=600,
            overlay="gpu",
            shape=SHAPES["gpu8"],
            image=default_image(cuda=True),
            ray_version=ray_version(),
        )
    )
    return [job, *recurring(job, "0 2 * * *", None)]


def pod_specs(document: dict[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Metadata and spec of every pod that a document brings about."""
    paths = ("spec.template", "spec.jobTemplate.spec.template", "spec.submitterPodTemplate")
    templates = [under(document, path) for path in paths] + [template for _, template in pod_templates(document)]
    yield from ((template.get("metadata") or {}, template["spec"]) for template in templates if template)


@pytest.mark.parametrize("path", sorted(K8S.rglob("*.yaml")), ids=lambda path: str(path.relative_to(K8S)))
def test_every_file_is_what_kubernetes_knows(path: Path) -> None:
    for document in read_documents(path.read_text(), path.name):
        if not document["apiVersion"].startswith(OTHER_PROJECTS):
            kubernetes_validate.validate(document, KUBERNETES, strict=True)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_overlay_is_what_kubernetes_knows(overlay: str) -> None:
    for document in built(overlay):
        if not document["apiVersion"].startswith(OTHER_PROJECTS):
            kubernetes_validate.validate(document, KUBERNETES, strict=True)


@needs_schemas
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_is_rays_is_clean(overlay: str) -> None:
    schemas = schemas_from_folder(str(SCHEMAS))
    ours = [document for document in built(overlay) if document["kind"] in KINDS]
    assert len(ours) == (overlay == "gpu")
    for document in ours:
        assert check_document(document, schemas) == []


def test_rendered_manifests_are_what_kubernetes_knows() -> None:
    job, *others = rendered()
    for document in others:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)
    for metadata, spec in pod_specs(job):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod", **metadata}, "spec": spec}
        kubernetes_validate.validate(pod, KUBERNETES, strict=True)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_pod_has_more_than_it_needs(overlay: str) -> None:
    """The namespace is `restricted`: a pod that asks for more would not be let in."""
    pods = [pod for document in [*built(overlay), *rendered()] for pod in pod_specs(document)]
    assert len(pods) > 5
    for metadata, spec in pods:
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        for container in [*spec["containers"], *spec.get("initContainers", [])]:
            who = (metadata, container["name"])
            user = spec.get("securityContext", {}) | container["securityContext"]
            assert user["runAsNonRoot"] is True, who
            assert user["runAsUser"] > 0, who
            assert user["allowPrivilegeEscalation"] is False, who
            assert user["capabilities"] == {"drop": ["ALL"]}, who
            assert user["seccompProfile"] == {"type": "RuntimeDefault"}, who
            assert quantity(container["resources"]["limits"]["memory"]) > 0, who
            assert quantity(container["resources"]["limits"]["cpu"]) > 0, who
        if spec.get("serviceAccountName") is None:
            assert spec["automountServiceAccountToken"] is False, metadata


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_secrets_are_named_and_never_written(overlay: str) -> None:
    documents = [*built(overlay), *rendered()]
    assert not [document for document in documents if document["kind"] == "Secret"]
    for document in documents:
        for path, reference in references(document):
            if "secret" in path.lower():
                assert reference in {*SECRETS_OF_OPERATORS, NEXT}, (document["metadata"]["name"], path, reference)
    text = "\n".join(path.read_text() for path in K8S.rglob("*.yaml"))
    assert not re.search(r"postgresql\S*://mlflow:", text), "a password would follow"


def references(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Path and name of every Secret and ConfigMap that a document refers to."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key in ("secretRef", "secretKeyRef", "configMapRef", "configMapKeyRef", "configMap"):
                yield f"{path}.{key}", item["name"]
            elif key == "secretName":
                yield f"{path}.{key}", item
            else:
                yield from references(item, f"{path}.{key}")
    elif isinstance(value, list):
        for item in value:
            yield from references(item, path)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_is_referred_to_is_there(overlay: str) -> None:
    documents = [*built(overlay), *rendered()]

    def names(kind: str) -> set[str]:
        return {document["metadata"]["name"] for document in documents if document["kind"] == kind}

    for document in documents:
        if document["kind"] not in CLUSTER_WIDE:
            assert document["metadata"]["namespace"] == "seldtune", document["metadata"]
        for path, name in references(document):
            if "configMap" in path:
                assert name in names("ConfigMap"), (path, name)
        for _, spec in pod_specs(document):
            if account := spec.get("serviceAccountName"):
                assert account in names("ServiceAccount")
            if priority := spec.get("priorityClassName"):
                assert priority in names("PriorityClass")
    assert {SERVICE_ACCOUNT, LAUNCHER} <= names("ServiceAccount")
    assert HEAD_PRIORITY in names("PriorityClass")
    assert SETTINGS_CONFIG_MAP in names("ConfigMap")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_network_is_shut_and_each_opening_is_for_somebody(overlay: str) -> None:
    policies = [document for document in built(overlay) if document["kind"] == "NetworkPolicy"]
    shut = next(policy for policy in policies if policy["metadata"]["name"] == "default-deny")
    assert shut["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    labels = [
        metadata.get("labels", {}) for document in [*built(overlay), *rendered()] for metadata, _ in pod_specs(document)
    ]
    # What KubeRay puts on pods.
    labels += [
        {"ray.io/is-ray-node": "yes", "ray.io/node-type": "head", **one} for one in labels if "seldtune.dev/role" in one
    ]

    def selects(selector: dict[str, Any], of: dict[str, str]) -> bool:
        wanted = selector.get("matchLabels", {})
        listed = {each["key"]: each["values"] for each in selector.get("matchExpressions", [])}
        return all(of.get(k) == v for k, v in wanted.items()) and all(of.get(k) in v for k, v in listed.items())

    for policy in policies:
        spec = policy["spec"]
        peers = [peer for rule in spec.get("ingress", []) for peer in rule.get("from", [])]
        peers += [peer for rule in spec.get("egress", []) for peer in rule.get("to", [])]
        own = [peer["podSelector"] for peer in peers if "podSelector" in peer and "namespaceSelector" not in peer]
        for selector in [spec["podSelector"], *own]:
            assert any(selects(selector, one) for one in labels), (policy["metadata"]["name"], selector)
        for rule in spec.get("ingress", []):
            assert rule.get("from"), f"{policy['metadata']['name']} opens to everybody"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_images_are_one_version(overlay: str) -> None:
    images = {
        container["image"]
        for document in [*built(overlay), *rendered()]
        for _, spec in pod_specs(document)
        for container in spec["containers"]
    }
    ours = {image for image in images if "seldtune" in image}
    assert ours <= {default_image(cuda=False), default_image(cuda=True)}
    for image in images - ours:
        assert image.rpartition(":")[2][0].isdigit(), f"{image} is not of a version"


def test_nodes_are_called_the_same_everywhere() -> None:
    text = (K8S / "components" / "laptops" / "raycluster.yaml").read_text()
    (cluster,) = yaml.safe_load_all(text)
    groups = {group["groupName"]: group["template"]["spec"] for group in cluster["spec"]["workerGroupSpecs"]}
    assert groups["trainers"]["nodeSelector"] == GPU_NODES
    assert groups["data"]["nodeSelector"] == CPU_NODES
    assert cluster["spec"]["rayVersion"] == ray_version()
    assert SWEEP_LABEL not in text


def test_the_dashboard_shows_what_sweeps_tell() -> None:
    dashboard = json.loads((K8S / "components" / "monitoring" / "sweeps.json").read_text())
    asked = " ".join(target["expr"] for panel in dashboard["panels"] for target in panel["targets"])
    for name in ("best_seld", "trials", "budget_spent_ratio", "tracking_pending"):
        assert f"ray_seldtune_{name}" in asked
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def blocks(language: str) -> list[str]:
    """Fenced blocks of the operators' page."""
    return re.findall(rf"^```{language}\n(.*?)^```", (K8S / "README.md").read_text(), re.MULTILINE | re.DOTALL)


def test_ten_commands_lead_to_the_first_sweep() -> None:
    commands = blocks("bash")[0].splitlines()
    assert len(commands) <= 10
    assert commands[-1].endswith("kubectl apply -f -")


def test_the_overlay_of_the_page_can_be_built(tmp_path: Path) -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("there is no kubectl to build overlays with")
    shutil.copytree(K8S, tmp_path / "k8s")
    (text,) = blocks("yaml")
    mine = tmp_path / "k8s" / "overlays" / "mine"
    mine.mkdir()
    (mine / "kustomization.yaml").write_text(text)
    result = subprocess.run(["kubectl", "kustomize", str(mine)], capture_output=True, text=True, check=True)
    documents = list(yaml.safe_load_all(result.stdout))
    found = {(document["kind"], document["metadata"]["name"]): document for document in documents}
    assert found["ConfigMap", "seldtune-settings"]["data"]["SELDTUNE_ROOT"] == "s3://my-bucket/seldtune"
    assert found["ConfigMap", "mlflow-server"]["data"]["MLFLOW_ARTIFACTS_DESTINATION"] == "s3://my-bucket/mlflow"
    assert found["ResourceQuota", "seldtune"]["spec"]["hard"]["requests.nvidia.com/gpu"] == "16"
    images = set(re.findall(r"image: (\S*seldtune\S*)", result.stdout))
    assert {image.split(":")[0] for image in images} == {"registry.example/seldtune"}


@pytest.mark.parametrize("page", ["README.md", "rotation.md"])
def test_what_the_page_names_is_there(page: str) -> None:
    """Commands of a page that is not run go stale by names first."""
    kinds = {"deploy": "Deployment", "svc": "Service", "sts": "StatefulSet", "cronjob": "CronJob", "secret": "Secret"}
    text = (K8S / page).read_text()
    there = {(d["kind"], d["metadata"]["name"]) for overlay in OVERLAYS for d in built(overlay)}
    there |= {("Secret", name) for name in (*SECRETS_OF_OPERATORS, NEXT, "seldtune-storage-next")} | {
        ("Service", "laptops-head-svc"),
        ("Deployment", "kuberay-operator"),
    }
    named = re.findall(rf"\b({'|'.join(kinds)})/([a-z][\w-]+)", text) + re.findall(r"get (secret) ([\w-]+)", text)
    assert len(named) > 10
    assert {(kinds[kind], name) for kind, name in named} <= there
    for command, option in re.findall(r"seldtune (\w+)[^\n|&`]*?(--[a-z-]+)", text):
        shown = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"})
        assert option in shown.stdout, (command, option)
