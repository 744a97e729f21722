"""Reading and writing first-order ambisonic recordings."""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray

from data.errors import UserError
from data.rows import RATE_HZ


def read_foa_wav(path: str | os.PathLike[str], resample: bool = False) -> NDArray[np.float32]:
    """Read W, Y, Z, X from a sound file: (4, N) float32 at 24 kHz, full scale 1.

    Raises UserError, naming the file, unless it holds four channels at 24 kHz with at least one sample and no NaN or
    infinity. With `resample` any rate is accepted and converted (needs the extra `synth`).
    """
    import soundfile

    path = os.fspath(path)
    try:
        audio, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError) as error:
        raise UserError(f"cannot read the recording {path}: {error}") from error
    if audio.shape[1] != 4:
        raise UserError(f"{path} has {audio.shape[1]} channels; first-order ambisonics has 4 (W, Y, Z, X)")
    if not len(audio):
        raise UserError(f"{path} is empty: it holds no samples")
    if not np.isfinite(audio).all():
        raise UserError(f"{path} holds samples that are no numbers (NaN or infinity); export it again")
    audio = np.ascontiguousarray(audio.T)
    if rate_hz == RATE_HZ:
        return audio
    if not resample:
        raise UserError(f"{path} has a rate of {rate_hz} Hz; {RATE_HZ} Hz is needed, or ask for it to be resampled")
    try:
        import librosa
    except ImportError as error:
        raise UserError("resampling needs librosa; install the extra: pip install 'seldtune[synth]'") from error
    resampled = librosa.resample(audio, orig_sr=rate_hz, target_sr=RATE_HZ)
    return np.asarray(resampled[:, : round(audio.shape[1] * RATE_HZ / rate_hz)], dtype=np.float32)


def write_foa_wav(path: str | os.PathLike[str], audio: NDArray) -> None:
    """Write (4, N) W, Y, Z, X at 24 kHz as 16-bit PCM; float with full scale 1, or int16."""
    import soundfile

    soundfile.write(os.fspath(path), audio.T, RATE_HZ, subtype="PCM_16", format="WAV")
