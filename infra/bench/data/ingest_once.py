"""A tree taken in by this process alone, with or without comparing sound and labels: what it took, as a line of JSON.

A process of its own, without PyTorch, so that its memory is that of taking in.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import patch

from data.agreement.verdict import Agreement
from data.readers import checks, review
from data.readers.ingest import ingest


def take_in(tree: str, compared: bool) -> dict[str, float | str]:
    """CPU seconds and the most memory in MB of this process, and the identity of the data, which is not kept."""
    with ExitStack() as stack:
        if not compared:
            nothing = Agreement(0, None, 0.0)
            stack.enter_context(patch.object(checks, "listen_to_some", lambda *_: None))
            stack.enter_context(patch.object(checks, "compare_once", lambda _: nothing))
            stack.enter_context(patch.object(review, "agreement_of", lambda _: nothing))
        out = stack.enter_context(tempfile.TemporaryDirectory(dir=Path(tree).parent))
        store = ingest(tree, f"{out}/store").store
        return {"cpu_s": time.process_time(), "peak_mb": peak_mb(), "manifest": store.manifest.sha256}


def peak_mb() -> float:
    """The most memory of this process so far. (`ru_maxrss` begins with that of the process that started it.)"""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


if __name__ == "__main__":
    print(json.dumps(take_in(sys.argv[1], compared=sys.argv[2] == "compared")))
