"""Video files and single pictures: reading by presentation time, writing, JPEG."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from data.errors import UserError

TREE_WIDTH, TREE_HEIGHT = 1920, 960
TREE_RATE_HZ = Fraction(30000, 1001)
JPEG_QUALITY = 85

_ASPECT_TOLERANCE: Final = 0.05
_LATE_S: Final = 0.1
"""From a label frame on: encoders of sound begin some milliseconds before it, and of pictures with a frame or two."""
_BLACK: Final = 16
"""Of 255; coders leave a little light."""
_HEADER_BYTES: Final = 1 << 20
"""At either end of a file; its header lies there."""

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


Stereoscopic = Literal["top-bottom", "left-right"]
"""How two panoramas, one for each eye, lie in one picture."""


@dataclass(frozen=True)
class VideoInfo:
    """What a video file says of its pictures."""

    width: int
    """Of a picture as it is to be shown, in square pixels; one eye's where it holds two."""
    height: int
    rate_hz: float
    turned_deg: int
    """By what its rotation flag turns it, counter-clockwise."""
    is_mirrored: bool
    """Whether the flag turns it upside down before that, as of a mirror."""
    late_s: float
    """By how much its first picture comes after the first sound of the file."""

    @property
    def is_panorama(self) -> bool:
        """Twice as wide as high, as an equirectangular picture is."""
        return abs(self.width / self.height - 2) <= _ASPECT_TOLERANCE


def video_info(path: str | os.PathLike[str], stereoscopic: Stereoscopic | None = None) -> VideoInfo:
    """UserError for a file that is no video, or holds none."""
    with _opened(path) as (container, stream):
        for decoded in container.decode(stream):
            if decoded.pts is not None:
                return _info(container, stream, decoded, stereoscopic)
    raise UserError(f"{os.fspath(path)} holds no video frames")


def _info(container: Any, stream: Any, decoded: Any, stereoscopic: Stereoscopic | None) -> VideoInfo:
    """By its first picture."""
    pixel = float(stream.sample_aspect_ratio or 1)
    width, height = round(decoded.width * pixel), decoded.height
    turned_deg = round(decoded.rotation / 90) * 90 % 360
    matrix = decoded.side_data.get("DISPLAYMATRIX")
    a, b, _, c, d = np.frombuffer(matrix, "<i4")[:5].astype(float) if matrix else (1.0, 0.0, 0.0, 0.0, 1.0)
    if turned_deg % 180:
        width, height = height, width
    if stereoscopic == "top-bottom":
        height //= 2
    elif stereoscopic == "left-right":
        width //= 2
    late_s = float(decoded.pts * stream.time_base) - (container.start_time or 0) / 1_000_000
    is_late = container.start_time is not None and late_s > _LATE_S
    rate_hz = float(stream.average_rate or 0)
    return VideoInfo(width, height, rate_hz, turned_deg, a * d < b * c, late_s if is_late else 0.0)


def check_panorama(path: str | os.PathLike[str], info: VideoInfo, stereoscopic: Stereoscopic | None = None) -> None:
    """UserError unless its pictures are equirectangular panoramas, as far as their shape and the file say."""
    said = _projection(path)
    if said == "cubemap":
        raise UserError(
            f"{os.fspath(path)} is a cubemap by its header; equirectangular pictures are needed: convert it"
        )
    if stereoscopic == said if said else info.is_panorama:
        return
    guess = {1.0: "top-bottom", 4.0: "left-right"}.get(round(info.width / info.height, 1))
    name = said or guess
    fix = "equirectangular pictures are twice as wide as high: convert it, or leave videos out (--no-video)"
    if name and stereoscopic is None:
        half = "upper" if name == "top-bottom" else "left"
        fix = f"is each two panoramas? --stereoscopic {name} takes the {half} one"
    raise UserError(f"{os.fspath(path)} has pictures of {info.width} x {info.height}: {fix}")


def _check_stitched(path: str | os.PathLike[str], picture: Picture) -> None:
    """UserError for two round pictures side by side, which have the shape of a panorama: light within, black around."""
    height, width, _ = picture.shape
    y, x = (2 * (np.arange(height) + 0.5) / height - 1)[:, None], 4 * (np.arange(width) + 0.5) / width % 2 - 1
    level, radius = picture.mean(axis=-1), np.hypot(y, x)
    if (level[radius > 1.05] < _BLACK).mean() > 0.98 and level[radius < 0.95].mean() > 2 * _BLACK:
        raise UserError(
            f"{os.fspath(path)} shows two round pictures, as a camera with two lenses takes them: make them into one "
            "equirectangular picture, or leave videos out (--no-video)"
        )


def _projection(path: str | os.PathLike[str]) -> str | None:
    """What Google's spherical metadata (V1: XML in a uuid box, V2: st3d and sv3d) say, which ffmpeg keeps to itself."""
    with open(path, "rb") as file:
        start = file.read(_HEADER_BYTES)
        file.seek(max(0, os.path.getsize(path) - _HEADER_BYTES))
        end = file.read()
    said = start + end
    if b"cbmp" in said and b"sv3d" in said:
        return "cubemap"
    mode = said.find(b"st3d")
    v2 = {1: "top-bottom", 2: "left-right"}.get(said[mode + 8]) if 0 <= mode < len(said) - 8 else None
    v1 = re.search(rb"StereoMode>\s*(top-bottom|left-right)\s*<", said)
    return v2 or (v1[1].decode() if v1 else None)


def read_video(path: str | os.PathLike[str], width: int, height: int, rate_hz: float) -> Picture:
    """All of `video_pictures` at once, (V, height, width, 3)."""
    return np.stack(list(video_pictures(path, width, height, rate_hz)))


def video_pictures(
    path: str | os.PathLike[str], width: int, height: int, rate_hz: float, stereoscopic: Stereoscopic | None = None
) -> Iterator[Picture]:
    """Pictures of a video at a steady rate: (height, width, 3) uint8, number j the one shown nearest to j / rate.

    Chosen by presentation time, so that no rate, however odd, drifts against the sound: a picture that stays is shown
    as long as it stays, and where the first one comes after the file's sound it stands for the time before. Turned as
    the file says. Of two panoramas in a picture (`stereoscopic`) it is the upper or the left one.

    Raises:
        UserError: it holds no readable video, or pictures that are no equirectangular panoramas.
    """
    count = 0
    with _opened(path) as (container, stream):
        info: VideoInfo | None = None
        start = frame_s = 0.0
        before: tuple[float, Any] | None = None
        for decoded in container.decode(stream):
            if decoded.pts is None:
                continue
            if info is None:
                info = _info(container, stream, decoded, stereoscopic)
                check_panorama(path, info, stereoscopic)
                _check_stitched(path, _shown(decoded, width, height, info, stereoscopic))
                start = float(decoded.pts * stream.time_base) - info.late_s
                frame_s = float(1 / (stream.base_rate or stream.average_rate or TREE_RATE_HZ))
            now = float(decoded.pts * stream.time_base) - start
            # Every instant up to the middle between the last picture and this one belongs to the last one; of one that
            # stays longer than others all but what is nearer to this one than any other is.
            until = now
            if before is not None:
                until = (before[0] + now) / 2 if now - before[0] <= 1.5 * frame_s else now - frame_s / 2
            while count / rate_hz < until:
                yield _shown((before or (now, decoded))[1], width, height, info, stereoscopic)
                count += 1
            before = (now, decoded)
        if before is not None and info is not None:
            last_s = float(before[1].duration * stream.time_base) if before[1].duration else frame_s
            while count / rate_hz < before[0] + last_s - 1e-6:
                yield _shown(before[1], width, height, info, stereoscopic)
                count += 1
    if not count:
        raise UserError(f"{os.fspath(path)} holds no video frames")


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[tuple[Any, Any]]:
    """A video file and the track of its pictures, which no cover of an album is. UserError for what cannot be read."""
    import av
    from av.stream import Disposition

    name = os.fspath(path)
    try:
        with av.open(name) as container:
            tracks = [one for one in container.streams.video if not one.disposition & Disposition.attached_pic]
            if not tracks:
                raise UserError(f"{name} holds no video stream")
            stream = container.streams.best("video")
            stream = stream if stream in tracks else tracks[0]
            stream.thread_type = "AUTO"
            yield container, stream
    except (av.FFmpegError, OSError) as error:
        raise UserError(f"cannot read the video {name}: {error}") from error


def _shown(decoded: Any, width: int, height: int, info: VideoInfo, stereoscopic: Stereoscopic | None) -> Picture:
    """(height, width, 3) of a picture as it is to be shown."""
    across, down = (2 if stereoscopic == "left-right" else 1), (2 if stereoscopic == "top-bottom" else 1)
    size = (across * width, down * height)
    if info.turned_deg % 180:
        size = size[::-1]
    whole = decoded.to_ndarray(format="rgb24", width=size[0], height=size[1], interpolation="AREA")
    if info.is_mirrored:
        whole = whole[::-1]
    if info.turned_deg:
        whole = np.ascontiguousarray(np.rot90(whole, info.turned_deg // 90))
    return np.ascontiguousarray(whole[:height, :width])
