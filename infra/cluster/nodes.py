"""The nodes of the Ray cluster: what has to be on the driver's own, and whether all of them see the same files."""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from data import storage
from data.errors import UserError
from data.store import MANIFEST_NAME, Store

_ANSWER_TIMEOUT_S = 60.0

Node = tuple[str, str]
"""Id and address."""


def on_this_node() -> NodeAffinitySchedulingStrategy:
    """For an actor that is to live and die with this process's node."""
    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)


def require_shared(store: Store, root: str) -> None:
    """Refuse local folders that not every node sees; on object storage nothing is asked.

    Args:
        store: that trials read.
        root: the folder that they write to.

    Raises:
        UserError: naming the folder, and a node that does not see it.
    """
    nodes = [(node["NodeID"], node["NodeManagerAddress"]) for node in ray.nodes() if node["Alive"]]
    if len(nodes) < 2:
        return
    content = uuid.uuid4().hex.encode()
    probe = storage.join(root, f".probe-{content.decode()}")
    local = [file for file in (storage.join(store.root, MANIFEST_NAME), probe) if not storage.is_s3(file)]
    try:
        if probe in local:
            storage.write_bytes(probe, content)
        for file in local:
            refuse_unseen(file, nodes, unseen_by(file, nodes))
    finally:
        if probe in local:
            storage.delete(probe)


def unseen_by(file: str, nodes: Sequence[Node]) -> list[str]:
    """Addresses of the nodes where the file is not the one that is here."""
    expected = storage.read_bytes(file)

    def sees() -> bool:
        try:
            return storage.read_bytes(file) == expected
        except OSError:
            return False

    asked = [
        ray.remote(num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False))(sees).remote()
        for node, _ in nodes
    ]
    answers = ray.get(asked, timeout=_ANSWER_TIMEOUT_S)
    return [address for (_, address), seen in zip(nodes, answers, strict=True) if not seen]


def refuse_unseen(file: str, nodes: Sequence[Node], blind: Sequence[str]) -> None:
    """UserError where nodes do not see the file."""
    if blind:
        raise UserError(
            f"{os.path.dirname(file)} is a folder that {len(blind)} of the cluster's {len(nodes)} nodes do not see "
            f"({blind[0]} for one): keep data and results on object storage, SELDTUNE_ROOT=s3://bucket/prefix"
        )
