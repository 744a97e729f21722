"""Reading and writing first-order ambisonic recordings."""

from __future__ import annotations

import io
import os
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from data.errors import UserError
from data.files.sound_header import SoundHeader, sound_header
from data.timing import RATE_HZ

Ambisonics = Literal["ambix", "n3d", "fuma"]
AMBISONICS: Final[tuple[Ambisonics, ...]] = ("ambix", "n3d", "fuma")
"""Order and scale of channels: W Y Z X in SN3D, as everywhere here; the same in N3D; W X Y Z with W 3 dB lower."""


def check_ambisonics(name: str) -> Ambisonics:
    """UserError for anything but one of `AMBISONICS`."""
    for known in AMBISONICS:
        if name == known:
            return known
    raise UserError(f"--ambisonics {name!r} is not known; choose from: {', '.join(AMBISONICS)}")


_CHANNELS: Final = {(order + 1) ** 2 for order in range(1, 8)}
"""Of ambisonic sound, by its order."""
_LOUDEST: Final = 100.0
"""Full scale is 1: samples beyond this were never divided."""
_INTEGER_SCALES: Final = (1 << 15, 1 << 23, 1 << 31)
_QUIETEST: Final = 2.0**-13
"""Four steps of 16 bit: sound that is never louder was divided once too often."""
_MOST_BEYOND: Final = 0.01
"""Share of samples that may lie beyond full scale, and are clipped."""
_MOST_FRAMES: Final = 1 << 40
_FFMPEGS_MASK: Final = 0x107
"""Of four channels that nobody gave a mask: ffmpeg's word for them, with untouched samples."""


def read_foa_wav(
    path: str | os.PathLike[str], resample: bool = False, ambisonics: Ambisonics = "ambix"
) -> NDArray[np.float32]:
    """Read W, Y, Z, X in SN3D from a sound file: (4, N) float32 at 24 kHz, full scale 1.

    Takes what libsndfile reads and BW64, streams whose header does not know their length, B-format by its sub-format
    (FuMa), and higher orders, of which it reads the first. With `resample` any rate is accepted and converted (soxr,
    high quality; needs the extra `synth`).

    Raises:
        UserError: naming the file, unless it holds such channels at 24 kHz with at least one sample, no NaN or
            infinity, full scale 1, what 16 bit can hold, and as many samples as its header says.
    """
    path = os.fspath(path)
    sound, header = _opened(path)
    with sound:
        audio = _samples(path, sound, header, "float32")
    return _converted(path, audio, sound.samplerate, resample, "fuma" if header.is_b_format else ambisonics)


def read_foa_int16(
    path: str | os.PathLike[str], resample: bool = False, ambisonics: Ambisonics = "ambix"
) -> tuple[NDArray[np.int16], dict[str, int]]:
    """The same as (4, N) int16, and what is unusual about the file: what it is -> how often.

    Samples of 16 bit at 24 kHz in W, Y, Z, X come as they are in the file, and lie in memory as they do there: one
    instant after the other. Others are rounded to 16 bit.
    """
    path = os.fspath(path)
    sound, header = _opened(path)
    given: Ambisonics = "fuma" if header.is_b_format else ambisonics
    with sound:
        as_it_is = sound.subtype == "PCM_16" and sound.samplerate == RATE_HZ and given == "ambix"
        samples = _samples(path, sound, header, "int16" if as_it_is else "float32")
    notes = {
        "audio with a WAVE_EXTENSIBLE header": int(sound.format == "WAVEX" and not header.is_b_format),
        "audio whose header names loudspeakers": int(header.mask not in (0, _FFMPEGS_MASK)),
        "audio of a stream, without its length": int(header.is_stream),
        "audio of a higher order, of which the first is taken": int(sound.channels > 4),
        "audio in FuMa's order and scale converted": int(given == "fuma"),
        "audio in N3D converted": int(given == "n3d"),
        "audio resampled": int(sound.samplerate != RATE_HZ),
        "audio rounded to 16 bit": int(sound.subtype != "PCM_16"),
    }
    if as_it_is:
        audio = samples.T
    else:
        scaled = np.rint(32768.0 * _converted(path, samples, sound.samplerate, resample, given))
        notes["samples beyond full scale clipped"] = int(((scaled < -32768) | (scaled > 32768)).sum())
        audio = np.clip(scaled, -32768, 32767).astype(np.int16)
    return audio, {what: count for what, count in notes.items() if count}


def _converted(
    path: str, audio: NDArray[np.float32], rate_hz: int, resample: bool, given: Ambisonics
) -> NDArray[np.float32]:
    """(N, 4) of a file -> (4, N), W, Y, Z, X in SN3D at 24 kHz."""
    if not np.isfinite(audio).all():
        first = int(np.argwhere(~np.isfinite(audio).all(axis=1))[0, 0])
        raise UserError(
            f"{path} holds samples that are no numbers (NaN or infinity), the first at {first / rate_hz:.3f} s; "
            "export it again"
        )
    size = np.abs(audio)
    peak, beyond = float(size.max()), float((size > 1).mean())
    if peak > _LOUDEST:
        raise UserError(
            f"{path} holds float samples up to {peak:,.0f}, where full scale is 1: divide them by "
            f"{next((scale for scale in _INTEGER_SCALES if peak <= scale), round(peak))}, and write it again"
        )
    if 0 < peak < _QUIETEST:
        raise UserError(
            f"{path} is too quiet for 16 bit: its samples reach {peak:.2g}, where full scale is 1; if they were "
            "divided by 32768 twice, multiply them by it, and write it again"
        )
    if beyond > _MOST_BEYOND:
        raise UserError(
            f"{path} is too loud: {beyond:.1%} of its samples lie beyond full scale, up to {peak:.2g}; write it again "
            "at a lower level"
        )
    if given == "fuma":
        audio = audio[:, [0, 2, 3, 1]] * np.array([2**0.5, 1, 1, 1], np.float32)
    elif given == "n3d":
        audio = audio * np.array([1, *3 * [3**-0.5]], np.float32)
    if rate_hz == RATE_HZ:
        return np.ascontiguousarray(audio.T)
    if not resample:
        raise UserError(f"{path} has a rate of {rate_hz} Hz; {RATE_HZ} Hz is needed, or ask for it to be resampled")
    try:
        import librosa
    except ImportError as error:
        raise UserError("resampling needs librosa; install the extra: pip install 'seldtune[synth]'") from error
    resampled = librosa.resample(audio.T, orig_sr=rate_hz, target_sr=RATE_HZ, res_type="soxr_hq")
    return np.asarray(resampled[:, : round(len(audio) * RATE_HZ / rate_hz)], dtype=np.float32)


def _opened(path: str) -> tuple[Any, SoundHeader]:
    """The file for libsndfile, and what its header says besides."""
    import soundfile

    try:
        header = sound_header(path)
        source: Any = path
        if header.changes:
            with open(path, "rb") as file:
                content = bytearray(file.read())
            for offset, right in header.changes:
                content[offset : offset + len(right)] = right
            source = io.BytesIO(content)
        return soundfile.SoundFile(source), header
    except (soundfile.LibsndfileError, OSError) as error:
        raise UserError(f"cannot read the recording {path}: {error}") from error


def _samples(path: str, sound: Any, header: SoundHeader, dtype: str) -> NDArray[Any]:
    """(N, 4) of an opened file."""
    import soundfile

    if sound.channels not in _CHANNELS:
        raise UserError(f"{path} has {sound.channels} channels; first-order ambisonics has 4 (W, Y, Z, X)")
    if header.is_truncated:
        raise UserError(
            f"{path} is truncated: its header announces {header.announced:,} bytes of sound, {header.there:,} are "
            "there; copy or download it again"
        )
    frames = sound.frames
    if frames > _MOST_FRAMES:  # what libsndfile makes of a FLAC file without a length
        raise UserError(f"{path} does not say how long it is, as of a pipe; write it again to a file, or as wav")
    try:
        audio = sound.read(dtype=dtype, always_2d=True)
    except soundfile.LibsndfileError as error:
        raise UserError(f"{path} is damaged or truncated ({error}); copy or download it again") from error
    # Of a compressed file, libsndfile decodes what it can.
    if header.announced is None and not header.is_stream and len(audio) < frames:
        raise UserError(
            f"{path} is truncated: its header announces {frames:,} samples, {len(audio):,} could be decoded; copy or "
            "download it again"
        )
    if not len(audio):
        raise UserError(f"{path} is empty: it holds no samples")
    return audio[:, :4]


def write_foa_wav(path: str | os.PathLike[str], audio: NDArray) -> None:
    """Write (4, N) W, Y, Z, X at 24 kHz as 16-bit PCM; float with full scale 1, or int16."""
    import soundfile

    soundfile.write(os.fspath(path), audio.T, RATE_HZ, subtype="PCM_16", format="WAV")
