"""Published weights come in whole, checked, and with where they came from, or not at all."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch

from data.errors import UserError
from infra.models.import_weights import import_weights
from search_spaces.presets import Pretrained, find_preset
from support.reference_weights import reference_shapes
from trainables.config.tree import override
from trainables.layers.resnet import ResNetBackbone
from trainables.networks.model import SeldModel
from trainables.networks.pretrained import load_pretrained
from trainables.weights.files import parse_state
from trainables.weights.kinds import read_weights

GOLDEN = Path(__file__).parents[1] / "golden"


def published(file: str, prefix: str = "") -> dict[str, torch.Tensor]:
    """A state dict with the names and shapes of a published one, and zeros in it."""
    return {
        name: torch.zeros(shape, dtype=torch.int64 if name.endswith("num_batches_tracked") else torch.float32)
        for name, shape in reference_shapes(np.load(GOLDEN / file), prefix).items()
    }


def resnet18() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    state = ResNetBackbone("basic", (2, 2, 2, 2), 64).state_dict()
    return {**state, "fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}


def test_an_import_keeps_every_entry_and_its_origin(tmp_path):
    source = tmp_path / "resnet18-f37072fd.pth"
    torch.save(resnet18(), source)
    result = import_weights(str(source), "resnet18", str(tmp_path / "root"))
    assert result["uri"] == f"{tmp_path}/root/weights/resnet18.safetensors"
    assert result["field"] == "visual.weights"
    content = Path(result["uri"]).read_bytes()
    state, provenance = parse_state(content, "x")
    assert b"pickle" not in content
    assert provenance == result["provenance"]
    assert provenance["source"] == str(source)
    assert provenance["source_sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
    published = resnet18()
    assert state.keys() == published.keys() - {"fc.weight", "fc.bias"}
    assert all(torch.equal(value, published[key]) for key, value in state.items())
    kind, _ = read_weights(result["uri"], "visual.weights")
    assert kind.name == "resnet"
    # Again is no change; another file under the name is refused.
    written = Path(result["uri"]).stat().st_mtime_ns
    assert import_weights(str(source), "resnet18", str(tmp_path / "root"))["provenance"] == provenance
    torch.save({**resnet18(), "bn1.bias": torch.ones(64)}, source)
    with pytest.raises(UserError, match="holds other weights already"):
        import_weights(str(source), "resnet18", str(tmp_path / "root"))
    assert Path(result["uri"]).stat().st_mtime_ns == written


@pytest.mark.parametrize(
    ("file", "prefix", "preset", "kind", "field"),
    [
        ("trainables_i3d.npz", "", "i3d-cmaf", "i3d", "visual.weights"),
        ("trainables_models.npz", "audio_cnn_conformer/", "audio_only", "av_seld_audio", "audio.weights"),
        pytest.param(
            "trainables_models.npz",
            "av_conformer_resnet/",
            "resnet-av_conformer",
            "av_seld",
            "training.initial_weights",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "trainables_models.npz",
            "cmaf_i3d/",
            "i3d-cmaf",
            "av_seld",
            "training.initial_weights",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_what_is_published_is_known_and_fits_its_preset(tmp_path, file, prefix, preset, kind, field):
    source = tmp_path / "published.pt"
    torch.save(published(file, prefix), source)
    result = import_weights(str(source), "it", str(tmp_path / "root"))
    assert (result["provenance"]["kind"], result["field"]) == (kind, field)
    config = override(find_preset(preset, faithful=True), {field: result["uri"]})
    model = SeldModel(config)
    load_pretrained(model, config)
    state, _ = parse_state(Path(result["uri"]).read_bytes(), "x")
    loaded = [key for key, value in model.state_dict().items() if value.is_floating_point() and not value.any()]
    assert sum(value.is_floating_point() for value in state.values()) <= len(loaded)


def test_the_baseline_of_the_challenge(tmp_path):
    config = find_preset("dcase2024-audio")
    state = {
        key.removeprefix("audio.").replace("head.hidden", "fnn_list.0").replace("head.out", "fnn_list.1"): value
        for key, value in SeldModel(config).state_dict().items()
        if not key.startswith("feature_")
    }
    torch.save(state, tmp_path / "baseline.h5")
    result = import_weights(str(tmp_path / "baseline.h5"), "dcase2024", str(tmp_path / "root"))
    assert result["entries"] == 53
    model = SeldModel(config)
    load_pretrained(model, override(config, {result["field"]: result["uri"]}))
    assert torch.equal(model.head.out.weight, state["fnn_list.1.weight"])


def test_what_does_not_fit_is_refused_and_nothing_written(tmp_path):
    source, root = tmp_path / "weights.pth", tmp_path / "root"

    def refused(message: str, name: str = "it", sha256: str | None = None) -> None:
        with pytest.raises(UserError, match=message):
            import_weights(str(source), name, str(root), sha256)
        assert not root.exists()

    refused("cannot be read: No such file")
    source.write_bytes(b"<html>404</html>")
    refused("no state dict")
    torch.save(resnet18(), source)
    refused("has SHA-256 .* not 00ff", sha256="00ff")
    refused("--as '../up'", name="../up")
    source.write_bytes(source.read_bytes()[:100_000])
    refused("no state dict in torch or safetensors form, or is truncated")
    torch.save({key: value for key, value in resnet18().items() if not key.startswith("layer3.1")}, source)
    refused(r"is not a torchvision ResNet .* as published: layer3\.1\.conv1\.weight \(missing\)")
    i3d = published("trainables_i3d.npz")
    torch.save({**i3d, "Mixed_5c.b0.conv3d.weight": torch.zeros(2)}, source)
    refused(r"Mixed_5c\.b0\.conv3d\.weight \(shape \(2,\), expected \(384, 832, 1, 1, 1\)\)")
    torch.save({"encoder.weight": torch.zeros(3)}, source)
    refused(r"1 entries \(encoder\.weight, \.\.\.\), no weights known here")


def test_weights_come_over_http(tmp_path):
    torch.save(resnet18(), tmp_path / "weights.pth")
    content = (tmp_path / "weights.pth").read_bytes()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == "/weights.pth" else 404)
            self.end_headers()
            if self.path == "/weights.pth":
                self.wfile.write(content)

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        address = f"http://127.0.0.1:{server.server_port}"
        result = import_weights(f"{address}/weights.pth", "resnet18", str(tmp_path / "root"))
        assert result["provenance"]["source_sha256"] == hashlib.sha256(content).hexdigest()
        with pytest.raises(UserError, match=r"cannot be fetched .*404.*download it by hand"):
            import_weights(f"{address}/other.pth", "other", str(tmp_path / "root"))
    finally:
        server.shutdown()
        server.server_close()


def test_presets_take_pretrained_weights_and_freeze_them():
    given = Pretrained(
        resnet="s3://b/resnet.safetensors", i3d="s3://b/i3d.safetensors", audio="s3://b/audio.safetensors"
    )
    both = find_preset("both-av_conformer", pretrained=given)
    assert both.audio.weights == given.audio
    assert (both.visual.resnet.weights, both.visual.resnet.frozen) == (given.resnet, True)
    assert (both.visual.i3d.weights, both.visual.i3d.frozen) == (given.i3d, True)
