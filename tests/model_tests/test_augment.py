"""Augmentation: what each changes, what happens to the labels, and that it is off unless asked for."""

import pytest
import torch

from data.errors import UserError
from data.labels import Events, adpit_target
from trainables.config import OUTPUTS, Accdoa, AugmentConfig, I3d, MultiAccdoa, ResNetConformer
from trainables.inputs.augment import Augment, Mix, change_level, draw_mix, shift_bands
from trainables.inputs.features import FeatureExtractor
from trainables.parts.visual.i3d import I3dEncoder
from trainables.parts.visual.resnet_conformer import ResNetConformerEncoder

TIME, BANDS = 40, 16
ALL = AugmentConfig(
    time_mask_frames=10,
    mel_mask_bands=4,
    cutouts=2,
    cutout_frames=6,
    cutout_bands=3,
    frequency_shift_bands=3,
    mixup_alpha=0.5,
    gain_db=(-6.0, 6.0),
)


def features(batch: int = 16) -> torch.Tensor:
    return torch.rand(batch, 7, TIME, BANDS, generator=torch.Generator().manual_seed(0)) + 1


def panoramas(batch: int = 16) -> torch.Tensor:
    return torch.randint(256, (batch, 2, 4, 8, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def augmented(config: AugmentConfig, x: torch.Tensor, seed: int = 1) -> torch.Tensor:
    torch.manual_seed(seed)
    return Augment(config)(x, {}, torch.ones(len(x), dtype=torch.bool))[0]


class TestAll:
    def test_nothing_is_on_by_default(self):
        x, seen = features(), panoramas()
        torch.manual_seed(1)
        before = torch.random.get_rng_state()
        out, shown, mix = Augment(AugmentConfig())(x, {"frames": seen}, torch.ones(16, dtype=torch.bool))
        assert out is x
        assert shown["frames"] is seen
        assert mix == Mix()
        assert torch.equal(torch.random.get_rng_state(), before)

    def test_the_same_seed_gives_the_same_batch(self):
        x, seen, has_video = features(), panoramas(), torch.arange(16) % 3 > 0
        made = []
        for seed in (1, 1, 2):
            torch.manual_seed(seed)
            out, shown, mix = Augment(ALL)(x, {"frames": seen}, has_video)
            made.append((out, shown["frames"], mix.partner, torch.tensor(mix.share)))
        assert all(torch.equal(a, b) for a, b in zip(made[0], made[1], strict=True))
        assert not any(torch.equal(a, b) for a, b in zip(made[0], made[2], strict=True))

    def test_what_is_given_stays_as_it_was(self):
        x, seen = features(), panoramas()
        Augment(ALL)(x, {"frames": seen}, torch.ones(16, dtype=torch.bool))
        assert torch.equal(x, features())
        assert torch.equal(seen, panoramas())

    def test_one_window_has_itself_for_a_partner(self):
        x, seen = features(1), panoramas(1)
        out, shown, mix = Augment(AugmentConfig(mixup_alpha=1.0))(x, {"frames": seen}, torch.tensor([True]))
        assert mix.partner.tolist() == [0]
        torch.testing.assert_close(out, x)
        torch.testing.assert_close(shown["frames"], seen.float())


class TestMasks:
    def test_spec_augment_masks_one_span_of_time_and_one_of_bands(self):
        x = features()
        masked = augmented(AugmentConfig(time_mask_frames=10, mel_mask_bands=4), x)
        changed = (masked != x).any(dim=1)
        assert changed.any()
        for window in changed:
            times, bands = window.all(dim=1), window.all(dim=0)
            assert times.sum() <= 10
            assert bands.sum() <= 4
            assert (window == (times[:, None] | bands[None])).all()
            for span in (times, bands):
                places = span.nonzero().flatten()
                assert len(places) == 0 or int(places[-1] - places[0]) == len(places) - 1

    def test_a_cut_out_is_a_rectangle_within_its_sides(self):
        x = features(512)
        masked = augmented(AugmentConfig(cutouts=1, cutout_frames=6, cutout_bands=3), x)
        sizes = set()
        for window in (masked != x).any(dim=1):
            times, bands = window.any(dim=1), window.any(dim=0)
            assert (window == (times[:, None] & bands[None])).all()
            sizes.add((int(times.sum()), int(bands.sum())))
        assert max(sizes) == (6, 3)
        assert (0, 0) in sizes
        # Anywhere, up to every edge.
        where = (masked != x).any(dim=1).any(dim=0)
        assert where[0].any()
        assert where[-1].any()
        assert where[:, 0].any()
        assert where[:, -1].any()

    def test_more_cut_outs_mask_more(self):
        x = features(64)
        few, many = (
            float((augmented(AugmentConfig(cutouts=n, cutout_frames=6, cutout_bands=3), x) != x).float().mean())
            for n in (1, 8)
        )
        assert 4 * few < many <= 8 * 6 * 3 / (TIME * BANDS)

    @pytest.mark.parametrize("config", [AugmentConfig(time_mask_frames=10), AugmentConfig(cutouts=3, cutout_frames=9)])
    def test_a_masked_place_has_the_mean_level_and_no_direction(self, config):
        x = features()
        masked = augmented(config, x)
        changed = (masked != x).any(dim=1)
        assert (masked[:, 4:][changed[:, None].expand(-1, 3, -1, -1)] == 0).all()
        level = x[:, :4].mean(dim=(2, 3), keepdim=True).expand(-1, -1, TIME, BANDS)
        where = changed[:, None].expand(-1, 4, -1, -1)
        torch.testing.assert_close(masked[:, :4][where], level[where])

    def test_sides_longer_than_the_window_are_those_of_the_window(self):
        x = features(64)
        masked = augmented(AugmentConfig(time_mask_frames=1000), x)
        longest = (masked != x).any(dim=1).all(dim=2).sum(dim=1).max()
        assert TIME // 2 < longest <= TIME


class TestFrequencyShift:
    def test_each_window_moves_as_one_and_repeats_its_edge(self):
        x = features(64)
        torch.manual_seed(0)
        shifted = shift_bands(x, 3)
        seen = set()
        for before, after in zip(x, shifted, strict=True):
            (shift,) = [
                k for k in range(-3, 4) if torch.equal(after, before[..., [min(max(m - k, 0), 15) for m in range(16)]])
            ]
            seen.add(shift)
        assert seen == set(range(-3, 4))

    def test_the_furthest_shift_leaves_the_edge_alone(self):
        x = features(64)
        torch.manual_seed(0)
        shifted = shift_bands(x, BANDS - 1)
        flat = (shifted == shifted[..., :1]).flatten(1).all(dim=1)
        assert flat.any()
        assert torch.isfinite(shifted).all()


class TestMixup:
    def test_features_and_pictures_are_mixed_alike(self):
        x, seen = features(), panoramas()
        torch.manual_seed(3)
        out, shown, mix = Augment(AugmentConfig(mixup_alpha=2.0))(x, {"frames": seen}, torch.ones(16, dtype=torch.bool))
        assert 0.05 < mix.share < 0.95
        assert sorted(mix.partner.tolist()) == list(range(16))
        assert mix.partner.tolist() != list(range(16))
        torch.testing.assert_close(out, mix.share * x + (1 - mix.share) * x[mix.partner])
        pictures = seen.float()
        torch.testing.assert_close(shown["frames"], mix.share * pictures + (1 - mix.share) * pictures[mix.partner])
        assert shown["frames"].min() >= 0
        assert shown["frames"].max() <= 255

    def test_shares_are_beta(self):
        torch.manual_seed(0)
        for alpha in (0.2, 4.0):
            shares = torch.tensor([draw_mix(torch.ones(2, dtype=torch.bool), alpha).share for _ in range(2000)])
            assert float(shares.mean()) == pytest.approx(0.5, abs=0.03)
            assert float(shares.var()) == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.1)

    def test_windows_with_video_are_mixed_with_such(self):
        has_video = torch.tensor([True, False, False, True, True, False, True, False, True])
        torch.manual_seed(0)
        partners = torch.stack([draw_mix(has_video, 1.0).partner for _ in range(200)])
        assert (has_video[partners] == has_video).all()
        assert (partners.sort(dim=1).values == torch.arange(9)).all()
        # Every partner that may be is drawn.
        assert [set(column.tolist()) for column in partners.T] == [
            set((has_video == own).nonzero().flatten().tolist()) for own in has_video
        ]


def two_batches(form_name: str, batch: int = 4, steps: int = 6):
    """Outputs, targets in which classes overlap with themselves, and masks that differ from window to window."""
    rng = torch.Generator().manual_seed(5)
    targets = []
    for window in range(batch):
        count = 3 * steps
        azimuth = torch.rand(count, generator=rng).numpy() * 360 - 180
        class_index = torch.randint(2, (count,), generator=rng).numpy()
        events = Events.build([t // 3 for t in range(count)], class_index, [window] * count, azimuth, [0.0] * count)
        targets.append(torch.from_numpy(adpit_target(events, steps)).nan_to_num())
    valid = torch.ones(batch, steps, dtype=torch.bool)
    valid[1, 4:] = False
    valid[2, 1:] = False
    output = torch.tanh(torch.randn(batch, steps, OUTPUTS[form_name]().width(13), generator=rng))
    return output, torch.stack(targets), valid


@pytest.mark.parametrize("form", sorted(OUTPUTS))
class TestMixedLoss:
    partner = torch.tensor([2, 0, 3, 1])

    def test_ends_are_the_plain_losses(self, form):
        output, target, valid = two_batches(form)
        own = OUTPUTS[form]().loss(output, target, valid)
        other = OUTPUTS[form]().loss(output, target[self.partner], valid[self.partner])
        assert not torch.isclose(own, other)
        for share, expected in ((1.0, own), (0.0, other)):
            got = Mix(share, self.partner).loss(OUTPUTS[form]().loss, output, target, valid)
            torch.testing.assert_close(got, expected, rtol=0, atol=0)
        torch.testing.assert_close(Mix().loss(OUTPUTS[form]().loss, output, target, valid), own, rtol=0, atol=0)

    def test_between_them_it_is_linear(self, form):
        output, target, valid = two_batches(form)
        losses = torch.stack(
            [Mix(k / 4, self.partner).loss(OUTPUTS[form]().loss, output, target, valid) for k in range(5)]
        )
        torch.testing.assert_close(losses.diff(), losses.diff()[:1].expand(4))

    def test_workers_add_up_to_the_whole_batch(self, form):
        """Each worker's loss, by its share of the valid frames, is the mean over the frames of all of them."""
        output, target, valid = two_batches(form)
        partner = torch.tensor([1, 0])
        total, added, by_label = valid.sum(), 0.0, 0.0
        for part, share in ((slice(0, 2), 0.3), (slice(2, 4), 0.8)):
            out, wanted, mask = output[part], target[part], valid[part]
            added += Mix(share, partner).loss(OUTPUTS[form]().loss, out, wanted, mask) * mask.sum() / total
            for weight, who in ((share, torch.arange(2)), (1 - share, partner)):
                for i, t in mask[who].nonzero().tolist():
                    one = OUTPUTS[form]().loss(out[i, t][None, None], wanted[who[i], t][None, None], None)
                    by_label += weight * one / total
        torch.testing.assert_close(added, by_label)


def test_the_loss_of_a_mixed_target_would_be_another():
    """The rule has a reason: with tracks interchangeable, mixing targets is not mixing losses."""
    output, target, valid = two_batches("multi_accdoa")
    mix = Mix(0.5, TestMixedLoss.partner)
    mixed_target = (target + target[mix.partner]) / 2
    loss = MultiAccdoa().loss
    assert not torch.isclose(loss(output, mixed_target, valid), mix.loss(loss, output, target, valid))


def test_padding_has_no_say_in_a_mixed_loss():
    output, target, valid = two_batches("accdoa")
    mix = Mix(0.5, TestMixedLoss.partner)
    spoiled = torch.where(valid[..., None, None, None], target, torch.full_like(target, 9.0))
    expected = mix.loss(Accdoa().loss, output, target, valid)
    torch.testing.assert_close(mix.loss(Accdoa().loss, output, spoiled, valid), expected)


@pytest.mark.parametrize(
    "encoder",
    [
        ResNetConformerEncoder(ResNetConformer(block="basic", depths=(1, 1, 1, 1), width=8), 8),
        I3dEncoder(I3d(width=0.1), 8),
    ],
    ids=["resnet_conformer", "i3d"],
)
def test_encoders_take_float_pictures_as_they_take_bytes(encoder):
    seen = torch.randint(256, (2, 8, 32, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    encoder.eval()
    with torch.no_grad():
        torch.testing.assert_close(encoder.embed(seen.float()), encoder.embed(seen), rtol=0, atol=0)


class TestLevel:
    def test_a_gain_is_what_a_louder_recording_would_be(self):
        audio = torch.randn(2, 4, 24_000, generator=torch.Generator().manual_seed(0)) * 0.01
        extract = FeatureExtractor(n_mels=32)
        louder = change_level(extract(audio), 12.0, 12.0)
        torch.testing.assert_close(louder, extract(audio * 10 ** (12 / 20)), atol=1e-3, rtol=1e-4)

    def test_each_window_has_a_gain_of_its_own(self):
        x = features() - 50
        by = (augmented(AugmentConfig(gain_db=(-30.0, 6.0)), x) - x)[:, :4]
        assert torch.allclose(by, by[:, :1, :1, :1].expand_as(by), atol=1e-4), "one for all channels, times and bands"
        gains = by[:, 0, 0, 0]
        assert len(gains.unique()) == len(gains)
        assert (gains >= -30).all()
        assert (gains <= 6).all()

    def test_nothing_is_softer_than_the_floor(self):
        assert change_level(features() - 90, -30.0, -30.0)[:, :4].min() == -100

    @pytest.mark.parametrize("gain_db", [(6.0, -6.0), (-200.0, 0.0), (0.0, float("nan"))])
    def test_a_range_that_is_none_is_refused(self, gain_db):
        with pytest.raises(UserError, match=r"^augment\.gain_db = .* the least and the largest gain"):
            AugmentConfig(gain_db=gain_db)
