"""Pictures of scenes as JPEG and as video files."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np

from data.errors import UserError
from data.painting import Glyph, Painter, Picture
from data.rows import FRAME_RATE_HZ
from data.scene_parts import Scene

JPEG_QUALITY = 85
TREE_WIDTH, TREE_HEIGHT = 1920, 960
TREE_RATE_HZ = Fraction(30000, 1001)


def render_jpegs(scene: Scene, rate_hz: float = FRAME_RATE_HZ) -> list[bytes]:
    """The pictures that the store keeps: JPEG, frame j shows time j / rate. A picture that repeats is encoded once."""
    painter = Painter(scene)
    known: dict[tuple[Glyph, ...], bytes] = {}
    frames = []
    for j in range(round(scene.duration_s * rate_hz)):
        glyphs = painter.glyphs(j / rate_hz)
        if glyphs not in known:
            known[glyphs] = encode_jpeg(painter.picture(glyphs))
        frames.append(known[glyphs])
    return frames


def encode_jpeg(picture: Picture) -> bytes:
    """(H, W, 3) uint8 -> JPEG bytes."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def decode_jpeg(content: bytes) -> Picture:
    """JPEG bytes -> (H, W, 3) uint8."""
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def write_mp4(path: str | os.PathLike[str], pictures: Iterator[Picture], rate_hz: Fraction = TREE_RATE_HZ) -> None:
    """Write pictures (H, W, 3), all of one size, as H.264 video."""
    import av

    with av.open(os.fspath(path), "w") as container:
        stream: Any = None
        for picture in pictures:
            if stream is None:
                stream = container.add_stream("libx264", rate=rate_hz, options={"preset": "ultrafast", "crf": "20"})
                stream.height, stream.width = picture.shape[:2]
                stream.pix_fmt = "yuv420p"
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        if stream is not None:
            container.mux(stream.encode(None))


def scene_pictures(
    scene: Scene, width: int = TREE_WIDTH, height: int = TREE_HEIGHT, rate_hz: Fraction = TREE_RATE_HZ
) -> Iterator[Picture]:
    """Every picture of a scene in order, for `write_mp4`."""
    painter = Painter(scene, width, height)
    shown: tuple[Glyph, ...] | None = None
    for j in range(int(scene.duration_s * rate_hz)):
        glyphs = painter.glyphs(float(j / rate_hz))
        if glyphs != shown:
            picture, shown = painter.picture(glyphs), glyphs
        yield picture


def read_video(path: str | os.PathLike[str], width: int, height: int, rate_hz: float) -> Picture:
    """Pictures of a video at a steady rate: (V, height, width, 3) uint8, frame j the one shown nearest to j / rate.

    Chosen by presentation time, so that no frame rate, however odd, drifts against the sound. Raises UserError for a
    file that holds no readable video.
    """
    import av

    path = os.fspath(path)
    pictures: list[Picture] = []
    try:
        with av.open(path) as container:
            if not container.streams.video:
                raise UserError(f"{path} holds no video stream")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            start: float | None = None
            before: tuple[float, Any] | None = None
            for frame in container.decode(stream):
                if frame.pts is None:
                    continue
                start = float(frame.pts * stream.time_base) if start is None else start
                now = float(frame.pts * stream.time_base) - start
                # Every instant up to the middle between the last frame and this one belongs to the last one.
                while before is not None and len(pictures) / rate_hz < (before[0] + now) / 2:
                    pictures.append(_resized(before[1], width, height))
                before = (now, frame)
            if before is not None:
                length = before[0] + float(1 / (stream.average_rate or TREE_RATE_HZ))
                while len(pictures) / rate_hz < length - 1e-6:
                    pictures.append(_resized(before[1], width, height))
    except (av.FFmpegError, OSError) as error:
        raise UserError(f"cannot read the video {path}: {error}") from error
    if not pictures:
        raise UserError(f"{path} holds no video frames")
    return np.stack(pictures)


def _resized(frame: Any, width: int, height: int) -> Picture:
    return frame.to_ndarray(format="rgb24", width=width, height=height, interpolation="AREA")
