"""Keeping the embeddings of a frozen network without losing a bit: ours against simpler codings, in bytes and in time.

What is coded is a ResNet50's view of pictures of which no two are alike: shapes that move over a noisy background, as
JPEG has them, under all eight channel swaps. Its weights are random, its batch norms fitted to random pictures, so that
each channel has a mean and a spread of its own, as trained ones have. `--vectors` takes those of another network.
The time is that of decoding a minute, which a trial's data waits for.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import nn

from data.files.video import decode_jpeg, encode_jpeg
from data.stores.embeddings import decode_part, encode_part
from data.swaps import NUM_SWAPS, swap_pictures
from infra.bench.measure import OURS, alternate, parser, result, show
from trainables.config import ResNetConformer
from trainables.parts.visual.resnet_conformer import ResNetConformerEncoder

VECTORS_A_MINUTE = NUM_SWAPS * 625
"""At ten pictures a second, with a row's tail."""

Coding = tuple[Callable[[NDArray[np.float16]], bytes], Callable[[bytes], NDArray[np.float16]]]


def ours(width: int) -> Coding:
    def encode(vectors: NDArray[np.float16]) -> bytes:
        return encode_part("", 0, vectors, np.arange(len(vectors), dtype=np.int32).reshape(-1, NUM_SWAPS))

    return encode, lambda content: decode_part(content, (width,)).reshape(-1, width)


def as_float16(width: int, compression: str) -> Coding:
    """A parquet column of halves."""

    def encode(vectors: NDArray[np.float16]) -> bytes:
        sink = io.BytesIO()
        table = pa.table({"values": pa.array(vectors.reshape(-1))})
        pq.write_table(table, sink, compression=compression, use_dictionary=False, write_statistics=False)
        return sink.getvalue()

    def decode(content: bytes) -> NDArray[np.float16]:
        return pq.read_table(pa.BufferReader(content)).column("values").to_numpy().reshape(-1, width)

    return encode, decode


def in_byte_planes(width: int) -> Coding:
    """All high bytes, then all low ones (what parquet calls a byte stream split), then zstd."""
    codec = pa.Codec("zstd", compression_level=1)

    def encode(vectors: NDArray[np.float16]) -> bytes:
        planes = vectors.reshape(-1).view(np.uint8).reshape(-1, 2).T.tobytes()
        return len(planes).to_bytes(8, "little") + codec.compress(planes, asbytes=True)

    def decode(content: bytes) -> NDArray[np.float16]:
        planes = codec.decompress(content[8:], int.from_bytes(content[:8], "little"), asbytes=True)
        values = np.ascontiguousarray(np.frombuffer(planes, dtype=np.uint8).reshape(2, -1).T)
        return values.view(np.float16).reshape(-1, width)

    return encode, decode


def in_bit_planes(width: int) -> Coding:
    """Changes from vector to vector, the sign in the last place, one plane a bit, the highest first, then zstd."""
    codec = pa.Codec("zstd", compression_level=1)

    def encode(vectors: NDArray[np.float16]) -> bytes:
        patterns = vectors.view(np.uint16)
        changes = np.diff(patterns, axis=0, prepend=patterns[:1] * 0).view(np.int16)
        folded = ((changes << 1) ^ (changes >> 15)).view(np.uint16).reshape(-1)
        planes = b"".join(np.packbits((folded >> bit & 1).astype(np.uint8)).tobytes() for bit in reversed(range(16)))
        return folded.size.to_bytes(8, "little") + codec.compress(planes, asbytes=True)

    def decode(content: bytes) -> NDArray[np.float16]:
        count = int.from_bytes(content[:8], "little")
        planes = codec.decompress(content[8:], 16 * -(-count // 8), asbytes=True)
        folded = np.zeros(count, dtype=np.uint16)
        for plane in np.frombuffer(planes, dtype=np.uint8).reshape(16, -1):
            np.left_shift(folded, 1, out=folded)
            folded |= np.unpackbits(plane, count=count)
        patterns = ((folded >> 1) ^ (np.uint16(0) - (folded & 1))).reshape(-1, width)
        for before, after in pairwise(patterns):
            after += before
        return patterns.view(np.float16)

    return encode, decode


def moving_pictures(count: int, height: int, width: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """(count, height, width, 3): three textured shapes on their ways over a textured panorama, and a camera's noise."""
    panorama = 20 + 200 * _texture(height, width, rng)
    shapes = [10 + 220 * _texture(height // 4, width // 10, rng) for _ in range(3)]
    pictures = []
    for t in range(count):
        picture = panorama.copy()
        for i, shape in enumerate(shapes):
            top = int(height * (0.4 + 0.1 * np.sin(t / 9 + i)))
            columns = (width * (1 + 2 * i) // 7 + (1 - 2 * (i % 2)) * 3 * t + np.arange(shape.shape[1])) % width
            picture[top : top + len(shape), columns] = shape
        noisy = np.clip(picture + rng.normal(0, 3, picture.shape), 0, 255).astype(np.uint8)
        pictures.append(decode_jpeg(encode_jpeg(noisy)))
    return np.stack(pictures)


def _texture(height: int, width: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """(height, width, 3) in [0, 1], with the falling spectrum of photographs."""
    spectrum = np.fft.rfft2(rng.standard_normal((height, width, 3)), axes=(0, 1))
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))[..., None]
    smooth = np.fft.irfft2(spectrum / (0.003 + frequency) ** 1.3, (height, width), axes=(0, 1))
    return (smooth - smooth.min()) / (smooth.max() - smooth.min())


def fitted_network(
    config: ResNetConformer, height: int, width: int, rng: np.random.Generator
) -> ResNetConformerEncoder:
    """A ResNet with random weights and batch norms that know what to expect of pictures."""
    torch.manual_seed(0)
    encoder = ResNetConformerEncoder(config, 8 * config.conformer.heads)
    for module in encoder.backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the plain mean of all that is shown
            nn.init.uniform_(module.weight, 0.2, 0.8)
            nn.init.normal_(module.bias, -0.1, 0.15)
    shown = np.stack([255 * _texture(height, width, rng) for _ in range(16)]).astype(np.uint8)
    with torch.no_grad():
        encoder.train().look(torch.from_numpy(shown)[:, None])
    return encoder.eval()


def embeddings(
    config: ResNetConformer, pictures: int, height: int, width: int
) -> tuple[NDArray[np.float16], dict[str, float]]:
    """(8 * pictures, D), all of a swap one after the other, and the seconds that a picture took."""
    rng = np.random.default_rng(0)
    encoder = fitted_network(config, height, width, rng)
    moving = moving_pictures(pictures, height, width, rng)
    found = []
    started, cpu_started = time.perf_counter(), time.process_time()
    with torch.inference_mode():
        for k in range(NUM_SWAPS):
            turned = torch.from_numpy(swap_pictures(moving, k).copy())[:, None]
            found += [encoder.look(turned[i : i + 4])[:, 0].half().numpy() for i in range(0, pictures, 4)]
    count = NUM_SWAPS * pictures
    took = {
        "seconds_a_picture": (time.perf_counter() - started) / count,
        "cpu_seconds_a_picture": (time.process_time() - cpu_started) / count,
    }
    return np.concatenate(found), took


def measure(vectors: NDArray[np.float16], repeats: int, **more: Any) -> dict[str, Any]:
    """The outcome for vectors (N, D), N a multiple of eight."""
    width = vectors.shape[1]
    codings = {
        OURS: ours(width),
        "float16": as_float16(width, "NONE"),
        "zstd": as_float16(width, "ZSTD"),
        "byte planes": in_byte_planes(width),
        "changes in bit planes": in_bit_planes(width),
    }
    coded = {name: encode(vectors) for name, (encode, _) in codings.items()}
    for name, (_, decode) in codings.items():
        assert np.array_equal(decode(coded[name]).view(np.uint16), vectors.view(np.uint16)), name
    minutes = len(vectors) / VECTORS_A_MINUTE
    times = alternate(
        {name: partial(decode, coded[name]) for name, (_, decode) in codings.items()},
        repeats,
        per=minutes,
    )
    return result(
        "embeddings",
        "minute",
        times,
        {"vectors": len(vectors), "width": width},
        megabytes_a_minute={name: len(content) / minutes / 1e6 for name, content in coded.items()},
        **more,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(__doc__, repeats=7)
    options.add_argument("--pictures", type=int, default=60, help="pictures, each under 8 swaps (default %(default)s)")
    options.add_argument("--vectors", help="a .npy file of float16 (8 * pictures, D), all of a swap together")
    chosen = options.parse_args(arguments)
    torch.set_num_threads(chosen.threads)
    if chosen.vectors:
        outcome = measure(np.load(chosen.vectors), chosen.repeats)
    else:
        vectors, took = embeddings(ResNetConformer(), chosen.pictures, 224, 448)
        outcome = measure(vectors, chosen.repeats, **took)
    for name, size in outcome["megabytes_a_minute"].items():
        print(f"{name}: {size:.1f} MB a minute, {0.06 * size:.2f} GB an hour")
    show(outcome, chosen.save)


if __name__ == "__main__":
    main()
