"""The eight channel swaps of a picture: ours against moving one pixel at a time.

The peer is a loop over columns and rows that looks up where each pixel comes from, as the reference's transform does.
Swapping features, which takes the place of extracting them again from swapped audio, is timed beside.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from data.swaps import IDENTITY, NUM_SWAPS, SWAPS, swap_audio, swap_features, swap_pictures
from infra.bench.measure import OURS, alternate, parser, result, show
from trainables.inputs.features import FeatureExtractor

RATE_HZ = 24_000


def swap_pixel_by_pixel(picture: NDArray[np.uint8], k: int) -> NDArray[np.uint8]:
    """One picture (H, W, 3) under swap `k`."""
    if k == IDENTITY:
        return picture
    height, width, channels = picture.shape
    swap = SWAPS[k]
    shift = width * swap.azimuth_offset_deg // 360
    swapped = np.zeros_like(picture)
    for x in range(width):
        # Azimuth grows to the left: the column that is `shift` further right, or its mirror image, comes here.
        source_x = (x + shift if swap.azimuth_sign > 0 else width - 1 - x - shift) % width
        for y in range(height):
            source_y = y if swap.elevation_sign > 0 else height - 1 - y
            for channel in range(channels):
                swapped[y, x, channel] = picture[source_y, source_x, channel]
    return swapped


def check(picture: NDArray[np.uint8]) -> None:
    """Both ways have to give the same picture, to the last pixel."""
    for k in range(NUM_SWAPS):
        assert np.array_equal(swap_pixel_by_pixel(picture, k), swap_pictures(picture, k)), f"swap {k}"


def measure_features(samples: int, repeats: int) -> dict[str, Any]:
    """Swapping the features of one chunk against extracting those of the swapped audio, all eight."""
    audio = 0.1 * np.random.default_rng(0).standard_normal((4, samples)).astype(np.float32)
    extractor = FeatureExtractor()
    features = extractor(torch.from_numpy(audio)).numpy()
    out = np.empty_like(features)

    def extracted(k: int) -> NDArray[np.float32]:
        return extractor(torch.from_numpy(swap_audio(audio, k))).numpy()

    difference = max(float(np.abs(extracted(k) - swap_features(features, k)).max()) for k in range(NUM_SWAPS))
    assert difference < 1e-3, difference
    sides = {OURS: lambda k: swap_features(features, k, out=out), "extracting again": extracted}
    times = alternate({name: _all_swaps(side) for name, side in sides.items()}, repeats, per=NUM_SWAPS)
    return result("swap_features", "chunk", times, {"shape": list(features.shape)}, largest_difference=difference)


def measure(height: int, width: int, repeats: int, samples: int = 72_000) -> dict[str, Any]:
    """The outcome for pictures of that size: the mean over all eight swaps."""
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    check(picture)
    sides = {OURS: lambda k: swap_pictures(picture, k), "pixel by pixel": lambda k: swap_pixel_by_pixel(picture, k)}
    times = alternate({name: _all_swaps(side) for name, side in sides.items()}, repeats, per=NUM_SWAPS, warmup=0)
    features = measure_features(samples, repeats)
    return result(
        "swaps",
        "frame",
        times,
        {"height": height, "width": width, "swaps": NUM_SWAPS},
        features_ms=features["sides_ms"],
        features_ratio=features["ratio"],
        features_shape=features["parameters"]["shape"],
    )


def _all_swaps(swap: Callable[[int], object]) -> Callable[[], None]:
    def run() -> None:
        for k in range(NUM_SWAPS):
            swap(k)

    return run


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(__doc__, repeats=7)
    options.add_argument("--height", type=int, default=224, help="rows (default %(default)s)")
    options.add_argument("--width", type=int, default=448, help="columns (default %(default)s)")
    chosen = options.parse_args(arguments)
    torch.set_num_threads(chosen.threads)
    outcome = measure(chosen.height, chosen.width, chosen.repeats)
    for name, taken in outcome["features_ms"].items():
        print(f"features of a chunk, {name}: {taken['median']:.3f} ms a swap")
    show(outcome, chosen.save)


if __name__ == "__main__":
    main()
