"""The operators' page, command by command: which rights each takes, and that the page says where it takes more.

The rights are those of k8s/base/accounts.yaml. What neither role gives is an administrator's: the page has to say so in
the section, or in the row or line of the command.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import yaml

from support.k8s import K8S

PAGE = (K8S / "README.md").read_text()
RESOURCES = {
    "rayjob": "rayjobs",
    "raycluster": "rayclusters",
    "pod": "pods",
    "job": "jobs",
    "cronjob": "cronjobs",
    "deploy": "deployments",
    "sts": "statefulsets",
    "svc": "services",
    "secret": "secrets",
    "quota": "resourcequotas",
    "workload": "workloads",
    "clusterqueue": "clusterqueues",
    "node": "nodes",
    "event": "events",
    "namespace": "namespaces",
    "rolebinding": "rolebindings",
    "clusterrolebinding": "clusterrolebindings",
}
VERBS = {
    "get": "get",
    "describe": "get",
    "wait": "get",
    "delete": "delete",
    "create": "create",
    "scale": "patch",
    "set": "patch",
    "label": "patch",
}
OWN = ("config", "kustomize", "auth", "version")
"""Asks no right: it looks at files, or at oneself."""


def commands(text: str) -> Iterator[tuple[str, str]]:
    """Each call of kubectl, and the line it stands in."""
    for line in text.splitlines():
        for found in re.finditer(r"kubectl ([^|;&`#\n]+)", line):
            yield found[1].strip(), line


def needs(command: str) -> list[tuple[str, str]]:
    """Verb and resource of what one call asks for."""
    words = [word for word in re.sub(r"-n \S+", "", command).split() if not word.startswith("-")]
    verb, rest = words[0], words[1:]
    if verb in OWN or len(command.split()) == 1:
        return []
    if verb in ("apply", "replace"):
        own = re.search(r"(NAME|fusion)\.yaml|-f -$", command)
        return [("patch", "rayjobs" if own else "deployments")]
    if verb == "create" and "-f " in command:
        return [("create", "secrets")]
    if verb == "rollout":
        return [("get" if rest[0] == "status" else "patch", "deployments")]
    if verb == "exec":
        return [("create", "pods/exec")]
    if verb == "port-forward":
        return [("create", "pods/portforward"), ("get", "services")]
    named = rest[1] if verb == "set" else rest[0]
    kinds = [
        RESOURCES.get(kind, RESOURCES.get(kind.removesuffix("s"), kind)) for kind in named.split("/")[0].split(",")
    ]
    if verb == "logs":
        return [("get", "pods/log"), *(("get", kind) for kind in kinds)]
    return [(VERBS[verb], kind) for kind in kinds]


def granted(*names: str) -> set[tuple[str, str]]:
    roles = [d for d in yaml.safe_load_all((K8S / "base" / "accounts.yaml").read_text()) if d["kind"].endswith("Role")]
    return {
        (verb, resource)
        for role in roles
        if role["metadata"]["name"] in names
        for rule in role["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


ROLE = granted("seldtune-operator")
READER = granted("seldtune-cluster-reader")
SECTIONS = re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]
CALLS = [(section.splitlines()[0], *call) for section in SECTIONS for call in commands(section)]


def test_there_is_something_to_follow() -> None:
    assert len(CALLS) > 40
    assert {verb for verb, _ in ROLE} == {"get", "list", "watch", "create", "patch", "delete"}
    assert {verb for verb, _ in READER} == {"get", "list"}
    # Neither reads a Secret, enters a pod, or changes who may do what.
    for verb, resource in (("get", "secrets"), ("create", "pods/exec"), ("create", "rolebindings"), ("create", "pods")):
        assert (verb, resource) not in ROLE | READER


@pytest.mark.parametrize(
    ("section", "command", "line"), CALLS, ids=[f"{n} {c[:40]}" for n, (_, c, _) in enumerate(CALLS)]
)
def test_each_step_says_which_right_it_takes(section: str, command: str, line: str) -> None:
    (text,) = [one for one in SECTIONS if one.startswith(section)]
    lacking = [need for need in needs(command) if need not in ROLE]
    beyond = [need for need in lacking if need not in READER]
    if beyond:
        told = "administrator" in line or "get secrets" in line or "takes an administrator" in text
        assert told, f"{command}: {beyond}; the page does not say that it takes an administrator"
    elif lacking:
        told = "ClusterRole" in line or "ClusterRole" in text or "takes an administrator" in text
        assert told, f"{command}: {lacking} is of the ClusterRole"
