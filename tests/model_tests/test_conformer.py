"""The Conformer's own parts: dropout, and positions relative to each other in its attention."""

import pytest
import torch

from trainables.config import ConformerConfig
from trainables.layers.conformer import MAX_RELATIVE_LABELS, Conformer, Dropout, SelfAttention

SIZES = {"layers": 2, "heads": 4, "feed_forward": 24, "kernel": 7, "dropout": 0.0}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.999])
def test_dropout_drops_its_share_and_scales_the_rest(p, dtype):
    torch.manual_seed(0)
    x = torch.ones(101, 3001, dtype=dtype, requires_grad=True)
    y = Dropout(p)(x)
    assert y.dtype == dtype
    kept = y != 0
    assert kept.double().mean() == pytest.approx(1 - p, abs=4 * (p * (1 - p) / x.numel()) ** 0.5)
    torch.testing.assert_close(y[kept], torch.full_like(y[kept], 1 / (1 - p)), rtol=0.01, atol=0)
    y.sum().backward()
    assert torch.equal(x.grad != 0, kept)


def test_every_place_is_dropped_as_often_as_its_neighbours():
    """Four elements share a random number: none of the four may be kept more often."""
    torch.manual_seed(0)
    kept = (Dropout(0.5)(torch.ones(10_000, 8)) != 0).double()
    assert (kept.mean(dim=0) - 0.5).abs().max() < 0.02
    assert torch.corrcoef(kept.T).fill_diagonal_(0).abs().max() < 0.05


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_dropout_of_nothing_or_everything(p):
    x = torch.randn(3, 5)
    assert torch.equal(Dropout(p)(x), x * (1 - p))
    assert torch.equal(Dropout(0.9).eval()(x), x)


def test_dropout_follows_the_seed():
    torch.manual_seed(3)
    first = Dropout(0.3)(torch.ones(1001))
    torch.manual_seed(3)
    assert torch.equal(Dropout(0.3)(torch.ones(1001)), first)


def test_compiles_in_one_piece():
    """Graph breaks would leave most of what compiling is for."""
    model = Conformer(16, ConformerConfig(**{**SIZES, "dropout": 0.1}, relative_position=True)).train()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    compiled(torch.randn(2, 30, 16)).sum().backward()


def pair() -> tuple[Conformer, Conformer]:
    torch.manual_seed(0)
    plain = Conformer(16, ConformerConfig(**SIZES)).eval()
    relative = Conformer(16, ConformerConfig(**SIZES, relative_position=True)).eval()
    relative.load_state_dict(plain.state_dict(), strict=False)
    return plain, relative


def test_relative_position_starts_as_the_model_without():
    plain, relative = pair()
    x = torch.randn(2, 30, 16)
    torch.testing.assert_close(relative(x), plain(x))
    added = relative.state_dict().keys() - plain.state_dict().keys()
    assert added == {f"conformer_layers.{layer}.self_attn.relative_bias" for layer in range(2)}


def test_relative_position_learns():
    _, relative = pair()
    relative(torch.randn(2, 30, 16)).square().sum().backward()
    gradient = relative.conformer_layers[0].self_attn.relative_bias.grad
    near = slice(MAX_RELATIVE_LABELS - 29, MAX_RELATIVE_LABELS + 30)
    assert gradient[:, near].abs().min() > 0
    assert gradient[:, : near.start].abs().max() == gradient[:, near.stop :].abs().max() == 0


def test_attention_follows_the_bias():
    """A bias that is large for one step back, and only there: every frame hears the one before it."""
    attention = SelfAttention(8, 2, 0.0, relative_position=True)
    with torch.no_grad():
        attention.relative_bias[:, MAX_RELATIVE_LABELS - 1] = 100.0
        attention.in_proj_weight[:16].zero_()
        attention.in_proj_weight[16:].copy_(torch.eye(8))
        attention.out_proj.weight.copy_(torch.eye(8))
        x = torch.randn(1, 20, 8)
        torch.testing.assert_close(attention(x)[:, 1:], x[:, :-1])


def test_far_labels_share_one_bias():
    attention = SelfAttention(8, 2, 0.0, relative_position=True)
    with torch.no_grad():
        attention.relative_bias.copy_(torch.randn(2, 2 * MAX_RELATIVE_LABELS + 1))
    frames = torch.zeros(1, 2, 200, 4)
    bias = attention._bias(attention.relative_bias, frames, frames)
    assert bias.shape == (1, 2, 200, 200)
    assert torch.equal(bias[0, :, 0, 64:], attention.relative_bias[:, -1:].expand(2, 136))
    assert torch.equal(bias[0, :, 199, :136], attention.relative_bias[:, :1].expand(2, 136))
    assert torch.equal(bias[0, :, 5, 3], attention.relative_bias[:, MAX_RELATIVE_LABELS - 2])


def test_relative_position_in_bf16():
    _, relative = pair()
    with torch.autocast("cpu", torch.bfloat16):
        y = relative.train()(torch.randn(2, 30, 16))
    y.float().sum().backward()
    assert relative.conformer_layers[1].self_attn.relative_bias.grad.isfinite().all()
