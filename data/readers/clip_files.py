"""Reading the files of a recording: wav, csv and video, with all that is unusual about them counted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from data import storage
from data.errors import UserError
from data.files.audio import read_foa_int16
from data.files.dcase_csv import parse_events_csv
from data.files.video import (
    TREE_HEIGHT,
    TREE_RATE_HZ,
    TREE_WIDTH,
    Stereoscopic,
    encode_jpeg,
    video_info,
    video_pictures,
)
from data.labels import Events
from data.readers.contract import Clip, IngestSettings
from data.stores.rows import PICTURE_HEIGHT, PICTURE_WIDTH
from data.stores.source import Fault, Recording
from data.timing import LABEL_RATE_HZ, PICTURE_RATE_HZ, RATE_HZ, SAMPLES_PER_LABEL


def read_clip(root: str, clip: Clip, settings: IngestSettings) -> Recording | Fault:
    """Read the files of one recording; a fault where one of them is not what it has to be.

    `facts["notes"]` of the recording counts what is unusual: what it is -> how often.

    Raises:
        UserError: the place of the tree does not answer (S3).
    """
    video = clip.video if settings.with_video else None
    with _copies(root, clip.wav, clip.csv, video) as (wav_path, csv_path, video_path):
        assert wav_path is not None
        try:
            audio, notes = read_foa_int16(wav_path, settings.resample, settings.ambisonics)
            labels = audio.shape[1] // SAMPLES_PER_LABEL
            events = Events.build()
            if csv_path is not None:
                assert clip.csv is not None
                place = storage.join(root, clip.csv)
                events, of_csv = parse_events_csv(csv_path.read_bytes(), place, classes=settings.class_map)
                notes |= of_csv
            pictures: list[bytes] = []
            if video_path is not None:
                pictures, of_video = _pictures(video_path, labels, audio.shape[1] / RATE_HZ, settings.stereoscopic)
                notes |= of_video
        except UserError as error:
            # A copy from S3 has a name of its own, which means nothing to anybody.
            reason = str(error).replace(str(wav_path), storage.join(root, clip.wav))
            return Fault(clip.name, reason.replace(str(video_path), storage.join(root, clip.video or "")))
    notes["recordings without video"] = int(clip.video is None and settings.with_video)
    notes["samples after the last label frame dropped"] = audio.shape[1] % SAMPLES_PER_LABEL
    facts = {"notes": {what: count for what, count in notes.items() if count}}
    return Recording(clip.name, clip.room, audio, events, pictures, PICTURE_RATE_HZ, facts)


@contextmanager
def _copies(root: str, *paths: str | None) -> Iterator[list[Path | None]]:
    """The files on this machine's disk, for as long as the block lasts; None for those that are not there."""
    with ExitStack() as stack:
        yield [p and stack.enter_context(storage.local_copy(storage.join(root, p))) for p in paths]  # type: ignore[misc]


def _pictures(
    path: Path, labels: int, seconds: float, stereoscopic: Stereoscopic | None
) -> tuple[list[bytes], dict[str, int]]:
    """JPEG pictures of a video for so many label frames, and what is unusual about it beside a sound of that length."""
    info = video_info(path, stereoscopic)
    wanted = int(labels * PICTURE_RATE_HZ / LABEL_RATE_HZ)
    pictures: list[bytes] = []
    beyond = 0
    shown = video_pictures(path, PICTURE_WIDTH, PICTURE_HEIGHT, PICTURE_RATE_HZ, stereoscopic)
    for number, picture in enumerate(shown):
        if number < wanted:
            pictures.append(encode_jpeg(picture))
        else:
            beyond += number / PICTURE_RATE_HZ >= seconds
    return pictures, {
        "label frames after the end of the video": wanted - len(pictures),
        "pictures after the end of the sound dropped": beyond,
        "label frames before the video begins, with its first picture": int(info.late_s * LABEL_RATE_HZ + 0.5),
        "video turned by its rotation flag": int(info.turned_deg != 0 or info.is_mirrored),
        "video of two panoramas, one of which is taken": int(stereoscopic is not None),
        "video of another size than 1920 x 960": int((info.width, info.height) != (TREE_WIDTH, TREE_HEIGHT)),
        "video at another rate than 29.97 Hz": int(abs(info.rate_hz - float(TREE_RATE_HZ)) > 0.01),
    }
