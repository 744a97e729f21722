"""A training step of the AV-Conformer: ours against the same network with torchaudio's Conformer.

Forward, ADPIT loss, backward and Adam on batches of features and ResNet embeddings (the ResNet itself is not run). Each
side is a process of its own that does one step at a time in turn, because the sides differ in what a process decides
once: `ours` keeps the memory of freed tensors, which saves the kernel from clearing gigabytes of pages in each step.

Peers: `torchaudio` has torchaudio's Conformer, Adam as it comes and the memory allocator as it comes; `torchaudio
contiguous` also keeps its convolutions channels-first, as the reference does; `torchaudio tuned` has our optimiser and
memory; `eager fp32` is ours without `--dtype bf16` and `--compile`.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import Any

import torch
import torchaudio
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from data.classes import STARSS23
from data.errors import UserError
from data.labels import NUM_DUMMY_TRACKS
from infra.bench.measure import OURS, alternate, parser, result, show
from trainables.config import AvConformer, MultiAccdoa, ResNetConformer, TrainingConfig, TrialConfig
from trainables.config.tree import override
from trainables.inputs.features import NUM_FEATURE_CHANNELS
from trainables.layers.conformer import Conformer, ConformerLayer
from trainables.networks.model import SeldModel, count_parameters
from trainables.training.memory import keep_freed_memory

# Dense matrix products in bf16 with sums in fp32, in 1e12 operations per second (the makers' data sheets).
PEAK_TFLOPS = {"H200": 989.0, "H100 PCIe": 756.0, "H100": 989.0, "A100": 312.0}
# The most that an output and, relatively, the whole gradient may differ by from ours in fp32.
FP32_ERRORS = (1e-4, 1e-3)
BF16_ERRORS = (2e-2, 1e-1)


@dataclass(frozen=True)
class Side:
    """What one process trains, and how."""

    config: TrialConfig
    torchaudio: bool = False
    """torchaudio's Conformer in the place of ours."""
    contiguous: bool = False
    """The CNN keeps (B, C, T, M) in memory too; our own does so on GPUs alone."""
    tuned: bool = True
    """Fused Adam, and the memory of freed tensors kept."""
    compile: bool = False
    threads: int = 1
    device: str = "cpu"
    batch: int = 8

    @property
    def bf16(self) -> bool:
        """The model itself opens autocast, as its config says: one around it would be closed again inside."""
        return self.config.training.precision == "bf16"

    def in_fp32(self) -> Side:
        return replace(self, config=override(self.config, {"training.precision": "fp32"}))


class TorchaudioConformer(nn.Module):
    """torchaudio's Conformer behind the interface, with the sizes and the weights of ours."""

    def __init__(self, ours: Conformer) -> None:
        super().__init__()
        layer = ours.conformer_layers[0]
        assert isinstance(layer, ConformerLayer)
        depthwise = layer.conv_module.sequential[2]
        assert isinstance(depthwise, nn.Conv1d)
        attention = layer.self_attn
        self.inner = torchaudio.models.Conformer(
            attention.out_proj.in_features,
            attention.heads,
            layer.ffn1.sequential[1].out_features,
            len(ours.conformer_layers),
            depthwise.kernel_size[0],
            dropout=attention.dropout,
        )
        self.inner.load_state_dict(ours.state_dict())

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x, torch.full((len(x),), x.shape[1], device=x.device))[0]


def build(side: Side) -> SeldModel:
    """The side's model, without the ResNet; all sides start from the same weights."""
    torch.manual_seed(0)
    model = SeldModel(side.config)
    assert model.visual is not None
    model.visual.backbone = nn.Identity()
    if side.torchaudio:
        for parent in list(model.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, Conformer):
                    setattr(parent, name, TorchaudioConformer(child))
    if side.contiguous:
        first = model.get_submodule("audio.blocks.0")
        first.register_forward_pre_hook(lambda block, inputs: (inputs[0].contiguous(),))
    return model.to(side.device)


def make_batch(model: SeldModel, windows: int) -> tuple[Tensor, Tensor, Tensor]:
    """Features, embedding and target of so many windows, on the model's device."""
    generator = torch.Generator().manual_seed(1)
    inputs, device = model.config.inputs, model.feature_mean.device
    labels, embedding_width = inputs.window_labels, model.get_submodule("visual.project").in_features
    assert isinstance(embedding_width, int)
    feature_frames = labels * inputs.features_per_label
    features = torch.randn(windows, NUM_FEATURE_CHANNELS, feature_frames, inputs.n_mels, generator=generator)
    embedding = torch.randn(windows, labels, embedding_width, generator=generator).abs()
    target = torch.randn(windows, labels, NUM_DUMMY_TRACKS, 4, len(STARSS23), generator=generator)
    # Every tenth dummy track is active.
    target[:, :, :, 0] = (target[:, :, :, 0] > 1.3).float()
    return features.to(device), embedding.to(device), target.to(device)


class Trainer:
    """Does a step when called and returns its loss."""

    def __init__(self, side: Side) -> None:
        self._device = side.device
        self._model = build(side).train()
        fused = True if side.tuned else None
        self._optimiser = torch.optim.Adam(self._model.parameters(), lr=1e-4, fused=fused)
        self._batch = make_batch(self._model, side.batch)
        forward = self._model.forward_embedded
        self._forward: Callable[[Tensor, Tensor], Tensor] = torch.compile(forward) if side.compile else forward

    def __call__(self) -> float:
        features, embedding, target = self._batch
        self._optimiser.zero_grad(set_to_none=True)
        loss = MultiAccdoa().loss(self._forward(features, embedding), target)
        loss.backward()
        self._optimiser.step()
        # Reading the loss waits for the device.
        return loss.item()

    def memory_gb(self) -> float:
        """The most that was in use: on the device where that is a GPU, else of the process."""
        if self._device != "cpu":
            return torch.cuda.max_memory_allocated() / 1e9
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def serve(connection: Connection, side: Side) -> None:
    """Do one step for each message, answer with its loss and the memory in use; end with the connection."""
    torch.set_num_threads(side.threads)
    if side.tuned:
        keep_freed_memory()
    trainer = Trainer(side)
    with contextlib.suppress(EOFError):
        while connection.recv():
            connection.send((trainer(), trainer.memory_gb()))


class RemoteTrainer:
    """A `Trainer` in a process of its own; called, it does one step."""

    def __init__(self, side: Side) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, side), daemon=True)
        self._process.start()
        theirs.close()
        self.memory_gb = 0.0

    def __call__(self) -> float:
        self._connection.send(True)
        loss, self.memory_gb = self._connection.recv()
        return loss

    def close(self) -> None:
        self._connection.close()
        self._process.join()


def check(sides: Mapping[str, Side]) -> tuple[dict[str, Any], int]:
    """Outputs and gradients of the sides against ours in fp32, without dropout.

    Returns:
        The largest difference of an output and the relative one of the gradient for each peer, and for ours where it is
        in bf16; and the floating-point operations of one window, forward and backward.
    """
    differences: dict[str, Any] = {}
    ours = replace(sides[OURS], device="cpu")
    with FlopCounterMode(display=False) as counter:
        expected, gradient = _without_dropout(build(ours.in_fp32()))
    for name, side in sides.items():
        if side.torchaudio or side.bf16:
            output, other = _without_dropout(build(replace(side, device="cpu")))
            differences[name] = {
                "output": float((output - expected).abs().max()),
                "gradient": float(torch.linalg.vector_norm(other - gradient) / torch.linalg.vector_norm(gradient)),
            }
            largest_output, largest_gradient = BF16_ERRORS if side.bf16 else FP32_ERRORS
            assert differences[name]["output"] < largest_output, (name, differences[name])
            assert differences[name]["gradient"] < largest_gradient, (name, differences[name])
            # A side that is equal to the last bit did not compute in bf16.
            assert not side.bf16 or differences[name]["gradient"] > FP32_ERRORS[1], (name, differences[name])
    return differences, counter.get_total_flops()


def _without_dropout(model: SeldModel) -> tuple[Tensor, Tensor]:
    """Output for one window, and the gradient of every parameter one after the other."""
    features, embedding, target = make_batch(model, 1)
    output = model.eval().forward_embedded(features, embedding)
    MultiAccdoa().loss(output, target).backward()
    gradients = [parameter.grad for parameter in model.parameters()]
    return output.detach(), torch.cat([g.flatten() for g in gradients if g is not None])


def make_sides(ours: Side, names: Sequence[str]) -> dict[str, Side]:
    """Ours and the named peers.

    Raises:
        UserError: there is no such peer.
    """
    eager = replace(ours.in_fp32(), compile=False)
    peers = {
        "torchaudio": replace(eager, torchaudio=True, tuned=False),
        "torchaudio contiguous": replace(eager, torchaudio=True, tuned=False, contiguous=True),
        "torchaudio tuned": replace(eager, torchaudio=True),
        "eager fp32": eager,
    }
    unknown = [name for name in names if name not in peers]
    if unknown:
        raise UserError(f"peers {', '.join(map(repr, unknown))} are not known; choose from {', '.join(peers)}")
    return {OURS: ours} | {name: peers[name] for name in names}


def measure(
    sides: Mapping[str, Side], repeats: int, peak_tflops: float | None = None, processes: bool = True
) -> dict[str, Any]:
    """The outcome.

    Args:
        peak_tflops: of the device's matrix units; the share of it that each side reaches is left out without.
        processes: each side in its own; without, they share this one and its memory.
    """
    ours = sides[OURS]
    differences, flops = check(sides)
    trainers: dict[str, Any] = {
        name: RemoteTrainer(side) if processes else Trainer(side) for name, side in sides.items()
    }
    losses, first_step_s = {}, {}
    for name, trainer in trainers.items():
        started = time.perf_counter()
        losses[name] = trainer()
        first_step_s[name] = time.perf_counter() - started
        # Dropout differs from side to side, and bf16 rounds: these are not equal, but near.
        assert abs(losses[name] / losses[OURS] - 1) < 0.05, losses
    times = alternate(trainers, repeats, settle=0)
    if processes:
        memory_gb = {name: trainer.memory_gb for name, trainer in trainers.items()}
        for trainer in trainers.values():
            trainer.close()
    else:
        memory_gb = {name: trainer.memory_gb() for name, trainer in trainers.items()}
    model = build(replace(ours, device="cpu"))
    sizes = {"batch": ours.batch, "weights": count_parameters(model), "bf16": ours.bf16, "compile": ours.compile}
    variant = ("-bf16" if ours.bf16 else "") + ("-compile" if ours.compile else "")
    device = torch.cuda.get_device_name() if ours.device != "cpu" else None
    outcome = result("training_step" + variant, "step", times, sizes, device, largest_difference=differences)
    taken_s = {name: taken["median"] / 1000 for name, taken in outcome["sides_ms"].items()}
    per_step = flops * ours.batch
    return outcome | {
        "windows_per_s": {name: ours.batch / s for name, s in taken_s.items()},
        "tflop_per_step": per_step / 1e12,
        "peak_tflops": peak_tflops,
        "share_of_peak": {
            name: per_step / s / (1e12 * peak_tflops) if peak_tflops else None for name, s in taken_s.items()
        },
        "memory_gb": memory_gb,
        "first_step_s": first_step_s,
    }


def known_peak_tflops(device_name: str) -> float | None:
    """The bf16 peak of a GPU by its name, where it is known."""
    return next((peak for part, peak in PEAK_TFLOPS.items() if part in device_name), None)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(__doc__, repeats=7)
    options.add_argument("--batch", type=int, default=8, help="windows in a step (default %(default)s)")
    options.add_argument("--device", default="cpu", help="cpu or cuda (default %(default)s)")
    options.add_argument("--dtype", default="fp32", choices=("fp32", "bf16"), help="of our matrix products")
    options.add_argument("--compile", action="store_true", help="compile our model with torch.compile")
    options.add_argument("--peak-tflops", type=float, help="of the matrix units in bf16; known for H200, H100 and A100")
    options.add_argument("--peers", help="comma-separated; default: all that mean something for these options")
    chosen = options.parse_args(arguments)
    torch.set_num_threads(chosen.threads)
    on_gpu = chosen.device != "cpu"
    ours = Side(
        TrialConfig(visual=ResNetConformer(), fusion=AvConformer(), training=TrainingConfig(precision=chosen.dtype)),
        compile=chosen.compile,
        threads=chosen.threads,
        device=chosen.device,
        batch=chosen.batch,
    )
    # On a GPU our own layout is channels-first.
    names = ["torchaudio"] if on_gpu else ["torchaudio", "torchaudio contiguous"]
    names += ["eager fp32"] if ours.bf16 or ours.compile else []
    peak = chosen.peak_tflops or (known_peak_tflops(torch.cuda.get_device_name()) if on_gpu else None)
    sides = make_sides(ours, chosen.peers.split(",") if chosen.peers else names)
    outcome = measure(sides, chosen.repeats, peak)
    print(f"{'side':<24}{'windows/s':>12}{'memory GB':>12}{'share of peak':>16}{'first step s':>14}")
    for name in sides:
        share = outcome["share_of_peak"][name]
        print(
            f"{name:<24}{outcome['windows_per_s'][name]:>12.2f}{outcome['memory_gb'][name]:>12.2f}"
            f"{'-' if share is None else f'{share:.1%}':>16}{outcome['first_step_s'][name]:>14.1f}"
        )
    show(outcome, chosen.save)


if __name__ == "__main__":
    main()
