"""A sweep that is started again and again: a CronJob that creates its RayJob from a ConfigMap.

KubeRay's own RayCronJob does the same behind a feature gate that is off. Each run is a sweep of its own, named by the
minute it began in, so that none takes up another's; while one runs, no second is begun.
"""

from __future__ import annotations

import copy
from typing import Any

from data.errors import UserError
from infra.kube.documents import as_yaml
from infra.kube.rayjob import RESTRICTED, SWEEP_LABEL, USER_ID
from infra.kube.rules.kuberay import LONGEST_NAME

LAUNCHER = "seldtune-launcher"
"""The service account that may create RayJobs, and nothing else."""
FOLDER, FILE = "/sweep", "rayjob.yaml"


def recurring(job: dict[str, Any], schedule: str, time_zone: str | None) -> list[dict[str, Any]]:
    """ConfigMap and CronJob that start this RayJob on a schedule.

    Raises:
        UserError: the name leaves no room for the time of a run.
    """
    name, namespace = job["metadata"]["name"], job["metadata"]["namespace"]
    longest = LONGEST_NAME["RayCronJob"]
    if len(name) > longest:
        raise UserError(f"recurring sweep {name!r} has {len(name)} characters and may have {longest}: shorten --name")
    image = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["image"]
    meta = {
        "name": name,
        "namespace": namespace,
        "labels": {SWEEP_LABEL: name, "app.kubernetes.io/part-of": "seldtune"},
    }
    amounts = {"cpu": "200m", "memory": "512Mi"}
    pod = {
        "serviceAccountName": LAUNCHER,
        "restartPolicy": "Never",
        "securityContext": {"runAsNonRoot": True, "runAsUser": USER_ID},
        "containers": [
            {
                "name": "launch",
                "image": image,
                "command": ["python", "-m", "infra.kube.launch", f"{FOLDER}/{FILE}"],
                "resources": {"limits": dict(amounts), "requests": dict(amounts)},
                "securityContext": {**copy.deepcopy(RESTRICTED), "readOnlyRootFilesystem": True},
                "volumeMounts": [{"name": "sweep", "mountPath": FOLDER, "readOnly": True}],
            }
        ],
        "volumes": [{"name": "sweep", "configMap": {"name": name}}],
    }
    launcher = {"app.kubernetes.io/part-of": "seldtune", "seldtune.dev/role": "launcher"}
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {FILE: as_yaml(job)}},
        {
            "apiVersion": "batch/v1",
            "kind": "CronJob",
            "metadata": meta,
            "spec": {
                "schedule": schedule,
                **({"timeZone": time_zone} if time_zone else {}),
                "concurrencyPolicy": "Forbid",
                "startingDeadlineSeconds": 3600,
                "jobTemplate": {
                    "spec": {"backoffLimit": 2, "template": {"metadata": {"labels": launcher}, "spec": pod}}
                },
            },
        },
    ]
