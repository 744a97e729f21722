"""What Kueue's webhook refuses of a job in one of its queues, and what would wait in one for ever.

Read off Kueue 0.19 (`pkg/controller/jobs/rayjob/rayjob_webhook.go`, `pkg/controller/jobframework/validation.go`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from infra.kube.documents import Violation, under
from infra.kube.rules.names import AS_LABEL, LONGEST_LABEL, is_subdomain

QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
PRIORITY_LABEL = "kueue.x-k8s.io/priority-class"
ELASTIC_ANNOTATION = "kueue.x-k8s.io/elastic-job"
MOST_QUEUED_GROUPS = 17


def is_queue(name: str) -> bool:
    """Whether a queue or a priority class can be called so, and a label name it."""
    return len(name) <= LONGEST_LABEL and is_subdomain(name)


def queue_rules(document: dict[str, Any]) -> Iterator[Violation]:
    """What is wrong with a RayJob for its queue; nothing with one in none."""
    labels = under(document, "metadata.labels") or {}
    for label in (QUEUE_LABEL, PRIORITY_LABEL):
        if label in labels and not is_queue(str(labels[label])):
            yield Violation(f"metadata.labels.{label}", repr(labels[label]), AS_LABEL)
    if QUEUE_LABEL not in labels:
        if PRIORITY_LABEL in labels:
            yield Violation(f"metadata.labels.{PRIORITY_LABEL}", "in no queue", f"name one in {QUEUE_LABEL}")
        return
    spec = document.get("spec") or {}
    if not spec.get("shutdownAfterJobFinishes"):
        yield Violation("spec.shutdownAfterJobFinishes", "false", "true in a queue, with ttlSecondsAfterFinished")
    if "clusterSelector" in spec and "rayClusterSpec" in spec:
        yield Violation("spec.clusterSelector", "beside rayClusterSpec", "leave it out in a queue")
    path = "spec.rayClusterSpec.workerGroupSpecs"
    groups = under(spec, "rayClusterSpec.workerGroupSpecs") or []
    if len(groups) > MOST_QUEUED_GROUPS:
        yield Violation(path, f"{len(groups)} groups", f"Kueue takes {MOST_QUEUED_GROUPS}: join some")
    for index, group in enumerate(groups):
        if group.get("groupName") == "head":
            yield Violation(f"{path}[{index}].groupName", "head", "Kueue calls the head so: name it otherwise")
    annotations = under(document, "metadata.annotations") or {}
    if under(spec, "rayClusterSpec.enableInTreeAutoscaling") and annotations.get(ELASTIC_ANNOTATION) != "true":
        path = "spec.rayClusterSpec.enableInTreeAutoscaling"
        yield Violation(path, "true in a queue", f'it needs the annotation {ELASTIC_ANNOTATION}: "true"')
