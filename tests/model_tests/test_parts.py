"""Every registered part keeps its kind's contract, and one from outside works like those that are here."""

import dataclasses
import json
import logging
import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from data.classes import STARSS23
from data.errors import UserError
from data.feeding.feed import HeldRows
from infra.console.palette import COLOURS
from infra.record.trials import COMPLETE, TrialRecord
from infra.sweep.report import plot_sweep, rows_of_table
from search_spaces.files.yaml_space import yaml_space
from support.learnable_rows import CONFIG, INPUTS, make_rows
from support.outside_parts import (
    POOLED_KIND,
    Brightness,
    Halved,
    OneTrack,
    Pooled,
    PooledEncoder,
    Sgd,
    Weighed,
    registered,
)
from support.tiny_parts import tiny_batch, tiny_config
from trainables.config import (
    AUDIO_ENCODERS,
    FUSIONS,
    OPTIMISERS,
    OUTPUTS,
    SCHEDULES,
    VISUAL_ENCODERS,
    AudioEncoder,
    Fusion,
    InputConfig,
    Optimiser,
    Output,
    Schedule,
    TrialConfig,
    VisualEncoder,
)
from trainables.config.tree import REGISTRIES, fingerprint, from_dict, override, to_dict
from trainables.evaluation.bundle import load_bundle
from trainables.networks.estimate import estimate
from trainables.networks.model import SeldModel
from trainables.networks.pretrained import load_pretrained, warn_random_weights
from trainables.training.checkpoint import TrialStore
from trainables.training.decision import GO_ON, Decision
from trainables.training.learner import Learner
from trainables.training.loop import train_trial
from trainables.training.reports import REPORT_KEYS
from trainables.weights.kinds import KINDS

ENTRIES = [(part, name) for part, registry in REGISTRIES.items() for name in registry]


@pytest.fixture
def outside() -> Iterator[None]:
    """One part of each kind that the project does not know."""
    with (
        registered(FUSIONS, Weighed),
        registered(OPTIMISERS, Sgd),
        registered(SCHEDULES, Halved),
        registered(OUTPUTS, OneTrack),
        registered(AUDIO_ENCODERS, Pooled),
        registered(VISUAL_ENCODERS, Brightness),
        registered(KINDS, POOLED_KIND),
    ):
        yield


CONTRACTS = {
    "audio": AudioEncoder,
    "visual": VisualEncoder,
    "fusion": Fusion,
    "output": Output,
    "schedule": Schedule,
    "optimiser": Optimiser,
}


class TestContracts:
    def test_every_kind_has_one(self):
        assert CONTRACTS.keys() == REGISTRIES.keys()
        assert all(REGISTRIES[part].contract is contract for part, contract in CONTRACTS.items())

    @pytest.mark.parametrize(("part", "name"), ENTRIES)
    def test_an_entry_is_a_frozen_dataclass_with_defaults_that_json_can_hold(self, part, name):
        entry = REGISTRIES[part][name]
        assert entry.name == name
        assert issubclass(entry, CONTRACTS[part])
        value = entry()
        with pytest.raises(dataclasses.FrozenInstanceError):
            value.anything = 1
        assert hash(value) == hash(entry())
        assert pickle.loads(pickle.dumps(value)) == value
        json.dumps(dataclasses.asdict(value))

    @pytest.mark.parametrize(("part", "name"), ENTRIES)
    def test_an_entry_is_written_in_a_file_of_its_own(self, part, name):
        entry = REGISTRIES[part][name]
        others = {other.__module__ for other_name, other in REGISTRIES[part].items() if other_name != name}
        assert entry.__module__ not in others

    @pytest.mark.parametrize("name", FUSIONS)
    def test_fusions(self, name):
        fusion = FUSIONS[name]()
        assert set(fusion.needs) <= {"audio", "visual"}
        assert fusion.needs
        assert fusion.depth >= 0
        widths = [16 if modality in fusion.needs else 0 for modality in ("audio", "visual")]
        module = fusion.build(*widths).eval()
        given = [torch.randn(2, 30, width) if width else None for width in widths]
        assert module(*given).shape == (2, 30, module.width_out)
        bare, conformer = fusion.bare()
        layer, layers = bare.one_layer()
        assert type(layer) is type(fusion)
        assert layers >= 1
        assert fusion.depth == (conformer.layers if conformer else fusion.depth)

    @pytest.mark.parametrize("name", AUDIO_ENCODERS)
    def test_audio_encoders(self, name):
        audio = AUDIO_ENCODERS[name]()
        assert audio.width > 0
        assert audio.width_field in {field.name for field in dataclasses.fields(audio)}
        assert (audio.build(64) is not None) == audio.hears
        model = SeldModel(tiny_config(name, "none", "audio_only")) if audio.hears else None
        assert all(slot.field.startswith("audio.") and slot.kinds for slot in audio.slots())
        assert all(model is not None and model.get_submodule(slot.place) for slot in audio.slots())

    @pytest.mark.parametrize("name", VISUAL_ENCODERS)
    def test_visual_encoders(self, name):
        visual = VISUAL_ENCODERS[name]()
        assert visual.reads in (None, "frames", "boxes")
        assert visual.columns == ((visual.reads,) if visual.sees else ())
        assert visual.width_out(16) >= 16
        members = visual.members("visual")
        assert members
        assert all(path.startswith("visual") for path in members)
        if not visual.sees:
            assert visual.build(16) is None
            return
        model = SeldModel(tiny_config("none", name, "visual_only"))
        for path, member in members.items():
            for slot in member.slots(path):
                assert slot.field == f"{path}.weights"
                assert model.get_submodule(slot.place) is not None
                assert all(kind in KINDS for kind in slot.kinds)

    @pytest.mark.parametrize("name", OUTPUTS)
    def test_outputs(self, name):
        form = OUTPUTS[name]()
        raw = torch.randn(2, 5, form.width(len(STARSS23)))
        bounded = form.activate(raw)
        assert bounded.shape == raw.shape
        target = torch.zeros(2, 5, 6, 5, 13)
        loss = form.loss(bounded.requires_grad_(), target, torch.ones(2, 5, dtype=torch.bool))
        assert loss.shape == ()
        loss.backward()
        assert len(form.decode(torch.zeros(5, form.width(len(STARSS23))))) == 0
        assert form.tells_distance == (form.decode(torch.ones(5, form.width(len(STARSS23)))).distance_m is not None)

    @pytest.mark.parametrize("contract", CONTRACTS.values(), ids=CONTRACTS)
    def test_an_entry_that_lacks_something_is_refused_when_it_registers(self, contract):
        (registry,) = (registry for registry in REGISTRIES.values() if registry.contract is contract)
        unfinished = type("Unfinished", (contract,), {"name": "unfinished"})
        with pytest.raises(UserError, match=r"Unfinished is no whole .*: it lacks "):
            registry.register(unfinished)
        assert "unfinished" not in registry


def outside_config(**changes: Any) -> TrialConfig:
    base = {
        "inputs": {"hop": 300, "n_mels": 16, "frame_width": 64, "frame_height": 32},
        "audio": {"name": "pooled"},
        "visual": {"name": "brightness"},
        "fusion": {"name": "weighed", "hidden": 6},
        "output": {"name": "one_track"},
        "schedule": {"name": "halved"},
        "optimiser": {"name": "sgd", "lr": 0.01},
    }
    return override(from_dict(base), changes)


@pytest.mark.usefixtures("outside")
class TestFromOutside:
    def test_dictionaries(self):
        config = outside_config()
        assert config.fusion == Weighed(hidden=6)
        assert from_dict(json.loads(json.dumps(to_dict(config)))) == config
        assert fingerprint(config) == fingerprint(outside_config())
        assert override(config, {"fusion.hidden": 7}).fusion == Weighed(hidden=7)

    def test_errors_name_its_fields_and_list_it(self):
        with pytest.raises(UserError, match=r"^fusion\.hidden = 0: has to be a positive number|^fusion\.hidden = 0"):
            outside_config(**{"fusion.hidden": 0})
        with pytest.raises(UserError, match=r"^fusion\.heads is not a field; fusion has closed, hidden"):
            outside_config(**{"fusion.heads": 2})
        with pytest.raises(UserError, match=r"one of .*gru, concat, weighed; a part of your own needs --plugin FILE$"):
            from_dict({"fusion": {"name": "weihed"}})

    def test_a_model_trains_and_is_estimated(self):
        config = outside_config()
        torch.manual_seed(0)
        model = SeldModel(config)
        features, frames = tiny_batch()
        output = model(features, frames)
        assert output.shape == (2, 30, config.output.width(len(STARSS23)))
        config.output.loss(output, torch.zeros(2, 30, 6, 5, 13)).backward()
        assert estimate(config).parameters == sum(p.numel() for p in model.parameters())

    def test_a_space_names_it(self, tmp_path):
        path = tmp_path / "mine.yaml"
        path.write_text(
            "name: mine\nbase: {visual: {name: brightness}, fusion: {name: weighed}}\n"
            "parameters:\n  fusion.hidden: {choices: [4, 8]}\n  optimiser: {choices: [{name: sgd}, {name: adam}]}\n"
        )

        class First:
            def suggest_categorical(self, name, choices):
                return choices[0]

        config = yaml_space(str(path)).suggest(First())
        assert config.fusion == Weighed(hidden=4)
        assert config.optimiser == Sgd()

    def test_an_eighth_fusion_gets_through_the_report(self, tmp_path):
        assert len(FUSIONS) > len(COLOURS)
        reports = [{**dict.fromkeys(REPORT_KEYS, 0.5), "epoch": 1}]
        record = TrialRecord(0, {}, {}, to_dict(outside_config()), state=COMPLETE, reports=reports)
        assert rows_of_table([record])[0]["fusion"] == "weighed"
        plot_sweep([record], tmp_path / "sweep.png", "a sweep")
        assert (tmp_path / "sweep.png").stat().st_size > 1000

    def test_a_third_optimiser_trains_by_its_own_class(self):
        learner = Learner(outside_config(), SeldModel(outside_config()), 1)
        assert type(learner.optimiser) is torch.optim.SGD
        assert learner.optimiser.param_groups[0]["momentum"] == 0.5

    def test_an_encoders_weights_are_loaded(self, tmp_path):
        state = PooledEncoder(16, 12).state_dict()
        torch.save(state, tmp_path / "pooled.pth")
        config = outside_config(**{"audio.weights": str(tmp_path / "pooled.pth")})
        model = SeldModel(config)
        load_pretrained(model, config)
        assert all(torch.equal(value, state[key]) for key, value in model.audio.state_dict().items())

    def test_an_encoder_without_its_weights_warns(self, caplog):
        with caplog.at_level(logging.WARNING):
            warn_random_weights(outside_config())
        assert "audio.weights is not set: pooled starts from RANDOM weights" in caplog.text

    def test_a_trial_trains_stops_continues_and_its_model_loads(self, tmp_path):
        config = override(
            CONFIG,
            {
                "training.epochs": 2,
                "training.epoch_windows": 8,
                "optimiser.name": "sgd",
                "schedule.name": "halved",
                "output.name": "one_track",
                "fusion.name": "weighed",
                "visual.name": "brightness",
            },
        )
        rows = {"train": make_rows("train", 4, 0), "val": make_rows("val", 2, 1)}

        class Session:
            rank, world_size, device = 0, 1, torch.device("cpu")

            def feed(self, split: str) -> HeldRows:
                return HeldRows(rows[split])

            def report(self, metrics: dict[str, float]) -> Decision:
                reports.append(metrics)
                return GO_ON

            def sum(self, values: np.ndarray) -> np.ndarray:
                return values

        reports: list[dict[str, float]] = []
        mean = np.zeros((7, 1, INPUTS.n_mels), np.float32)
        store = TrialStore(str(tmp_path))
        train_trial(config, Session(), store, mean, mean + 1, {})
        assert [report["lr"] for report in reports] == [0.1, 0.05]
        train_trial(config, Session(), store, mean, mean + 1, {})
        assert [report["epoch"] for report in reports] == [1, 2, 2]
        loaded = load_bundle(Path(store.best(int(reports[-1]["best_epoch"]))))
        assert loaded[1] == config


def test_a_part_of_a_taken_name_is_refused():
    gru = type("Gru", (Weighed,), {"name": "gru"})
    with pytest.raises(
        UserError, match=r"two parts are fusion 'gru': trainables\.parts\.fusions\.gru\.Gru and \S+\.Gru"
    ):
        FUSIONS.register(gru)


def test_unions_take_any_of_their_members():
    @dataclass(frozen=True, kw_only=True)
    class Odd(Weighed):
        name: ClassVar[str] = "odd"
        size: int | str | None = None

    with registered(FUSIONS, Odd):
        base = {"visual": {"name": "resnet_conformer"}}
        for value in (3, "wide", None):
            assert from_dict({**base, "fusion": {"name": "odd", "size": value}}).fusion.size == value
        with pytest.raises(UserError, match=r"^fusion\.size = 2\.5: has to be of type int"):
            from_dict({**base, "fusion": {"name": "odd", "size": 2.5}})


def test_inputs_reach_an_encoders_own_check():
    @dataclass(frozen=True, kw_only=True)
    class Picky(Pooled):
        name: ClassVar[str] = "picky"

        def check(self, inputs: InputConfig) -> None:
            raise UserError(f"audio.name = 'picky' does not like inputs.hop = {inputs.hop}")

    with registered(AUDIO_ENCODERS, Picky), pytest.raises(UserError, match=r"does not like inputs\.hop = 300"):
        from_dict({"audio": {"name": "picky"}, "inputs": {"hop": 300}})
