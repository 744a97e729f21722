"""Bytes that an hour of recording takes: our chunk store against the layout of the reference.

The reference keeps every picture as PNG and, for each 3 s chunk at a hop of 0.5 s under each of the eight channel
swaps, the features (7 x 480 x 128, float32). Ours keeps the sound as FLAC and each picture once, as JPEG; swaps are
made when windows are cut. Both store the same synthetic scenes here. Drawn pictures would be too easy to compress: each
gets the texture of a photograph (noise that falls with spatial frequency) and the noise of a camera, new each time.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.files.video import encode_jpeg
from data.scenes.mixing import render_audio
from data.scenes.painting import Painter
from data.scenes.sampling import make_room, sample_scene, scene_events
from data.scenes.settings import profile
from data.stores.rows import cut_rows, encode_shard
from data.swaps import NUM_SWAPS, swap_audio
from data.timing import LABEL_RATE_HZ, PICTURE_RATE_HZ, RATE_HZ
from infra.bench.measure import finish, parser, stamp
from trainables.inputs.features import FeatureExtractor

CAMERA_NOISE, TEXTURE = 5.0, 30.0
"""Standard deviations of pixels, of 255."""
WINDOW_S, HOP_S = 3.0, 0.5
PUBLISHED_BYTES_PER_HOUR = 575e9 / 7.5
"""What the reference's files took for the development set."""


def camera_pictures(scene: Any, seed: int) -> list[NDArray[np.uint8]]:
    """The pictures of a scene at 10 Hz, each with noise of its own on a common texture."""
    rng = np.random.default_rng(seed)
    painter = Painter(scene)
    height, width, _ = painter.background.shape
    texture = photograph_texture(height, width, rng)[..., None]
    pictures = []
    for j in range(round(scene.duration_s * PICTURE_RATE_HZ)):
        clean = painter.picture(painter.glyphs(j / PICTURE_RATE_HZ)).astype(np.float32)
        noisy = clean + texture + rng.normal(0.0, CAMERA_NOISE, clean.shape).astype(np.float32)
        pictures.append(np.clip(np.rint(noisy), 0, 255).astype(np.uint8))
    return pictures


def photograph_texture(height: int, width: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """(height, width) noise whose amplitude falls with one over the spatial frequency, as natural images' does."""
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    spectrum = np.fft.rfft2(rng.standard_normal((height, width))) / np.maximum(frequency, 1 / width)
    spectrum[0, 0] = 0
    texture = np.fft.irfft2(spectrum, (height, width))
    return (TEXTURE * texture / texture.std()).astype(np.float32)


def our_bytes(audio: NDArray[np.int16], events: Any, pictures: Sequence[NDArray[np.uint8]]) -> dict[str, int]:
    """Bytes of a recording in a shard, by what they hold."""
    rows = cut_rows("recording", "room", audio, events, [encode_jpeg(picture) for picture in pictures])
    sound = sum(len(row["audio"]) for row in rows)
    seen = sum(len(picture) for row in rows for picture in row["frames"])
    return {"sound": sound, "pictures": seen, "labels and file": len(encode_shard(rows)) - sound - seen}


def reference_bytes(audio: NDArray[np.int16], pictures: Sequence[NDArray[np.uint8]]) -> dict[str, int]:
    """Bytes of the same recording as the reference keeps it."""
    import torch
    from PIL import Image

    extract = FeatureExtractor(rate_hz=RATE_HZ)
    size, hop = round(WINDOW_S * RATE_HZ), round(HOP_S * RATE_HZ)
    features = 0
    for start in range(0, audio.shape[1] - size + 1, hop):
        chunk = np.stack([swap_audio(audio[:, start : start + size], k) for k in range(NUM_SWAPS)])
        features += extract(torch.from_numpy(chunk).float() / 32768).numpy().nbytes
    seen = 0
    for picture in pictures:
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "PNG")
        seen += buffer.tell()
    return {"features of eight swaps": features, "pictures": seen}


def measure(seconds: float, clips: int, profile_name: str) -> dict[str, Any]:
    """Gigabytes an hour of both, over so many clips."""
    settings = profile(profile_name)
    totals: dict[str, dict[str, int]] = {"ours": {}, "reference": {}}
    for seed in range(clips):
        scene = sample_scene(settings, make_room(settings, "room", seed), seed)
        labels = round(seconds * LABEL_RATE_HZ)
        audio = render_audio(scene)[:, : round(seconds * RATE_HZ)]
        events = scene_events(scene).between(0, labels)
        pictures = camera_pictures(scene, seed)[: round(seconds * PICTURE_RATE_HZ)]
        for side, found in (
            ("ours", our_bytes(audio, events, pictures)),
            ("reference", reference_bytes(audio, pictures)),
        ):
            for what, count in found.items():
                totals[side][what] = totals[side].get(what, 0) + count
    per_hour = 3600 / (seconds * clips) / 1e9
    sides = {side: {what: count * per_hour for what, count in found.items()} for side, found in totals.items()}
    ours, reference = (sum(sides[side].values()) for side in ("ours", "reference"))
    return {
        "benchmark": "storage",
        "unit": "GB an hour",
        "sides_gb_per_hour": sides,
        "ratio": {"reference": reference / ours, "published": PUBLISHED_BYTES_PER_HOUR / 1e9 / ours},
        "parameters": {
            "seconds": seconds,
            "clips": clips,
            "profile": profile_name,
            "camera_noise": CAMERA_NOISE,
            "texture": TEXTURE,
        },
        **stamp(),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser(__doc__, repeats=1)
    options.add_argument("--seconds", type=float, default=60.0, help="of each clip (default %(default)s)")
    options.add_argument("--clips", type=int, default=3, help="clips (default %(default)s)")
    options.add_argument("--profile", default="standard", help="of the scenes (default %(default)s)")
    chosen = options.parse_args(arguments)
    outcome = measure(chosen.seconds, chosen.clips, chosen.profile)
    for side, contents in outcome["sides_gb_per_hour"].items():
        listed = ", ".join(f"{what} {size:.3f}" for what, size in contents.items())
        print(f"{side:<12}{sum(contents.values()):>9.2f} GB an hour: {listed}")
    measured, published = outcome["ratio"]["reference"], outcome["ratio"]["published"]
    print(f"smaller by {measured:.1f} x, than the published files by {published:.1f} x")
    finish(outcome, chosen.save)


if __name__ == "__main__":
    main()
