"""What comparing sound and labels costs when a tree is taken in: CPU and memory, beside the same without it.

Trees of synthetic scenes, one of sound alone and one with video, are taken in by fresh processes, with and without in
turns, each on one core and without a Ray. Both have to give the same data.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

from data.scenes.synth import SynthSettings, write_tree
from infra.bench.measure import OURS, parser, result, show

PEER = "not compared"
_COMPARED = {OURS: "compared", PEER: "not"}


def take_in(tree: str, side: str) -> dict[str, Any]:
    """What `ingest_once` says of a side, in a process of its own."""
    command = [sys.executable, "-m", "infra.bench.data.ingest_once", tree, _COMPARED[side]]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    told = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout
    return json.loads(told.splitlines()[-1])


def measure(settings: SynthSettings, folder: str, repeats: int) -> dict[str, Any]:
    """The outcome for the tree of some settings, which is made in `folder` or found there."""
    kind = "video" if settings.with_video else "sound"
    tree = str(write_tree(settings, f"{folder}/{kind}"))
    clips = settings.train_clips + settings.test_clips
    minutes = clips * settings.clip_s / 60
    times: dict[str, list[float]] = {side: [] for side in _COMPARED}
    peak_mb = dict.fromkeys(_COMPARED, 0.0)
    manifests = {take_in(tree, side)["manifest"] for side in _COMPARED}
    assert len(manifests) == 1, manifests
    for _ in range(repeats):
        for side in _COMPARED:
            taken = take_in(tree, side)
            times[side].append(1000 * taken["cpu_s"] / minutes)
            peak_mb[side] = max(peak_mb[side], taken["peak_mb"])
    sizes = {"clips": clips, "clip_s": settings.clip_s, "profile": settings.profile}
    return result(f"ingest_{kind}", "minute, CPU", times, sizes, peak_mb=peak_mb)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(__doc__, repeats=5)
    options.add_argument("--clips", type=int, default=12, help="recordings of the tree (default %(default)s)")
    options.add_argument("--clip-s", type=float, default=60.0, help="seconds of each (default %(default)s)")
    options.add_argument("--profile", default="standard", help="of the scenes (default %(default)s)")
    options.add_argument("--only", choices=["sound", "video"], help="one of the two")
    options.add_argument("--root", help="keep the trees here, to be used again")
    chosen = options.parse_args(arguments)
    for kind in [chosen.only] if chosen.only else ["sound", "video"]:
        settings = SynthSettings(
            profile=chosen.profile,
            train_clips=chosen.clips - 1,
            val_clips=0,
            test_clips=1,
            clip_s=chosen.clip_s,
            with_video=kind == "video",
        )
        with tempfile.TemporaryDirectory() as scratch:
            outcome = measure(settings, chosen.root or scratch, chosen.repeats)
        memory = ", ".join(f"{side} {most:.0f}" for side, most in outcome["peak_mb"].items())
        print(f"ingest of {kind}: MB at most: {memory}")
        show(outcome, chosen.save)


if __name__ == "__main__":
    main()
