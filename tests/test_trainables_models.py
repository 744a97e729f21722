"""Networks: equal to their references, and the promises that every registered variant has to keep."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
import torchaudio
import torchvision

from data.errors import UserError
from trainables.accdoa import NUM_OUTPUTS
from trainables.audio_encoders import AUDIO_MODULES
from trainables.config import (
    AUDIO_ENCODERS,
    FUSIONS,
    VISUAL_ENCODERS,
    AudioOnly,
    AvConformer,
    Cmaf,
    ConformerConfig,
    HeadConfig,
    ResNetConformer,
    TrialConfig,
)
from trainables.config_tree import from_dict
from trainables.conformer import Conformer
from trainables.fusion import FUSION_MODULES
from trainables.model import SeldModel, count_parameters
from trainables.reference_keys import from_reference
from trainables.visual_encoders import (
    VISUAL_MODULES,
    ResNetBackbone,
    ResNetConformerEncoder,
    load_resnet_weights,
    load_visual_weights,
    resample_time,
    warn_random_weights,
)

GOLDEN = np.load(Path(__file__).parent / "golden" / "trainables_models.npz")

CONFORMER = {"layers": 1, "heads": 2, "feed_forward": 16, "kernel": 7, "dropout": 0.0}
INPUTS = {"hop": 300, "n_mels": 16, "frame_width": 64, "frame_height": 32}
# Sizes that make each entry small; entries without any are built with their defaults.
TINY = {
    "cnn_conformer": {
        "channels": [4, 8, 8],
        "time_strides": [2, 2, 2],
        "frequency_strides": [4, 2, 1],
        "conformer": CONFORMER,
    },
    "resnet_conformer": {"block": "basic", "depths": [1, 1, 1, 1], "width": 8, "conformer": CONFORMER},
    "audio_only": {"conformer": CONFORMER},
    "av_conformer": {"conformer": CONFORMER},
    "cmaf": {"layers": 2, "heads": 2, "feed_forward": 16, "dropout": 0.0},
    "gru": {"layers": 2, "hidden": 6, "dropout": 0.0},
}
COMBINATIONS = [
    (audio, visual, fusion)
    for audio in AUDIO_ENCODERS
    for visual in VISUAL_ENCODERS
    for fusion in FUSIONS
    if FUSIONS[fusion].needs_vision == (visual != "none")
]


def tiny_config(audio: str, visual: str, fusion: str) -> TrialConfig:
    parts = {"audio": audio, "visual": visual, "fusion": fusion}
    tree = {part: {"name": name, **TINY.get(name, {})} for part, name in parts.items()}
    return from_dict({"inputs": INPUTS, "head": {"hidden": 12}, **tree})


def tiny_batch(windows: int = 2, frames: int = 30) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(windows)
    features = torch.from_numpy(rng.standard_normal((windows, 7, 240, 16)).astype(np.float32))
    return features, torch.from_numpy(rng.integers(0, 256, (windows, frames, 32, 64, 3), dtype=np.uint8))


def test_every_config_entry_has_a_module():
    assert AUDIO_MODULES.keys() == AUDIO_ENCODERS.keys()
    assert VISUAL_MODULES.keys() == VISUAL_ENCODERS.keys()
    assert FUSION_MODULES.keys() == FUSIONS.keys()


@pytest.mark.parametrize("names", COMBINATIONS, ids="-".join)
def test_forward_shape_and_gradients(names):
    torch.manual_seed(0)
    config = tiny_config(*names)
    model = SeldModel(config)
    features, frames = tiny_batch()
    output = model(features, frames if config.sees else None)
    assert output.shape == (2, 30, NUM_OUTPUTS)
    assert output.abs().max() < 1
    output.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        # Biases before a normalisation have none by design; weights always do.
        assert parameter.ndim < 2 or parameter.grad.any(), name


@pytest.mark.parametrize("names", COMBINATIONS, ids="-".join)
def test_a_window_does_not_depend_on_its_batch(names):
    config = tiny_config(*names)
    model = SeldModel(config).eval()
    features, frames = tiny_batch(3)
    pictures = frames if config.sees else None
    with torch.no_grad():
        together = model(features, pictures)
        alone = model(features[1:2], None if pictures is None else pictures[1:2])
    torch.testing.assert_close(together[1:2], alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("names", COMBINATIONS, ids="-".join)
def test_parameters_are_counted_without_memory(names):
    config = tiny_config(*names)
    assert count_parameters(config) == count_parameters(SeldModel(config)) > 0


@pytest.mark.parametrize("names", [n for n in COMBINATIONS if n[1] != "none"], ids="-".join)
def test_windows_without_video(names):
    model = SeldModel(tiny_config(*names)).eval()
    features, frames = tiny_batch()
    has_video = torch.tensor([True, False])
    with torch.no_grad():
        output = model(features, frames, has_video)
        blind = model(features)
        other = model(features, frames.flip(1), has_video)
        seeing = model(features, frames)
    torch.testing.assert_close(output[0], seeing[0])
    torch.testing.assert_close(output[1], blind[1])
    torch.testing.assert_close(output[1], other[1])
    assert not torch.allclose(output[1], seeing[1], atol=1e-6)
    assert not torch.allclose(output[0], other[0], atol=1e-6)


def test_features_are_normalised_first():
    config = tiny_config("cnn_conformer", "none", "audio_only")
    mean, std = torch.randn(7, 1, 16), torch.rand(7, 1, 16) + 0.5
    plain, normalising = SeldModel(config).eval(), SeldModel(config, mean, std).eval()
    plain.load_state_dict({**normalising.state_dict(), "feature_mean": 0 * mean, "feature_std": std / std})
    features, _ = tiny_batch()
    with torch.no_grad():
        torch.testing.assert_close(normalising(features), plain((features - mean) / std))
    assert torch.equal(normalising.state_dict()["feature_mean"], mean)


def test_bands_that_the_strides_do_not_divide():
    tree = {**TINY["cnn_conformer"], "name": "cnn_conformer"}
    config = from_dict({"inputs": {**INPUTS, "n_mels": 21}, "audio": tree, "fusion": {"conformer": CONFORMER}})
    assert SeldModel(config)(torch.randn(1, 7, 240, 21)).shape == (1, 30, NUM_OUTPUTS)


# --- references -------------------------------------------------------------------------------------------------


def test_conformer_equals_torchaudio():
    torch.manual_seed(0)
    config = ConformerConfig(layers=2, heads=4, feed_forward=48, kernel=9, dropout=0.1)
    theirs = torchaudio.models.Conformer(32, 4, 48, 2, 9, dropout=0.1).eval()
    for buffer in theirs.buffers():
        if buffer.is_floating_point():
            buffer.uniform_(0.5, 1.5)
    ours = Conformer(32, config).eval()
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(3, 30, 32)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x, torch.full((3,), 30))[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "block", "depths"),
    [("resnet18", "basic", (2, 2, 2, 2)), ("resnet50", "bottleneck", (3, 4, 6, 3))],
)
def test_resnet_has_torchvision_names(name, block, depths):
    with torch.device("meta"):
        theirs = getattr(torchvision.models, name)().state_dict()
        ours = ResNetBackbone(block, depths, 64).state_dict()
    shapes = {key: value.shape for key, value in theirs.items() if not key.startswith("fc.")}
    assert {key: value.shape for key, value in ours.items()} == shapes


@pytest.mark.parametrize(
    ("name", "block", "depths", "embedding_width"),
    [
        ("resnet18", "basic", (2, 2, 2, 2), 1024),
        pytest.param("resnet50", "bottleneck", (3, 4, 6, 3), 4096, marks=pytest.mark.slow),
    ],
)
def test_resnet_embedding_equals_torchvision(tmp_path, name, block, depths, embedding_width):
    """448 x 224 frames, two 7 x 7 poolings, columns interleaved per channel."""
    torch.manual_seed(0)
    theirs = getattr(torchvision.models, name)().eval()
    path = tmp_path / "weights.pth"
    torch.save(theirs.state_dict(), path)
    conformer = ConformerConfig(**CONFORMER)
    visual = ResNetConformer(block=block, depths=depths, weights=str(path), conformer=conformer)
    model = torch.nn.Module()
    model.visual = ResNetConformerEncoder(visual, 8).eval()
    load_visual_weights(model, TrialConfig(visual=visual, fusion=AvConformer()))
    frames = torch.randint(0, 256, (1, 2, 224, 448, 3), dtype=torch.uint8)
    pictures = torchvision.transforms.functional.normalize(
        frames[0].movedim(-1, 1) / 255, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    )
    trunk = torch.nn.Sequential(*list(theirs.children())[:-2], torch.nn.AvgPool2d(7, stride=7))
    with torch.no_grad():
        expected = trunk(pictures).reshape(1, 2, embedding_width)
        torch.testing.assert_close(model.visual.embed(frames), expected, atol=1e-4, rtol=1e-4)


def deterministic_weights(name: str) -> dict[str, torch.Tensor]:
    """The weights that the reference figures were computed with."""
    state = {}
    for i, (key, sizes) in enumerate(zip(GOLDEN[f"{name}/names"].tolist(), GOLDEN[f"{name}/shapes"], strict=True)):
        if key.endswith((".pe", "num_batches_tracked")):
            continue
        shape = tuple(size for size in sizes.tolist() if size >= 0)
        s = torch.sin(0.37 * torch.arange(1, int(np.prod(shape)) + 1, dtype=torch.float64) + i).reshape(shape).float()
        if key.endswith("running_var"):
            state[key] = 1 + 0.1 * s.abs()
        elif len(shape) > 1:
            state[key] = s / (s[0].numel() ** 0.5)
        elif key.endswith("weight"):
            state[key] = 1 + 0.1 * s
        else:
            state[key] = 0.1 * s
    return state


def reference_inputs() -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(77)
    audio = rng.standard_normal((2, 7, 480, 128)).astype("float32")
    return torch.from_numpy(audio), torch.from_numpy(np.abs(rng.standard_normal((2, 30, 4096))).astype("float32"))


def test_audio_encoder_equals_the_reference():
    audio, _ = reference_inputs()
    with torch.device("meta"):
        model = SeldModel(TrialConfig()).eval()
    missing, unexpected = model.audio.load_state_dict(
        from_reference(deterministic_weights("audio_cnn_conformer")), strict=False, assign=True
    )
    assert not unexpected
    assert all(key.endswith("num_batches_tracked") for key in missing)
    assert count_parameters(model.audio) == GOLDEN["audio_cnn_conformer/parameters"] == 20_750_336
    with torch.no_grad():
        output = model.audio(audio).numpy()
    assert np.abs(output - GOLDEN["audio_cnn_conformer"]).max() < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "fusion"),
    [("av_conformer_resnet", AvConformer()), ("cmaf_resnet", Cmaf(sequential=True, positional_encoding=True))],
)
def test_audio_visual_models_equal_the_reference(name, fusion):
    """From embeddings on; the ResNet before them is torchvision's (tested above)."""
    audio, embedding = reference_inputs()
    config = TrialConfig(visual=ResNetConformer(), fusion=fusion, head=HeadConfig(activation="none"))
    with torch.device("meta"):
        model = SeldModel(config).eval()
    model.feature_mean, model.feature_std = torch.zeros(7, 1, 128), torch.ones(7, 1, 128)
    missing, unexpected = model.load_state_dict(from_reference(deterministic_weights(name)), strict=False, assign=True)
    assert not unexpected
    ours_alone = ("visual.backbone.", "feature_")
    assert all(key.startswith(ours_alone) or key.endswith("num_batches_tracked") for key in missing)
    parameters = count_parameters(model) - count_parameters(model.visual.backbone)
    assert parameters == GOLDEN[f"{name}/parameters"]
    with torch.no_grad():
        output = model.forward_embedded(audio, embedding).numpy()
    assert np.abs(output - GOLDEN[name]).max() < 1e-4


def test_parallel_and_sequential_cmaf_differ():
    torch.manual_seed(0)
    sizes = {"layers": 1, "heads": 2, "feed_forward": 8, "dropout": 0.0}
    parallel = FUSION_MODULES["cmaf"](Cmaf(**sizes), 8).eval()
    sequential = FUSION_MODULES["cmaf"](Cmaf(**sizes, sequential=True), 8).eval()
    sequential.load_state_dict(parallel.state_dict())
    audio, visual = torch.randn(1, 5, 8), torch.randn(1, 5, 8)
    with torch.no_grad():
        a, b = parallel(audio, visual), sequential(audio, visual)
    torch.testing.assert_close(a[..., :8], b[..., :8])
    assert not torch.allclose(a[..., 8:], b[..., 8:], atol=1e-3)


# --- pieces of the visual encoder -------------------------------------------------------------------------------


def test_fewer_frames_are_interpolated_in_time():
    rows = torch.arange(3.0)[None, :, None]
    steps = resample_time(rows, 30)[0, :, 0]
    torch.testing.assert_close(steps[:21], torch.arange(21) / 10)
    torch.testing.assert_close(steps[20:], torch.full((10,), 2.0))
    same = torch.randn(2, 30, 4)
    assert resample_time(same, 30) is same
    features, frames = tiny_batch(frames=6)
    model = SeldModel(tiny_config("cnn_conformer", "resnet_conformer", "av_conformer"))
    assert model(features, frames).shape == (2, 30, NUM_OUTPUTS)


def weights_config(path: Path, frozen: bool = False) -> TrialConfig:
    tree = {"name": "resnet_conformer", **TINY["resnet_conformer"], "weights": str(path), "frozen": frozen}
    audio = {"name": "cnn_conformer", **TINY["cnn_conformer"]}
    return from_dict({"inputs": INPUTS, "audio": audio, "visual": tree, "fusion": {"name": "gru", **TINY["gru"]}})


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_of_either_format_load(tmp_path, suffix):
    from safetensors.torch import save_file

    state = {**ResNetBackbone("basic", (1, 1, 1, 1), 8).state_dict(), "fc.weight": torch.zeros(10, 64)}
    path = tmp_path / f"weights{suffix}"
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    config = weights_config(path)
    model = SeldModel(config)
    load_visual_weights(model, config)
    for key, value in model.visual.backbone.state_dict().items():
        assert torch.equal(value, state[key]), key


def test_weights_that_do_not_fit_are_refused(tmp_path):
    model = SeldModel(tiny_config("cnn_conformer", "resnet_conformer", "gru"))
    path = tmp_path / "weights.pth"
    with pytest.raises(UserError, match=r"weights\.pth' cannot be read: No such file"):
        load_resnet_weights(model, str(path))
    path.write_bytes(b"neither")
    with pytest.raises(UserError, match=r"not a state dict in \.pth or \.safetensors form"):
        load_resnet_weights(model, str(path))
    torch.save([1, 2], path)
    with pytest.raises(UserError, match="holds no state dict"):
        load_resnet_weights(model, str(path))
    state = model.visual.backbone.state_dict()
    torch.save({**state, "conv1.weight": torch.zeros(4, 3, 7, 7)}, path)
    with pytest.raises(UserError, match=r"conv1\.weight \(shape \(4, 3, 7, 7\), expected \(8, 3, 7, 7\)\)$"):
        load_resnet_weights(model, str(path))
    torch.save({f"module.{key}": value for key, value in state.items()}, path)
    with pytest.raises(UserError, match=r"conv1\.weight \(missing\), .* and \d+ more$"):
        load_resnet_weights(model, str(path))


def test_weights_are_never_unpickled(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save({"conv1.weight": np.zeros, "path": Path("x")}, path)
    with pytest.raises(UserError, match="not a state dict"):
        load_resnet_weights(SeldModel(tiny_config("cnn_conformer", "resnet_conformer", "gru")), str(path))


def test_a_frozen_backbone_stays_as_loaded(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(ResNetBackbone("basic", (1, 1, 1, 1), 4).state_dict(), path)
    model = SeldModel(weights_config(path, frozen=True)).train()
    before = {key: value.clone() for key, value in model.visual.backbone.state_dict().items()}
    model(*tiny_batch()).sum().backward()
    assert all(p.grad is None for p in model.visual.backbone.parameters())
    assert model.visual.project.weight.grad is not None
    assert all(torch.equal(value, before[key]) for key, value in model.visual.backbone.state_dict().items())


def test_random_weights_are_said_loudly(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        warn_random_weights(TrialConfig())
        warn_random_weights(weights_config(tmp_path / "weights.pth"))
        assert not caplog.records
        warn_random_weights(TrialConfig(visual=ResNetConformer(), fusion=AvConformer()))
    assert "RANDOM" in caplog.text


def test_paper_sizes_build_on_the_meta_device():
    assert count_parameters(TrialConfig(fusion=AudioOnly())) > 30e6
    assert count_parameters(TrialConfig(visual=ResNetConformer(), fusion=AvConformer())) == 85_327_221 + 23_508_032
