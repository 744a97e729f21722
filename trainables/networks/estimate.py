"""What a config costs before anything is paid for: parameters, floating-point operations, memory.

Each part of the network is built and run once on tensors without content (`FakeTensorMode`), forward and backward, at
the batch of one worker: what autograd keeps for the backward pass is counted to the byte, operations by torch's own
counter. A part's cost is kept by what decides it, a Conformer's is that of one of its layers times their number: a new
config of a space mostly adds up what is known, in less than a millisecond.

What is not counted: what a convolution needs while it runs, and what the allocator cannot use. `SCRATCH` stands for it.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from data.files.boxes import BOX_FIELDS, MAX_BOXES
from data.labels import NUM_DUMMY_TRACKS, NUM_TARGET_AXES
from data.swaps import NUM_SWAPS
from trainables.config import AudioEncoder, Fusion, InputConfig, Output, TrialConfig, VisualEncoder
from trainables.inputs.features import NUM_FEATURE_CHANNELS
from trainables.layers.conformer import Conformer, ConformerConfig
from trainables.networks.broken_part import Suspect
from trainables.parts.audio import AUDIO_ENCODERS
from trainables.parts.fusions import FUSIONS
from trainables.parts.head import Head, HeadConfig
from trainables.parts.schedules import SCHEDULES
from trainables.parts.visual import VISUAL_ENCODERS

FLOAT_BYTES = 4
SCRATCH = 0.35
"""Of the activations, what convolutions and the allocator need beside them: measured with one thread of a CPU."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of a part of a network, at a certain batch."""

    parameters: int = 0
    trained: int = 0
    """Parameters that are not frozen."""
    matrices: int = 0
    """Those of them that are in tensors of two dimensions."""
    forward_flops: int = 0
    training_flops: int = 0
    """Forward and backward."""
    saved_bytes: int = 0
    """What autograd keeps for the backward pass, parameters left out."""
    passing_bytes: int = 0
    """The most that lives beside that for a moment. Parts run one after another: of several it is the largest."""

    def __add__(self, other: Cost) -> Cost:
        sums = {name: value + getattr(other, name) for name, value in vars(self).items()}
        return Cost(**{**sums, "passing_bytes": max(self.passing_bytes, other.passing_bytes)})

    def __mul__(self, times: int) -> Cost:
        return Cost(
            **{**{name: value * times for name, value in vars(self).items()}, "passing_bytes": self.passing_bytes}
        )


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Of a config. Operations count a multiplication and an addition as two."""

    parameters: int
    step_flops: int
    """Of one optimiser step: the whole batch, forward and backward, by all workers together."""
    window_flops: int
    """Of one window at inference, under all the swaps that the config asks for."""
    weights_bytes: int
    """Weights, their gradients, and what the optimiser keeps of each."""
    activations_bytes: int
    """What a step keeps between forward and backward, and its batch, in one worker."""
    checkpoint_bytes: int
    """Of one checkpoint: weights and what the optimiser keeps."""
    model_bytes: int
    """Of the model alone, as the best epoch is kept."""

    @property
    def memory_bytes(self) -> int:
        """The most that a worker needs in a training step, without its process: torch, Ray and the data's own."""
        return self.weights_bytes + round((1 + SCRATCH) * self.activations_bytes)


def estimate(config: TrialConfig, workers: int = 1) -> Estimate:
    """What a trial of so many workers costs.

    Raises:
        BrokenPart: an encoder or the fusion cannot be built or run, or hands on something else than it says; or the
            schedule gives no multiplier.
        Exception: whatever else building or running the network raises.
    """
    share = config.training.batch_size // workers
    _check_answers(config)
    cost = network_cost(config, share)
    kept = config.optimiser.kept(cost.trained, cost.matrices)
    # Each worker of several keeps its gradients a second time, to send them.
    gradients = cost.trained * (1 if workers == 1 else 2)
    passes = NUM_SWAPS if config.inference.swap_average else 1
    overlap = 1.0 if config.inference.hop_s is None else config.inputs.window_s / config.inference.hop_s
    return Estimate(
        parameters=cost.parameters,
        step_flops=cost.training_flops * workers,
        window_flops=round(cost.forward_flops / share * passes * overlap),
        weights_bytes=FLOAT_BYTES * (cost.parameters + gradients + kept),
        activations_bytes=cost.saved_bytes + cost.passing_bytes + batch_bytes(config, share),
        checkpoint_bytes=FLOAT_BYTES * (cost.parameters + kept),
        model_bytes=FLOAT_BYTES * cost.parameters,
    )


def _check_answers(config: TrialConfig) -> None:
    """What parts say that no network is built from."""
    fusion, schedule = config.fusion, config.schedule
    suspect = Suspect(FUSIONS.kind, fusion)
    suspect.gives("depth", lambda: fusion.depth, lambda depth: type(depth) is int and depth >= 0, "a whole number")
    suspect, steps = Suspect(SCHEDULES.kind, schedule), 100
    multiplier = suspect.gives(
        "multiplier", lambda: schedule.multiplier(config.training.epochs, steps), callable, "a function of the step"
    )
    suspect.gives("multiplier at step 0", lambda: multiplier(0), math.isfinite, "a finite number")


@dataclass(frozen=True)
class _At:
    """What the cost of every part depends on beside the part."""

    windows: int
    labels: int
    """Label frames in a window."""
    inputs: InputConfig
    bf16: bool


def network_cost(config: TrialConfig, windows: int) -> Cost:
    """Of the network and its loss on so many windows."""
    at = _At(windows, config.inputs.window_labels, config.inputs, config.training.precision == "bf16")
    # Meta tensors are twice as fast, but know no autocast.
    with FakeTensorMode() if at.bf16 else torch.device("meta"):
        return _network(config, at)


def _network(config: TrialConfig, at: _At) -> Cost:
    width, both = config.width, config.hears and config.sees
    cost = _audio(config.audio, at)
    for member in config.visual.members().values():
        cost += _visual(member, width, at)
    if both:
        gate = int(config.fusion.visual_gate)
        cost += _norm(width, at) + _norm(config.visual_width, at) + Cost(parameters=gate, trained=gate)
    fused, width_out = _fusion(config.fusion, *config.fused_widths, at)
    return cost + fused + _head(config.head, config.output, width_out, len(config.classes), at)


def _audio(audio: AudioEncoder, at: _At) -> Cost:
    if not audio.hears:
        return Cost()
    bare, conformer = audio.bare()
    return _audio_part(bare, at) + _conformer(conformer, audio.width, at)


def _visual(visual: VisualEncoder, width: int, at: _At) -> Cost:
    if not visual.sees:
        return Cost()
    bare, conformer = visual.bare()
    return _visual_part(bare, width, at) + _conformer(conformer, width, at)


def _fusion(fusion: Fusion, audio_width: int, visual_width: int, at: _At) -> tuple[Cost, int]:
    """Also the width of what comes out."""
    bare, conformer = fusion.bare()
    layer, layers = bare.one_layer()
    if layer.recurrent:
        # Each step in time costs the same, and there are many small ones: two lengths tell all others.
        (two, width), (four, _) = (
            _fusion_part(layer, audio_width, visual_width, replace(at, labels=n)) for n in (2, 4)
        )
        measured = two + (four + two * -1) * (at.labels // 2 - 1)
    else:
        measured, width = _fusion_part(layer, audio_width, visual_width, at)
    return measured * layers + _conformer(conformer, width, at), width


def _conformer(conformer: ConformerConfig | None, width: int, at: _At) -> Cost:
    if conformer is None:
        return Cost()
    return _conformer_layer(replace(conformer, layers=1), width, at) * conformer.layers


@cache
def _conformer_layer(conformer: ConformerConfig, width: int, at: _At) -> Cost:
    return _measured(Conformer(width, conformer), [_embedding(width, at)], at)


@cache
def _norm(width: int, at: _At) -> Cost:
    return _measured(nn.LayerNorm(width), [_embedding(width, at)], at)


@cache
def _audio_part(audio: AudioEncoder, at: _At) -> Cost:
    inputs, suspect = at.inputs, Suspect(AUDIO_ENCODERS.kind, audio)
    with suspect.blamed():
        module = audio.build(at.inputs.n_mels)
        assert module is not None
        run = suspect.checked(module, module, (at.windows, at.labels, audio.width))
        shape = (at.windows, NUM_FEATURE_CHANNELS, at.labels * inputs.features_per_label, inputs.n_mels)
        return _measured(module, [torch.empty(shape)], at, run)


@cache
def _visual_part(visual: VisualEncoder, width: int, at: _At) -> Cost:
    inputs, suspect = at.inputs, Suspect(VISUAL_ENCODERS.kind, visual)
    with suspect.blamed():
        module = visual.build(width)
        assert module is not None
        shape = (at.windows, at.labels, visual.width_out(width))
        run = suspect.checked(lambda seen: module.encode(seen, at.labels), module, shape)
        pictures = (at.windows, inputs.window_pictures)
        frames = torch.empty(*pictures, inputs.frame_height, inputs.frame_width, 3, dtype=torch.uint8)
        if visual.computed_width is not None:
            # Vectors that are computed elsewhere are no part of the network.
            seen = torch.empty(*pictures, visual.computed_width)
        elif visual.columns == (visual.reads,):
            return _measured(module, [frames], at, lambda frames: run(module.embed(frames)))
        else:
            # Embeddings that all trials read: what they are made from decides their size alone.
            with torch.no_grad():
                seen = module.embed(frames)
        return _measured(module, [seen], at, run)


@cache
def _fusion_part(fusion: Fusion, audio_width: int, visual_width: int, at: _At) -> tuple[Cost, int]:
    suspect = Suspect(FUSIONS.kind, fusion)
    with suspect.blamed():
        module = fusion.build(audio_width, visual_width)
        width_out = suspect.width_out(module)
        embeddings = [_embedding(width, at) if width else None for width in (audio_width, visual_width)]
        run = suspect.checked(module, module, (at.windows, at.labels, width_out), "width_out")
        return _measured(module, embeddings, at, run), width_out


@cache
def _head(head: HeadConfig, output: Output, width: int, num_classes: int, at: _At) -> Cost:
    module = Head(width, head, output, num_classes)
    target = torch.empty(at.windows, at.labels, NUM_DUMMY_TRACKS, NUM_TARGET_AXES, num_classes)
    valid = torch.empty(at.windows, at.labels, dtype=torch.bool)
    return _measured(module, [_embedding(width, at)], at, lambda x: output.loss(module(x).float(), target, valid))


def _embedding(width: int, at: _At) -> Tensor:
    return torch.empty(at.windows, at.labels, width, requires_grad=True)


def _measured(module: nn.Module, given: list[Tensor | None], at: _At, run: Callable[..., Tensor] | None = None) -> Cost:
    """The cost of a module on these tensors, forward and backward; `run` stands for its `forward`."""
    saved: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        saved.setdefault(tensor.untyped_storage()._cdata, tensor.detach())
        return tensor

    with FlopCounterMode(display=False) as counter, _Living() as living:
        with (
            torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
            torch.autocast("cpu", torch.bfloat16, enabled=at.bf16),
        ):
            output = (run or module)(*given)
        forward, kept = counter.get_total_flops(), living.bytes
        if output.requires_grad:
            torch.autograd.backward(output, torch.empty_like(output))
    own = {tensor.untyped_storage()._cdata for tensor in (*module.parameters(), *module.buffers())}
    return Cost(
        parameters=sum(p.numel() for p in module.parameters()),
        trained=sum(p.numel() for p in module.parameters() if p.requires_grad),
        matrices=sum(p.numel() for p in module.parameters() if p.requires_grad and p.ndim >= 2),
        forward_flops=forward,
        training_flops=counter.get_total_flops(),
        saved_bytes=sum(t.untyped_storage().nbytes() for key, t in saved.items() if key not in own),
        passing_bytes=living.most - kept,
    )


class _Living(TorchDispatchMode):
    """Bytes of the tensors that were made inside it and that something still refers to."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = self.most = 0
        self._seen: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {t.untyped_storage()._cdata for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                if storage._cdata not in given and storage._cdata not in self._seen:
                    self._seen.add(storage._cdata)
                    self._add(storage.nbytes())
                    weakref.finalize(storage, self._remove, storage._cdata, storage.nbytes())
        return result

    def _add(self, count: int) -> None:
        self.bytes += count
        self.most = max(self.most, self.bytes)

    def _remove(self, key: int, count: int) -> None:
        self._seen.discard(key)
        self.bytes -= count


def batch_bytes(config: TrialConfig, windows: int) -> int:
    """Of a batch of so many windows, as it is handed to the network."""
    inputs, labels = config.inputs, config.inputs.window_labels
    heard = FLOAT_BYTES * NUM_FEATURE_CHANNELS * labels * inputs.features_per_label * inputs.n_mels
    target = FLOAT_BYTES * labels * NUM_DUMMY_TRACKS * NUM_TARGET_AXES * len(config.classes)
    seen = 0
    if "frames" in config.columns:
        # Mixed pictures are floats, beside those that they are mixed from.
        each = 1 + FLOAT_BYTES if config.augment.mixup_alpha else 1
        seen = each * inputs.window_pictures * inputs.frame_height * inputs.frame_width * 3
    elif "boxes" in config.columns:
        seen = FLOAT_BYTES * inputs.window_pictures * MAX_BOXES * BOX_FIELDS
    return windows * (heard + target + seen)
