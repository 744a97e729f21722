"""Video files and single pictures: reading by presentation time, writing, JPEG."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.errors import UserError

TREE_WIDTH, TREE_HEIGHT = 1920, 960
TREE_RATE_HZ = Fraction(30000, 1001)
JPEG_QUALITY = 85

Picture = NDArray[np.uint8]


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


@dataclass(frozen=True)
class VideoInfo:
    """What the header of a video file says."""

    width: int
    height: int
    rate_hz: float


def video_info(path: str | os.PathLike[str]) -> VideoInfo:
    """UserError for a file that is no video, or holds none."""
    import av

    try:
        with av.open(os.fspath(path)) as container:
            stream = _video_stream(container, path)
            return VideoInfo(stream.width, stream.height, float(stream.average_rate or 0))
    except (av.FFmpegError, OSError) as error:
        raise UserError(f"cannot read the video {os.fspath(path)}: {error}") from error


def read_video(path: str | os.PathLike[str], width: int, height: int, rate_hz: float) -> Picture:
    """All of `video_pictures` at once, (V, height, width, 3)."""
    return np.stack(list(video_pictures(path, width, height, rate_hz)))


def video_pictures(path: str | os.PathLike[str], width: int, height: int, rate_hz: float) -> Iterator[Picture]:
    """Pictures of a video at a steady rate: (height, width, 3) uint8, number j the one shown nearest to j / rate.

    Chosen by presentation time, so that no rate, however odd, drifts against the sound. Raises UserError for a
    file that holds no readable video.
    """
    import av

    path = os.fspath(path)
    count = 0
    try:
        with av.open(path) as container:
            stream = _video_stream(container, path)
            stream.thread_type = "AUTO"
            start: float | None = None
            before: tuple[float, Any] | None = None
            for decoded in container.decode(stream):
                if decoded.pts is None:
                    continue
                start = float(decoded.pts * stream.time_base) if start is None else start
                now = float(decoded.pts * stream.time_base) - start
                # Every instant up to the middle between the last picture and this one belongs to the last one.
                while before is not None and count / rate_hz < (before[0] + now) / 2:
                    yield _resized(before[1], width, height)
                    count += 1
                before = (now, decoded)
            if before is not None:
                length = before[0] + float(1 / (stream.average_rate or TREE_RATE_HZ))
                while count / rate_hz < length - 1e-6:
                    yield _resized(before[1], width, height)
                    count += 1
    except (av.FFmpegError, OSError) as error:
        raise UserError(f"cannot read the video {path}: {error}") from error
    if not count:
        raise UserError(f"{path} holds no video frames")


def _video_stream(container: Any, path: str | os.PathLike[str]) -> Any:
    if not container.streams.video:
        raise UserError(f"{os.fspath(path)} holds no video stream")
    return container.streams.video[0]


def _resized(decoded: Any, width: int, height: int) -> Picture:
    return decoded.to_ndarray(format="rgb24", width=width, height=height, interpolation="AREA")
