"""Reading and writing first-order ambisonic recordings."""

from __future__ import annotations

import os
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.errors import UserError
from data.timing import RATE_HZ


def read_foa_wav(path: str | os.PathLike[str], resample: bool = False) -> NDArray[np.float32]:
    """Read W, Y, Z, X from a sound file: (4, N) float32 at 24 kHz, full scale 1.

    Raises UserError, naming the file, unless it holds four channels at 24 kHz with at least one sample, no NaN or
    infinity, and as many samples as its header says. With `resample` any rate is accepted and converted (needs the
    extra `synth`).
    """
    path = os.fspath(path)
    audio, rate_hz = _read(path, "float32")
    if not np.isfinite(audio).all():
        first = int(np.argwhere(~np.isfinite(audio).all(axis=1))[0, 0])
        raise UserError(
            f"{path} holds samples that are no numbers (NaN or infinity), the first at {first / rate_hz:.3f} s; "
            "export it again"
        )
    if rate_hz == RATE_HZ:
        return np.ascontiguousarray(audio.T)
    if not resample:
        raise UserError(f"{path} has a rate of {rate_hz} Hz; {RATE_HZ} Hz is needed, or ask for it to be resampled")
    try:
        import librosa
    except ImportError as error:
        raise UserError("resampling needs librosa; install the extra: pip install 'seldtune[synth]'") from error
    resampled = librosa.resample(audio.T, orig_sr=rate_hz, target_sr=RATE_HZ)
    return np.asarray(resampled[:, : round(len(audio) * RATE_HZ / rate_hz)], dtype=np.float32)


def read_foa_int16(path: str | os.PathLike[str], resample: bool = False) -> tuple[NDArray[np.int16], dict[str, int]]:
    """The same as (4, N) int16, and what is unusual about the file: what it is -> how often.

    Samples of 16 bit at 24 kHz come as they are in the file; others are rounded to 16 bit.
    """
    import soundfile

    path = os.fspath(path)
    try:
        info = soundfile.info(path)
    except (soundfile.LibsndfileError, OSError) as error:
        raise UserError(f"cannot read the recording {path}: {error}") from error
    exact = info.subtype == "PCM_16" and info.samplerate == RATE_HZ
    notes = {
        "audio with a WAVE_EXTENSIBLE header": int(info.format == "WAVEX"),
        "audio resampled": int(info.samplerate != RATE_HZ),
        "audio rounded to 16 bit": int(info.subtype != "PCM_16"),
    }
    if exact:
        audio = np.ascontiguousarray(_read(path, "int16")[0].T)
    else:
        scaled = np.rint(32768.0 * read_foa_wav(path, resample))
        notes["samples beyond full scale clipped"] = int(((scaled < -32768) | (scaled > 32768)).sum())
        audio = np.clip(scaled, -32768, 32767).astype(np.int16)
    return audio, {what: count for what, count in notes.items() if count}


def _read(path: str, dtype: str) -> tuple[NDArray[Any], int]:
    """Samples (N, 4) and rate."""
    import soundfile

    try:
        audio, rate_hz = soundfile.read(path, dtype=dtype, always_2d=True)
    except (soundfile.LibsndfileError, OSError) as error:
        raise UserError(f"cannot read the recording {path}: {error}") from error
    if audio.shape[1] != 4:
        raise UserError(f"{path} has {audio.shape[1]} channels; first-order ambisonics has 4 (W, Y, Z, X)")
    declared = _declared_bytes(path)
    if declared is not None and declared[0] > declared[1]:
        raise UserError(
            f"{path} is truncated: its header announces {declared[0]:,} bytes of sound, {declared[1]:,} are there; "
            "copy or download it again"
        )
    if not len(audio):
        raise UserError(f"{path} is empty: it holds no samples")
    return audio, rate_hz


def _declared_bytes(path: str) -> tuple[int, int] | None:
    """Bytes of samples that a RIFF header announces, and those that are there; None for other formats.

    libsndfile reads a truncated file to its end without a word.
    """
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        if file.read(4) != b"RIFF":
            return None
        file.seek(12)
        while len(header := file.read(8)) == 8:
            name, length = struct.unpack("<4sI", header)
            if name == b"data":
                # A writer that was still at it, or a stream, leaves the largest length.
                return None if length == 0xFFFFFFFF else (length, size - file.tell())
            file.seek(length + length % 2, os.SEEK_CUR)
    return None


def write_foa_wav(path: str | os.PathLike[str], audio: NDArray) -> None:
    """Write (4, N) W, Y, Z, X at 24 kHz as 16-bit PCM; float with full scale 1, or int16."""
    import soundfile

    soundfile.write(os.fspath(path), audio.T, RATE_HZ, subtype="PCM_16", format="WAV")
