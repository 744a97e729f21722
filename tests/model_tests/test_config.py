"""TrialConfig: every rule names its field, and dictionaries go in and out without loss."""

import dataclasses
import json

import pytest
import yaml

from data.errors import UserError
from data.registry.parts import OWN
from data.timing import RATE_HZ
from trainables.config import (
    Adam,
    AdamW,
    AudioOnly,
    AugmentConfig,
    AvConformer,
    Cmaf,
    CnnConformer,
    ConformerConfig,
    ConstantDecay,
    Cosine,
    Gru,
    HeadConfig,
    I3d,
    InferenceConfig,
    InputConfig,
    MultiAccdoa,
    NoAudio,
    ObjectBoxes,
    OneCycle,
    ResNetAndI3d,
    ResNetConformer,
    SeldNet,
    TrainingConfig,
    TrialConfig,
    VisualOnly,
    WarmupCosine,
)
from trainables.config.tree import REGISTRIES, fingerprint, from_dict, nested, override, to_dict, to_flat

SEEING = {"visual": ResNetConformer(), "fusion": AvConformer()}

CONFIGS = {
    "default": TrialConfig(),
    "av": TrialConfig(**SEEING),
    "everything": TrialConfig(
        inputs=InputConfig(hop=300, n_mels=64, frame_width=128, frame_height=64, frame_rate_hz=2.0),
        audio=CnnConformer(
            channels=(16, 32, 64),
            time_strides=(2, 2, 2),
            frequency_strides=(2, 2, 4),
            conformer=ConformerConfig(layers=1, heads=4, kernel=7, dropout=0.0),
        ),
        visual=ResNetConformer(block="basic", depths=(1, 1, 1, 1), width=16, weights="s3://bucket/w.pth", frozen=True),
        fusion=Cmaf(layers=2, sequential=True),
        head=HeadConfig(hidden=32, activation="none"),
        schedule=OneCycle(rise_fraction=0.2),
        optimiser=AdamW(lr=1e-3),
        augment=AugmentConfig(time_mask_frames=10, cutouts=2, frequency_shift_bands=4, mixup_alpha=0.2),
        training=TrainingConfig(epochs=3, epoch_windows=64, seed=7),
    ),
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
class TestRoundTrips:
    def test_dict(self, config):
        assert from_dict(to_dict(config)) == config

    def test_json(self, config):
        assert from_dict(json.loads(json.dumps(to_dict(config)))) == config

    def test_yaml(self, config):
        assert from_dict(yaml.safe_load(yaml.safe_dump(to_dict(config)))) == config

    def test_flat(self, config):
        flat = to_flat(config)
        assert all(not isinstance(value, dict) for value in flat.values())
        assert from_dict(nested(flat)) == config

    def test_hashable_and_fingerprinted(self, config):
        assert hash(config) == hash(from_dict(to_dict(config)))
        assert fingerprint(config) == fingerprint(from_dict(to_dict(config)))

    def test_override_with_itself_changes_nothing(self, config):
        assert override(config, to_flat(config)) == config
        assert override(config, {}) == config


def test_fingerprints_differ():
    assert len({fingerprint(config) for config in CONFIGS.values()}) == len(CONFIGS)
    assert fingerprint(TrialConfig()) != fingerprint(TrialConfig(training=TrainingConfig(seed=1)))


@pytest.mark.parametrize("part", REGISTRIES)
def test_registry_names_are_those_of_the_classes(part):
    assert all(name == entry.name for name, entry in REGISTRIES[part].items())


def test_empty_dictionary_is_the_default():
    assert from_dict({}) == TrialConfig()
    assert from_dict({"fusion": {}}) == TrialConfig()


def test_derived_sizes():
    inputs = InputConfig(hop=300, frame_rate_hz=2.0)
    assert (inputs.window_labels, inputs.train_hop_labels, inputs.features_per_label, inputs.window_pictures) == (
        30,
        5,
        8,
        6,
    )
    assert CONFIGS["everything"].width == 64
    assert CONFIGS["everything"].sees
    assert not TrialConfig().sees
    assert RATE_HZ == 24_000


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_frozen(config):
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.training.epochs = 3


RULES = [
    (InputConfig, {"hop": 0}, "inputs.hop"),
    (InputConfig, {"hop": 160 + 1}, "inputs.hop"),
    (InputConfig, {"n_fft": 128}, "inputs.n_fft"),
    (InputConfig, {"n_mels": 0}, "inputs.n_mels"),
    (InputConfig, {"n_mels": 300}, "inputs.n_mels"),
    (InputConfig, {"window_s": 0.0}, "inputs.window_s"),
    (InputConfig, {"window_s": 2.95}, "inputs.window_s"),
    (InputConfig, {"train_hop_s": 0.25}, "inputs.train_hop_s"),
    (InputConfig, {"frame_width": 446}, "inputs.frame_width"),
    (InputConfig, {"frame_height": 0}, "inputs.frame_height"),
    (InputConfig, {"frame_rate_hz": 0.1}, "inputs.frame_rate_hz"),
    (InputConfig, {"frame_rate_hz": 3.5}, "inputs.frame_rate_hz"),
    (ConformerConfig, {"layers": -1}, "conformer.layers"),
    (ConformerConfig, {"heads": 0}, "conformer.heads"),
    (ConformerConfig, {"feed_forward": -1}, "conformer.feed_forward"),
    (ConformerConfig, {"kernel": 8}, "conformer.kernel"),
    (ConformerConfig, {"kernel": -1}, "conformer.kernel"),
    (ConformerConfig, {"dropout": 1.0}, "conformer.dropout"),
    (CnnConformer, {"time_strides": (2, 2)}, "audio.time_strides"),
    (CnnConformer, {"frequency_strides": (2, 2, 2, 0)}, "audio.frequency_strides"),
    (CnnConformer, {"channels": (), "time_strides": (), "frequency_strides": ()}, "audio.channels"),
    (CnnConformer, {"channels": (8, 8, 8, 0)}, "audio.channels"),
    (ResNetConformer, {"block": "wide"}, "visual.block"),
    (ResNetConformer, {"depths": (1, 1, 1)}, "visual.depths"),
    (ResNetConformer, {"depths": (1, 1, 1, 0)}, "visual.depths"),
    (ResNetConformer, {"width": 0}, "visual.width"),
    (ResNetConformer, {"pool_columns": 0}, "visual.pool_columns"),
    (ResNetConformer, {"frozen": True}, "visual.frozen"),
    (I3d, {"width": 0.0}, "visual.width"),
    (I3d, {"upsample": "cubic"}, "visual.upsample"),
    (I3d, {"frozen": True}, "visual.frozen"),
    (SeldNet, {"gru_layers": -1}, "audio.gru_layers"),
    (SeldNet, {"attention_layers": -1}, "audio.attention_layers"),
    (SeldNet, {"time_pools": (5, 1)}, "audio.time_pools"),
    (SeldNet, {"dropout": 1.0}, "audio.dropout"),
    (NoAudio, {"width": 0}, "audio.width"),
    (MultiAccdoa, {"unify_deg": 181.0}, "output.unify_deg"),
    (InferenceConfig, {"threshold": 1.0}, "inference.threshold"),
    (InferenceConfig, {"hop_s": 0.25}, "inference.hop_s"),
    (Cmaf, {"layers": 0}, "fusion.layers"),
    (Cmaf, {"heads": 0}, "fusion.heads"),
    (Cmaf, {"feed_forward": 0}, "fusion.feed_forward"),
    (Cmaf, {"dropout": -0.1}, "fusion.dropout"),
    (Gru, {"layers": 0}, "fusion.layers"),
    (Gru, {"hidden": 0}, "fusion.hidden"),
    (Gru, {"dropout": 1.0}, "fusion.dropout"),
    (HeadConfig, {"hidden": 0}, "head.hidden"),
    (HeadConfig, {"activation": "gelu"}, "head.activation"),
    (ConstantDecay, {"constant_epochs": -1}, "schedule.constant_epochs"),
    (ConstantDecay, {"decay": 0.0}, "schedule.decay"),
    (ConstantDecay, {"decay": 1.1}, "schedule.decay"),
    (Cosine, {"final_fraction": 1.5}, "schedule.final_fraction"),
    (OneCycle, {"rise_fraction": 1.0}, "schedule.rise_fraction"),
    (WarmupCosine, {"warmup_fraction": 0.0}, "schedule.warmup_fraction"),
    (Adam, {"lr": 0.0}, "optimiser.lr"),
    (AdamW, {"weight_decay": -1.0}, "optimiser.weight_decay"),
    (AugmentConfig, {"time_mask_frames": -1}, "augment.time_mask_frames"),
    (AugmentConfig, {"mel_mask_bands": -1}, "augment.mel_mask_bands"),
    (AugmentConfig, {"cutouts": -1}, "augment.cutouts"),
    (AugmentConfig, {"cutout_frames": 0}, "augment.cutout_frames"),
    (AugmentConfig, {"cutout_bands": 0}, "augment.cutout_bands"),
    (AugmentConfig, {"frequency_shift_bands": -1}, "augment.frequency_shift_bands"),
    (AugmentConfig, {"mixup_alpha": -0.1}, "augment.mixup_alpha"),
    (TrainingConfig, {"epochs": 0}, "training.epochs"),
    (TrainingConfig, {"batch_size": 0}, "training.batch_size"),
    (TrainingConfig, {"clip_norm": 0.0}, "training.clip_norm"),
    (TrainingConfig, {"epoch_windows": 16}, "training.epoch_windows"),
    (TrainingConfig, {"precision": "fp16"}, "training.precision"),
]


@pytest.mark.parametrize(("part", "fields", "name"), RULES, ids=[f"{r[2]}={list(r[1].values())[-1]}" for r in RULES])
def test_a_rule_names_its_field_and_what_it_got(part, fields, name):
    got = fields[name.split(".")[-1]]
    with pytest.raises(UserError) as error:
        part(**fields)
    assert str(error.value).startswith(f"{name} = {got!r}: ")
    assert "\n" not in str(error.value)


CROSS_RULES = [
    ({"inputs": InputConfig(hop=300)}, r"^audio\.time_strides = .*product is 16.*inputs\.hop = 300 gives 8"),
    ({"inputs": InputConfig(n_mels=8)}, r"^audio\.frequency_strides = .*inputs\.n_mels = 8"),
    ({"fusion": AvConformer()}, r"^fusion\.name = 'av_conformer' needs visual embeddings.*resnet_conformer"),
    ({"visual": ResNetConformer()}, r"^fusion\.name = 'audio_only' ignores.*visual\.name = 'none'"),
    ({"audio": CnnConformer(conformer=ConformerConfig(heads=6))}, r"^audio\.conformer\.heads = 6: .*width 512"),
    (
        {**SEEING, "visual": ResNetConformer(conformer=ConformerConfig(heads=7))},
        r"^visual\.conformer\.heads = 7: .*width 512",
    ),
    ({"fusion": AudioOnly(conformer=ConformerConfig(heads=3))}, r"^fusion\.conformer\.heads = 3: .*width 512"),
    (
        {**SEEING, "fusion": AvConformer(conformer=ConformerConfig(heads=3))},
        r"^fusion\.conformer\.heads = 3: .*width 1024",
    ),
    (
        {"visual": ResNetAndI3d(), "fusion": Cmaf()},
        r"^fusion\.name = 'cmaf': .*visual\.name = 'both' gives 1024 beside the audio's 512.*av_conformer, gru, concat",
    ),
    (
        {"visual": ObjectBoxes(), "fusion": VisualOnly()},
        r"^fusion\.name = 'visual_only' ignores the audio.*audio\.name",
    ),
    ({"audio": NoAudio()}, r"^fusion\.name = 'audio_only' needs audio embeddings.*'visual_only'"),
    ({"audio": SeldNet()}, r"^audio\.time_pools = \(5, 1, 1\): .*product is 5.*gives 16"),
    (
        {**SEEING, "visual": I3d(), "inputs": InputConfig(frame_width=224)},
        r"^inputs\.frame_width = 224: .*448",
    ),
    ({"inference": InferenceConfig(hop_s=4.0)}, r"^inference\.hop_s = 4\.0: .*gaps.*3\.0"),
    (
        {**SEEING, "visual": ObjectBoxes(), "augment": AugmentConfig(mixup_alpha=0.2)},
        r"^augment\.mixup_alpha = 0\.2: visual\.name = 'boxes' .*cannot be mixed",
    ),
    (
        {"augment": AugmentConfig(frequency_shift_bands=128)},
        r"^augment\.frequency_shift_bands = 128: .*inputs\.n_mels = 128",
    ),
    ({**SEEING, "fusion": Cmaf(heads=5)}, r"^fusion\.heads = 5: .*width 512.*audio\.channels"),
]


@pytest.mark.parametrize(("parts", "message"), CROSS_RULES)
def test_rules_across_parts(parts, message):
    with pytest.raises(UserError, match=message):
        TrialConfig(**parts)


@pytest.mark.parametrize("part", REGISTRIES)
def test_unknown_names_list_the_choices(part):
    with pytest.raises(UserError) as error:
        from_dict({part: {"name": "luck"}})
    assert str(error.value) == f"{part}.name = 'luck' is not known; choose one of {', '.join(REGISTRIES[part])}; {OWN}"


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"colour": {}}, r"^colour is not a field; a trial has .*fusion"),
        ({"training": {"epoch": 3}}, r"^training\.epoch is not a field; training has .*epochs"),
        ({"audio": {"conformer": {"head": 2}}}, r"^audio\.conformer\.head is not a field; .*heads"),
        ({"fusion": {"name": "gru", "heads": 2}}, r"^fusion\.heads is not a field; fusion has .*hidden"),
        ({"training": 3}, r"^training = 3: has to be a mapping"),
        ({"training": {"epochs": 2.5}}, r"^training\.epochs = 2\.5: has to be of type int"),
        ({"training": {"epochs": "3"}}, r"^training\.epochs = '3': has to be of type int"),
        ({"training": {"epochs": True}}, r"^training\.epochs = True: has to be of type int"),
        ({"training": {"epoch_windows": "all"}}, r"^training\.epoch_windows = 'all': has to be of type int"),
        ({"optimiser": {"lr": "fast"}}, r"^optimiser\.lr = 'fast': has to be of type float"),
        ({"augment": {"channel_swaps": 1}}, r"^augment\.channel_swaps = 1: has to be of type bool"),
        ({"audio": {"channels": [8, "16"]}}, r"^audio\.channels = '16': has to be of type int"),
        ({"audio": {"conformer": 3}}, r"^audio\.conformer = 3: has to be of type ConformerConfig"),
    ],
)
def test_dictionaries_that_say_something_else_are_refused(tree, message):
    with pytest.raises(UserError, match=message):
        from_dict(tree)


def test_whole_numbers_and_nothing_are_accepted_where_they_fit():
    config = from_dict({"optimiser": {"lr": 1}, "training": {"epoch_windows": None, "clip_norm": 2}})
    assert config.optimiser.lr == 1.0
    assert isinstance(config.optimiser.lr, float)
    assert config.training.epoch_windows is None


class TestOverride:
    def test_one_field_keeps_the_rest(self):
        changed = override(CONFIGS["everything"], {"fusion.layers": 3, "training.epochs": 9})
        assert changed.fusion == Cmaf(layers=3, sequential=True)
        assert changed.training == TrainingConfig(epochs=9, epoch_windows=64, seed=7)
        assert changed.audio == CONFIGS["everything"].audio

    def test_a_new_name_starts_from_its_defaults(self):
        changed = override(CONFIGS["everything"], {"fusion.name": "av_conformer", "fusion.conformer.layers": 2})
        assert changed.fusion == AvConformer(conformer=ConformerConfig(layers=2))

    def test_the_same_name_keeps_its_fields(self):
        assert override(CONFIGS["everything"], {"fusion.name": "cmaf"}) == CONFIGS["everything"]

    def test_deep_fields(self):
        changed = override(TrialConfig(), {"audio.conformer.kernel": 7})
        assert changed.audio.conformer == ConformerConfig(kernel=7)

    @pytest.mark.parametrize(
        ("flat", "message"),
        [
            ({"training": 3}, r"^training = 3: name a field"),
            ({"training.epochs": 1, "training.epochs.x": 2}, r"'epochs' already holds a value"),
            ({"audio.conformer.heads": 6}, r"^audio\.conformer\.heads = 6"),
            ({"visual.name": "resnet_conformer"}, r"^fusion\.name = 'audio_only' ignores"),
            ({"sound.x": 1}, r"^sound is not a field"),
        ],
    )
    def test_refusals(self, flat, message):
        with pytest.raises(UserError, match=message):
            override(TrialConfig(), flat)


def test_a_group_cannot_replace_a_value():
    with pytest.raises(UserError, match="already holds a value"):
        nested({"a.b": 1, "a.b.c": 2})
    assert nested({"a.b": 1, "a.c.d": 2, "e": 3}) == {"a": {"b": 1, "c": {"d": 2}}, "e": 3}


# As the version before the fields that came later computed them.
BEFORE = {
    "default": "d09abf7ae0470d3d62878bc5a3dcd3af11bcc698d799166f4f9c6a50df03d879",
    "av": "1a8d56b7954f0ec7c23a883602fa1a9e348dd327c60fd28cd705e3daf5e03c43",
}


@pytest.mark.parametrize("name", BEFORE)
def test_a_field_that_came_later_leaves_the_fingerprint_where_it_is_not_used(name):
    assert fingerprint(CONFIGS[name]) == BEFORE[name]


@pytest.mark.parametrize(
    "change",
    [{"inputs.level": "normalised"}, {"output.vertical_weight": 1.5}, {"fusion.visual_gate": True}],
    ids=lambda change: next(iter(change)),
)
def test_a_field_that_came_later_counts_where_it_is_used(change):
    config = CONFIGS["av"]
    assert fingerprint(override(config, change)) != fingerprint(config)
