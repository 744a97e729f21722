"""Networks: equal to their references, and the promises that every registered variant has to keep."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torchaudio
import torchvision
from torch import nn

from data.classes import STARSS23
from search_spaces.presets import find_preset
from support.reference_weights import reference_weights
from support.tiny_parts import CONFORMER, INPUTS, TINY, tiny_batch, tiny_config
from trainables.config import (
    AUDIO_ENCODERS,
    FUSIONS,
    OUTPUTS,
    VISUAL_ENCODERS,
    AudioOnly,
    AvConformer,
    Cmaf,
    CnnConformer,
    ConformerConfig,
    MultiAccdoa,
    ResNetConformer,
    TrialConfig,
)
from trainables.config.tree import from_dict, override
from trainables.evaluation.bundle import load_bundle, save_bundle
from trainables.layers.conformer import Conformer
from trainables.layers.resnet import ResNetBackbone
from trainables.networks.model import SeldModel, count_parameters
from trainables.networks.pretrained import load_pretrained
from trainables.parts.visual.modules import resample_time
from trainables.parts.visual.resnet_conformer import ResNetConformerEncoder
from trainables.weights.reference_keys import from_reference

NUM_OUTPUTS = MultiAccdoa().width(len(STARSS23))
GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "trainables_models.npz")

COMBINATIONS = [
    (audio, visual, fusion)
    for audio in AUDIO_ENCODERS
    for visual in VISUAL_ENCODERS
    for fusion in FUSIONS
    if FUSIONS[fusion].needs == tuple(p for p, name in (("audio", audio), ("visual", visual)) if name != "none")
    # These attend between embeddings of one width; both visual encoders together give two.
    and not (visual == "both" and fusion in ("cmaf", "cross_attention"))
]


@pytest.mark.parametrize("names", COMBINATIONS, ids="-".join)
def test_forward_shape_and_gradients(names):
    torch.manual_seed(0)
    config = tiny_config(*names)
    model = SeldModel(config)
    output = model(*tiny_batch(reads=config.visual.reads))
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
    features, seen = tiny_batch(3, reads=config.visual.reads)
    with torch.no_grad():
        together = model(features, seen)
        alone = model(features[1:2], None if seen is None else seen[1:2])
    torch.testing.assert_close(together[1:2], alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("names", COMBINATIONS, ids="-".join)
def test_what_is_saved_predicts_the_same(names, tmp_path):
    config = tiny_config(*names)
    model = SeldModel(config).eval()
    assert count_parameters(config) == count_parameters(model) > 0
    save_bundle(tmp_path, model, config, {})
    loaded, loaded_config, _ = load_bundle(tmp_path)
    assert loaded_config == config
    features, seen = tiny_batch(1, reads=config.visual.reads)
    with torch.no_grad():
        assert torch.equal(loaded(features, seen), model(features, seen))


@pytest.mark.parametrize("names", [n for n in COMBINATIONS if n[1] != "none"], ids="-".join)
def test_windows_without_video(names):
    model = SeldModel(tiny_config(*names)).eval()
    features, shown = tiny_batch(reads=model.config.visual.reads)
    has_video = torch.tensor([True, False])
    with torch.no_grad():
        output = model(features, shown, has_video)
        blind = model(features)
        other = model(features, shown.flip(1), has_video)
        seeing = model(features, shown)
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


def test_torchaudio_loads_ours():
    ours = Conformer(32, ConformerConfig(layers=2, heads=4, feed_forward=48, kernel=9))
    torchaudio.models.Conformer(32, 4, 48, 2, 9).load_state_dict(ours.state_dict())


def test_relative_position_starts_without_effect_and_tells_near_from_far():
    torch.manual_seed(0)
    sizes = {"layers": 1, "heads": 2, "feed_forward": 8, "kernel": 1, "dropout": 0.0}
    plain, relative = (Conformer(8, ConformerConfig(**sizes, relative_position=on)).eval() for on in (False, True))
    missing, unexpected = relative.load_state_dict(plain.state_dict(), strict=False)
    assert (missing, unexpected) == (["conformer_layers.0.self_attn.relative_bias"], [])
    x = torch.randn(2, 30, 8)
    torch.testing.assert_close(relative(x), plain(x))
    relative(x).square().sum().backward()
    bias = relative.conformer_layers[0].self_attn.relative_bias
    assert bias.grad.any()
    with torch.no_grad():
        # Only what is at the same place may be attended to: frames no longer know of each other.
        bias.fill_(-1e4)
        bias[:, bias.shape[1] // 2] = 0.0
        alone, changed = relative(x), relative(torch.cat((x[:, :1], x[:, 1:] + 1.0), dim=1))
    torch.testing.assert_close(alone[:, 0], changed[:, 0])
    assert not torch.allclose(alone[:, 1:], changed[:, 1:])
    assert relative(torch.randn(1, 200, 8)).shape == (1, 200, 8)


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
    load_pretrained(model, TrialConfig(visual=visual, fusion=AvConformer()))
    shown = torch.randint(0, 256, (1, 2, 224, 448, 3), dtype=torch.uint8)
    pictures = torchvision.transforms.functional.normalize(
        shown[0].movedim(-1, 1) / 255, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    )
    trunk = torch.nn.Sequential(*list(theirs.children())[:-2], torch.nn.AvgPool2d(7, stride=7))
    with torch.no_grad():
        expected = trunk(pictures).reshape(1, 2, embedding_width)
        torch.testing.assert_close(model.visual.embed(shown), expected, atol=1e-4, rtol=1e-4)


def reference_inputs() -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    rng = np.random.default_rng(77)
    audio = rng.standard_normal((2, 7, 480, 128)).astype("float32")
    resnet = np.abs(rng.standard_normal((2, 30, 4096))).astype("float32")
    i3d = np.abs(rng.standard_normal((2, 30, 2048))).astype("float32")
    return torch.from_numpy(audio), {"resnet": torch.from_numpy(resnet), "i3d": torch.from_numpy(i3d)}


def test_audio_encoder_equals_the_reference():
    audio, _ = reference_inputs()
    with torch.device("meta"):
        model = SeldModel(TrialConfig()).eval()
    missing, unexpected = model.audio.load_state_dict(
        from_reference(reference_weights(GOLDEN, "audio_cnn_conformer/")), strict=False, assign=True
    )
    assert not unexpected
    assert all(key.endswith("num_batches_tracked") for key in missing)
    assert count_parameters(model.audio) == GOLDEN["audio_cnn_conformer/parameters"] == 20_750_336
    with torch.no_grad():
        output = model.audio(audio).numpy()
    assert np.abs(output - GOLDEN["audio_cnn_conformer"]).max() < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("preset", "parameters"),
    [
        ("resnet-av_conformer", 85_327_221),
        ("resnet-cmaf", 72_506_741),
        ("i3d-av_conformer", 68_392_309),
        ("i3d-cmaf", 55_571_829),
    ],
)
def test_audio_visual_models_equal_the_reference(preset, parameters):
    """The faithful presets, from embeddings on; the networks before them have tests of their own."""
    visual, fusion = preset.split("-")
    name = f"{fusion}_{visual}"
    audio, embedding = reference_inputs()
    with torch.device("meta"):
        model = SeldModel(find_preset(preset, faithful=True)).eval()
    model.feature_mean, model.feature_std = torch.zeros(7, 1, 128), torch.ones(7, 1, 128)
    missing, unexpected = model.load_state_dict(
        from_reference(reference_weights(GOLDEN, f"{name}/")), strict=False, assign=True
    )
    assert not unexpected
    ours_alone = ("visual.backbone.", "feature_")
    assert all(key.startswith(ours_alone) or key.endswith("num_batches_tracked") for key in missing)
    counted = count_parameters(model) - count_parameters(model.visual.backbone)
    assert counted == GOLDEN[f"{name}/parameters"] == parameters
    with torch.no_grad():
        output = model.forward_embedded(audio, embedding[visual]).numpy()
    assert np.abs(output - GOLDEN[name]).max() < 1e-4


def test_parallel_and_sequential_cmaf_differ():
    torch.manual_seed(0)
    sizes = {"layers": 1, "heads": 2, "feed_forward": 8, "dropout": 0.0}
    parallel = Cmaf(**sizes).build(8, 8).eval()
    sequential = Cmaf(**sizes, sequential=True).build(8, 8).eval()
    sequential.load_state_dict(parallel.state_dict())
    audio, visual = torch.randn(1, 5, 8), torch.randn(1, 5, 8)
    with torch.no_grad():
        a, b = parallel(audio, visual), sequential(audio, visual)
    torch.testing.assert_close(a[..., :8], b[..., :8])
    assert not torch.allclose(a[..., 8:], b[..., 8:], atol=1e-3)


# --- pieces of the visual encoder -------------------------------------------------------------------------------


def test_fewer_pictures_are_interpolated_in_time():
    rows = torch.arange(3.0)[None, :, None]
    steps = resample_time(rows, 30)[0, :, 0]
    torch.testing.assert_close(steps[:21], torch.arange(21) / 10)
    torch.testing.assert_close(steps[20:], torch.full((10,), 2.0))
    same = torch.randn(2, 30, 4)
    assert resample_time(same, 30) is same
    features, shown = tiny_batch(pictures=6)
    model = SeldModel(tiny_config("cnn_conformer", "resnet_conformer", "av_conformer"))
    assert model(features, shown).shape == (2, 30, NUM_OUTPUTS)


@pytest.mark.parametrize("form", OUTPUTS.values(), ids=list(OUTPUTS))
def test_every_output_format(form):
    tree = {"audio": {"name": "cnn_conformer", **TINY["cnn_conformer"]}, "fusion": {"conformer": CONFORMER}}
    model = SeldModel(from_dict({"inputs": INPUTS, **tree, "output": {"name": form.name}}))
    output = model(tiny_batch(reads=None)[0])
    assert output.shape == (2, 30, form.tracks * form.axes * 13)


def test_in_bf16_a_cnn_passes_bf16_on_and_keeps_its_statistics_in_fp32():
    encoder = CnnConformer(
        channels=(8, 8), time_strides=(2, 2), frequency_strides=(2, 2), conformer=ConformerConfig(layers=0)
    ).build(16)
    passed = set()
    for module in encoder.modules():
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d):
            module.register_forward_hook(lambda module, given, output: passed.add(output.dtype))
    with torch.autocast("cpu", torch.bfloat16):
        encoder.train()(torch.randn(2, 7, 16, 16)).sum().backward()
    assert passed == {torch.bfloat16}
    norms = [module for module in encoder.modules() if isinstance(module, nn.BatchNorm2d)]
    assert {norm.running_var.dtype for norm in norms} == {torch.float32}
    assert {parameter.grad.dtype for parameter in encoder.parameters()} == {torch.float32}


def test_bf16_is_near_fp32_and_answers_in_fp32():
    torch.manual_seed(0)
    full = SeldModel(tiny_config("cnn_conformer", "resnet_conformer", "av_conformer")).eval()
    half = SeldModel(override(full.config, {"training.precision": "bf16"})).eval()
    half.load_state_dict(full.state_dict())
    with torch.no_grad():
        a, b = full(*tiny_batch()), half(*tiny_batch())
    assert b.dtype == torch.float32
    assert not torch.equal(a, b)
    torch.testing.assert_close(a, b, atol=0.03, rtol=0.1)


def test_a_model_without_ears_does_not_listen():
    model = SeldModel(tiny_config("none", "resnet_conformer", "visual_only")).eval()
    features, shown = tiny_batch()
    with torch.no_grad():
        torch.testing.assert_close(model(features, shown), model(torch.zeros_like(features), shown))
    assert not any(key.startswith("audio.") for key in model.state_dict())


def test_no_conformer_layers_leave_the_embedding_as_it_is():
    x = torch.randn(2, 5, 8)
    assert torch.equal(Conformer(8, ConformerConfig(layers=0))(x), x)


def test_paper_sizes_build_on_the_meta_device():
    assert count_parameters(TrialConfig(fusion=AudioOnly())) > 30e6
    assert count_parameters(TrialConfig(visual=ResNetConformer(), fusion=AvConformer())) == 85_327_221 + 23_508_032
