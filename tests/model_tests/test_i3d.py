"""I3D: equal to the reference, and any panorama becomes embeddings over time."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from data.errors import UserError
from support.reference_weights import reference_shapes, reference_weights
from trainables.layers.i3d import I3dBackbone, i3d_embedding, max_pool_same, same_padding, split_halves, upsample_time

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "trainables_i3d.npz")


def test_entries_are_those_of_the_public_weights():
    with torch.device("meta"):
        ours = {key: tuple(value.shape) for key, value in I3dBackbone().state_dict().items()}
    theirs = {key: shape for key, shape in reference_shapes(GOLDEN).items() if not key.startswith("logits.")}
    assert ours == theirs
    classifier = 400 * 1024 + 400
    with torch.device("meta"):
        assert sum(p.numel() for p in I3dBackbone().parameters()) + classifier == GOLDEN["parameters"] == 12_697_264


def test_the_map_before_the_classifier_equals_the_reference():
    net = I3dBackbone().eval()
    state = {key: value for key, value in reference_weights(GOLDEN).items() if not key.startswith("logits.")}
    missing, unexpected = net.load_state_dict(state, strict=False)
    assert not unexpected
    assert not [key for key in missing if not key.endswith("num_batches_tracked")]
    rng = np.random.default_rng(77)
    for shape in ((2, 7, 480, 128), (2, 30, 4096), (2, 30, 2048)):
        rng.standard_normal(shape)
    clip = torch.from_numpy(rng.uniform(-1, 1, (1, 3, 30, 224, 224)).astype("float32"))
    with torch.no_grad():
        output = net(clip.contiguous(memory_format=torch.channels_last_3d)).numpy()
    assert output.shape == GOLDEN["i3d"].shape == (1, 1024, 3, 1, 1)
    assert np.abs(output - GOLDEN["i3d"]).max() < 1e-4


@pytest.mark.parametrize("pictures", [1, 6, 10, 30])
def test_left_and_right_half_lie_side_by_side(pictures):
    torch.manual_seed(0)
    net = I3dBackbone(width=0.125).eval()
    panoramas = torch.randint(0, 256, (2, pictures, 32, 64, 3), dtype=torch.uint8)
    with torch.no_grad():
        embedding = i3d_embedding(net, panoramas)
        other = i3d_embedding(net, torch.cat((panoramas[:, :, :, :32], panoramas[:, :, :, :32]), dim=3))
    assert embedding.shape[0] == 2
    assert embedding.shape[2] == 2 * net.width_out
    torch.testing.assert_close(other[..., : net.width_out], embedding[..., : net.width_out])
    torch.testing.assert_close(other[..., net.width_out :], embedding[..., : net.width_out])


def test_pixels_are_scaled_to_one():
    seen = []

    class Spy(I3dBackbone):
        def forward(self, clips):
            seen.append(clips)
            return super().forward(clips)

    panoramas = torch.zeros(1, 8, 32, 64, 3, dtype=torch.uint8)
    panoramas[0, :, :, 32:] = 255
    i3d_embedding(Spy(width=0.125).eval(), panoramas)
    assert seen[0].shape == (2, 3, 8, 32, 32)
    assert (seen[0][0] == -1).all()
    assert (seen[0][1] == 1).all()


def test_steps_in_time_become_label_frames():
    rows = torch.tensor([0.0, 1.0, 2.0])[None, :, None]
    nearest = upsample_time(rows, 30, "nearest")[0, :, 0]
    assert nearest.tolist() == [0.0] * 10 + [1.0] * 10 + [2.0] * 10
    linear = upsample_time(rows, 30, "linear")[0, :, 0]
    # The middles of the thirds are at 4.5, 14.5 and 24.5 label frames.
    expected = ((torch.arange(30) - 4.5) / 10).clamp(0, 2)
    torch.testing.assert_close(linear, expected)
    assert upsample_time(rows, 3, "linear") is rows


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "expected"),
    [(224, 7, 2, (2, 3)), (15, 7, 2, (3, 3)), (28, 3, 2, (0, 1)), (15, 3, 2, (1, 1)), (4, 2, 2, (0, 0))],
)
def test_padding_puts_the_odd_one_behind(size, kernel, stride, expected):
    assert same_padding([size], [kernel], [stride]) == [expected]


@pytest.mark.parametrize("sizes", [(15, 29, 28), (8, 14, 7), (1, 3, 2)])
@pytest.mark.parametrize(("kernel", "stride"), [((1, 3, 3), (1, 2, 2)), ((3, 3, 3), (2, 2, 2)), ((2, 2, 2), (2, 2, 2))])
def test_pooling_equals_pooling_of_padded_maps(sizes, kernel, stride):
    x = torch.rand(2, 3, *sizes)
    pads = same_padding(sizes, kernel, stride)
    expected = F.max_pool3d(F.pad(x, [side for pair in reversed(pads) for side in pair]), kernel, stride)
    assert torch.equal(max_pool_same(x, kernel, stride), expected)
    assert expected.shape[2:] == tuple(-(-size // step) for size, step in zip(sizes, stride, strict=True))


@pytest.mark.parametrize(
    ("clip", "shape"),
    [((30, 32, 32), (3, 1, 1)), ((17, 40, 72), (2, 1, 1)), ((3, 16, 16), (1, 1, 1)), ((8, 256, 225), (1, 2, 2))],
)
def test_maps_smaller_than_the_last_pooling_are_pooled_whole(clip, shape):
    net = I3dBackbone(width=0.125).eval()
    with torch.no_grad():
        assert net(torch.rand(1, 3, *clip) * 2 - 1).shape == (1, net.width_out, *shape)


def test_gradients_reach_every_weight():
    torch.manual_seed(0)
    net = I3dBackbone(width=0.125)
    net(torch.rand(2, 3, 16, 64, 64) * 2 - 1).square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.any(), name


def test_halves_are_stored_channels_last():
    """In which a CPU convolves faster."""
    clips = split_halves(torch.zeros(1, 8, 32, 64, 3, dtype=torch.uint8))
    assert clips.is_contiguous(memory_format=torch.channels_last_3d)


def test_pictures_that_are_no_panoramas_are_refused():
    with pytest.raises(UserError, match="twice as wide as high, got 48 x 32"):
        i3d_embedding(I3dBackbone(width=0.125), torch.zeros(1, 8, 32, 48, 3, dtype=torch.uint8))
