"""Recordings are read when they are first-order ambisonics at 24 kHz, and refused by name otherwise."""

import sys

import numpy as np
import pytest
import soundfile

from data.audio_files import read_foa_wav, write_foa_wav
from data.errors import UserError


def tone(rate_hz=24_000, channels=4, seconds=0.5):
    t = np.arange(int(rate_hz * seconds)) / rate_hz
    return 0.5 * np.sin(2 * np.pi * 440 * t[:, None] + np.arange(channels))


def test_what_is_written_is_read_back(tmp_path):
    audio = (tone().T * 20000).astype(np.int16)
    write_foa_wav(tmp_path / "a.wav", audio)
    read = read_foa_wav(tmp_path / "a.wav")
    assert read.dtype == np.float32
    np.testing.assert_array_equal(np.rint(read * 32768), audio)


def test_wave_extensible_and_float_files_are_read(tmp_path):
    soundfile.write(tmp_path / "x.wav", tone(), 24_000, format="WAVEX", subtype="PCM_16")
    soundfile.write(tmp_path / "f.wav", tone(), 24_000, subtype="FLOAT")
    np.testing.assert_allclose(read_foa_wav(tmp_path / "x.wav"), read_foa_wav(tmp_path / "f.wav"), atol=1e-4)


def test_another_rate_is_resampled_only_when_asked(tmp_path):
    soundfile.write(tmp_path / "r.wav", tone(44_100), 44_100)
    with pytest.raises(UserError, match=r"r\.wav.*44100 Hz"):
        read_foa_wav(tmp_path / "r.wav")
    read = read_foa_wav(tmp_path / "r.wav", resample=True)
    assert read.shape == (4, 12_000)
    np.testing.assert_allclose(read[:, 2000:-2000], tone().T[:, 2000:-2000], atol=0.01)


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        (tone(channels=2), "2 channels"),
        (np.zeros((0, 4)), "empty"),
        (np.where(np.arange(100)[:, None] == 50, np.nan, np.zeros((100, 4))), "NaN"),
    ],
)
def test_what_cannot_be_used_is_refused(tmp_path, audio, message):
    soundfile.write(tmp_path / "bad.wav", audio, 24_000, subtype="FLOAT")
    with pytest.raises(UserError, match=rf"bad\.wav.*{message}"):
        read_foa_wav(tmp_path / "bad.wav")


def test_what_is_no_sound_is_refused(tmp_path):
    (tmp_path / "text.wav").write_text("hello")
    with pytest.raises(UserError, match=r"text\.wav"):
        read_foa_wav(tmp_path / "text.wav")
    with pytest.raises(UserError, match=r"none\.wav"):
        read_foa_wav(tmp_path / "none.wav")


def test_a_missing_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "librosa", None)
    soundfile.write(tmp_path / "r.wav", tone(44_100), 44_100)
    with pytest.raises(UserError, match=r"librosa.*seldtune\[synth\]"):
        read_foa_wav(tmp_path / "r.wav", resample=True)
