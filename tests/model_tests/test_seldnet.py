"""SELDnet: equal to a plain rebuilding of the challenge's baseline, whose checkpoints load."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from search_spaces.presets import find_preset
from trainables.config import SeldNet
from trainables.networks.model import SeldModel
from trainables.parts.audio.seldnet import SeldNetEncoder
from trainables.weights.reference_keys import from_dcase


class Baseline(nn.Module):
    """The 2024 form, of torch's own modules under the names of its checkpoint."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_block_list = nn.ModuleList()
        for i, pool in enumerate(((5, 4), (1, 4), (1, 2))):
            block = nn.ModuleDict({"conv": nn.Conv2d(64 if i else 7, 64, 3, padding=1), "bn": nn.BatchNorm2d(64)})
            self.conv_block_list.extend([block, nn.MaxPool2d(pool), nn.Dropout2d(0.05)])
        self.gru = nn.GRU(128, 128, 2, batch_first=True, bidirectional=True, dropout=0.05)
        self.mhsa_block_list = nn.ModuleList(nn.MultiheadAttention(128, 8, batch_first=True) for _ in range(2))
        self.layer_norm_list = nn.ModuleList(nn.LayerNorm(128) for _ in range(2))
        self.fnn_list = nn.ModuleList([nn.Linear(128, 128), nn.Linear(128, 3 * 4 * 13)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for i in (0, 3, 6):
            block = self.conv_block_list[i]
            x = self.conv_block_list[i + 1](F.relu(block["bn"](block["conv"](x))))
        batch, channels, time, bands = x.shape
        x = x.transpose(1, 2).reshape(batch, time, channels * bands)
        x = torch.tanh(self.gru(x)[0])
        x = x[..., 128:] * x[..., :128]
        for attention, norm in zip(self.mhsa_block_list, self.layer_norm_list, strict=True):
            x = norm(x + attention(x, x, x, need_weights=False)[0])
        tracks = self.fnn_list[1](self.fnn_list[0](x)).reshape(batch, time, 3, 4, 13)
        return torch.cat((torch.tanh(tracks[:, :, :, :3]), F.relu(tracks[:, :, :, 3:])), dim=3).flatten(2)


def baseline() -> Baseline:
    torch.manual_seed(0)
    net = Baseline().eval()
    for buffer in net.buffers():
        if buffer.is_floating_point():
            buffer.uniform_(0.5, 1.5)
    return net


def test_a_published_checkpoint_loads_and_predicts_the_same():
    theirs = baseline()
    state = theirs.state_dict()
    assert len(state) == 53
    ours = SeldModel(find_preset("dcase2024-audio")).eval()
    missing, unexpected = ours.load_state_dict(from_dcase(state), strict=False)
    assert not unexpected
    assert set(missing) == {"feature_mean", "feature_std"}
    features = torch.randn(2, 7, 250, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(features), theirs(features), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("num_bands", [64, 70])
def test_sizes_that_the_pools_do_not_divide_lose_the_rest(num_bands):
    encoder = SeldNetEncoder(SeldNet(channels=8, hidden=16), num_bands).eval()
    assert encoder(torch.randn(2, 7, 53, num_bands)).shape == (2, 10, 16)


def test_without_gru_the_mean_over_frequency_is_the_embedding():
    config = SeldNet(channels=8, gru_layers=0, attention_layers=0, time_pools=(5,), frequency_pools=(4,))
    assert config.width == 8
    encoder = SeldNetEncoder(config, 16).eval()
    features = torch.randn(2, 7, 50, 16)
    output = encoder(features)
    assert output.shape == (2, 10, 8)
    torch.testing.assert_close(output, encoder.conv_block_list[1](encoder.conv_block_list[0](features)).mean(3).mT)
