"""Making embeddings: once, whatever interrupts it, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from data.errors import UserError
from data.stores.chunks import (
    Store,
)
from data.stores.embeddings import open_embeddings
from data.swaps import NUM_SWAPS
from infra.datasets.embed import embed_data
from infra.datasets.embedder import Job, PartRecord, RowTask
from support.embedded_data import (
    NETWORKS,
    SEEN,
    embed,
    local,
    make_store,
    no_gpu,
    request,
)

pytestmark = pytest.mark.usefixtures("own_threads")


def test_what_is_shown_twice_is_computed_once(tmp_path: Path, store: Store, made: Any) -> None:
    still = make_store(tmp_path / "still", {"train": [("a", 6.0, 6.0)]}, still=True)
    for encoder in NETWORKS:
        assert embed(still, encoder)["vectors"] == NUM_SWAPS
    # At 2 Hz: 61.5 s of a row of 62.5, 1.5 of one of 3, and 4.2 s.
    assert made["resnet50"]["vectors"] == NUM_SWAPS * (123 + 3 + 9)
    assert made["resnet50"]["rows"] == 3
    assert made["resnet50"]["computed"] == made["resnet50"]["vectors"]


def test_the_manifest_says_what_is_there(store: Store, made: Any) -> None:
    document = json.loads((Path(made["i3d"]["uri"]) / "manifest.json").read_text())
    assert document["of"]["data_sha256"] == store.manifest.sha256
    assert document["of"]["encoder"] == {"name": "i3d", "width": 0.05}
    assert document["of"]["pictures"] == {**{k[7:]: v for k, v in SEEN.items()}, "window_s": 3.0, "hop_s": 0.5}
    assert document["of"]["weights_sha256"] == made["i3d"]["weights_sha256"]
    assert document["random_seed"] == 3
    assert document["dtype"] == "float16"
    assert document["key"] == Path(made["i3d"]["uri"]).name == made["i3d"]["key"]
    assert document["bytes"] == made["i3d"]["bytes"] > 0
    assert [part["recording"] for part in document["splits"]["train"]] == ["long", "long"]
    assert sorted(p.name for p in Path(made["i3d"]["uri"]).iterdir() if not p.name.startswith("records")) == [
        "manifest.json",
        "train",
        "val",
        "weights.safetensors",
    ]
    assert open_embeddings(made["i3d"]["uri"]).manifest.shape == tuple(document["shape"])


def test_it_is_not_done_twice(store: Store, made: Any) -> None:
    def never(*_: Any) -> Any:
        raise AssertionError("nothing is left to compute")

    again = embed_data(request(store), never, never)
    assert again["computed"] == 0
    assert {k: again[k] for k in ("uri", "manifest", "weights", "use")} == {
        k: made["resnet50"][k] for k in ("uri", "manifest", "weights", "use")
    }


def test_a_store_without_its_parts_is_not_taken_for_done(tmp_path: Path) -> None:
    small = make_store(tmp_path / "small", {"train": [("a", 4.0, 4.0)]})
    made = embed(small)
    part = open_embeddings(made["uri"]).manifest.parts()[0]
    (Path(made["uri"]) / part.shard.path).unlink()
    with pytest.raises(UserError, match=r"part-.* is missing"):
        embed(small)


def test_weights_are_known_by_their_numbers(store: Store, made: Any, tmp_path: Path) -> None:
    """The same ones from another file make the same embeddings; the file's own provenance is kept."""
    state = load_file(made["resnet50"]["weights"])
    torch.save({**state, "fc.weight": torch.zeros(3, 3)}, tmp_path / "published.pth")
    assert embed(store, weights=str(tmp_path / "published.pth"))["computed"] == 0
    state["bn1.bias"] = state["bn1.bias"] + 1
    changed = str(tmp_path / "other.safetensors")
    save_file(state, changed, metadata={"kind": "resnet", "source": "somewhere"})
    other = embed(make_store(tmp_path / "small", {"train": [("a", 1.0, 1.0)]}), weights=changed)
    assert other["weights_sha256"] != made["resnet50"]["weights_sha256"]
    assert open_embeddings(other["uri"]).manifest.provenance == {"kind": "resnet", "source": "somewhere"}
    assert open_embeddings(other["uri"]).manifest.random_seed is None


def test_an_interrupted_run_goes_on_where_it_was(tmp_path: Path) -> None:
    clips = {"train": [(f"c{i}", 1.0, 1.0) for i in range(4)]}
    whole = embed(make_store(tmp_path / "a", clips))

    def breaks(job: Job, tasks: Sequence[RowTask]) -> Iterator[tuple[str, PartRecord]]:
        for number, done in enumerate(local(job, tasks)):
            if number == 2:
                raise KeyboardInterrupt
            yield done

    other = make_store(tmp_path / "b", clips)
    with pytest.raises(KeyboardInterrupt):
        embed_data(request(other), breaks, no_gpu)
    again = embed(other)
    assert again["manifest"] == whole["manifest"]
    assert 0 < again["computed"] < whole["computed"]
    assert not list(Path(again["uri"]).glob("records/*"))


PROGRAM = """
import sys, time
sys.path[:0] = {tests!r}
from support import embedded_data as t
from data.stores.chunks import open_store
def slow(job, tasks):
    for done in t.local(job, tasks):
        yield done
        print("row", flush=True)
        time.sleep({pause})
print(t.embed_data(t.request(open_store({root!r})), slow, t.no_gpu)["manifest"], flush=True)
"""


@pytest.mark.slow
def test_a_killed_process_costs_a_row_and_nothing_else(tmp_path: Path) -> None:
    clips = {"train": [(f"c{i}", 2.0, 2.0) for i in range(5)]}
    manifests = []
    for name, kills in (("whole", 0), ("killed", 2)):
        root = str(make_store(tmp_path / name, clips).root)
        for attempt in range(kills + 1):
            program = PROGRAM.format(
                tests=[str(p) for p in Path(__file__).parents[:2]], root=root, pause=1.0 if attempt < kills else 0.0
            )
            with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
                assert process.stdout is not None
                if attempt < kills:
                    assert process.stdout.readline() == "row\n"
                    time.sleep(0.3)
                    process.send_signal(signal.SIGKILL)
                    continue
                *rows, manifest = process.stdout.read().split("\n")[:-1]
                manifests.append(manifest)
        if kills:
            assert 0 < len(rows) < 4
    assert len(manifests[0]) == 64
    assert manifests[0] == manifests[1]
    assert not list((tmp_path / "killed").rglob("*.tmp*"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"random_weights": None}, r"--weights .*--random-weights SEED; got neither"),
        ({"random_weights": 1, "weights": "w.pth"}, "got both"),
        ({"encoder": "resnet18"}, r"--encoder 'resnet18' is not known; choose one of resnet50, i3d"),
        ({"precision": "bf16"}, r"--precision 'bf16' is not known; choose one of fp32, fp16"),
        ({"precision": "fp16"}, r"--precision fp16 needs a GPU"),
        ({"fixed": {"audio.width": 3}}, r"--set audio.width: .*visual and inputs alone"),
        ({"fixed": {"visual.name": "i3d"}}, r"choose the network with --encoder"),
        ({"weights": "nowhere.pth", "random_weights": None}, r"'nowhere.pth' cannot be read"),
    ],
)
def test_what_cannot_be_embedded_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", no_gpu)
    small = make_store(tmp_path, {"train": [("a", 1.0, 1.0)]})
    with pytest.raises(UserError, match=message):
        embed_data(dataclasses.replace(request(small), **changes), local, no_gpu)
    assert not list(tmp_path.rglob("embeddings/*/manifest.json"))


def test_weights_of_another_network_are_refused(store: Store, made: Any) -> None:
    with pytest.raises(UserError, match=r"I3D.* a torchvision ResNet .* is expected there"):
        embed(store, weights=made["i3d"]["weights"])
    deeper = {**SEEN, "visual.block": "basic", "visual.depths": [2, 1, 1, 1], "visual.width": 8}
    with pytest.raises(UserError, match=r"does not fit the configured network: layer1.1.conv1.weight \(missing\)"):
        embed(store, weights=made["resnet50"]["weights"], fixed=deeper)


def test_a_place_with_other_embeddings_is_kept(store: Store, made: Any) -> None:
    with pytest.raises(UserError, match="holds embeddings of another kind; choose another place with --out"):
        embed(store, random_weights=4, out=made["resnet50"]["uri"])
    assert embed(store, out=made["resnet50"]["uri"])["computed"] == 0


def test_data_without_video_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no video, so there is nothing to embed"):
        embed(make_store(tmp_path, {"train": [("a", 1.0, 0.0)]}))


def test_outputs_that_float16_cannot_hold_are_refused(tmp_path: Path, made: Any) -> None:
    state = load_file(made["resnet50"]["weights"])
    state["layer4.0.bn2.bias"] = state["layer4.0.bn2.bias"] + 1e6
    save_file(state, tmp_path / "huge.safetensors", metadata={"kind": "resnet"})
    small = make_store(tmp_path / "small", {"train": [("a", 1.0, 1.0)]})
    with pytest.raises(UserError, match="do not fit float16"):
        embed(small, weights=str(tmp_path / "huge.safetensors"))
