"""What is known of a store's recordings beyond their labels."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from data import storage
from data.stores.build import REPORT_NAME
from data.stores.chunks import Store


def recording_facts(store: Store) -> dict[str, Mapping[str, Any]]:
    """`data.stores.source.Recording.facts` by recording, from the store's report; nothing where it has none."""
    uri = storage.join(store.root, REPORT_NAME)
    if not storage.exists(uri):
        return {}
    return {name: one["facts"] for name, one in json.loads(storage.read_bytes(uri))["recordings"].items()}
