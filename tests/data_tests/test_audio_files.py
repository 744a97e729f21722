"""Recordings are read when they are first-order ambisonics at 24 kHz, and refused by name otherwise."""

import struct
import sys

import numpy as np
import pytest
import soundfile

from data.errors import UserError
from data.files import audio as audio_files
from data.files import sound_header
from data.files.audio import read_foa_int16, read_foa_wav, write_foa_wav


def tone(rate_hz=24_000, channels=4, seconds=0.5):
    t = np.arange(int(rate_hz * seconds)) / rate_hz
    return 0.5 * np.sin(2 * np.pi * 440 * t[:, None] + np.arange(channels))


def test_what_is_written_is_read_back(tmp_path):
    audio = (tone().T * 20000).astype(np.int16)
    write_foa_wav(tmp_path / "a.wav", audio)
    read = read_foa_wav(tmp_path / "a.wav")
    assert read.dtype == np.float32
    np.testing.assert_array_equal(np.rint(read * 32768), audio)


def test_a_file_is_opened_once(tmp_path, monkeypatch):
    opened: list[str] = []
    plain = sound_header.sound_header
    monkeypatch.setattr(audio_files, "sound_header", lambda path: opened.append(path) or plain(path))
    for kind in ("PCM_16", "FLOAT"):
        path = str(tmp_path / f"{kind}.wav")
        soundfile.write(path, np.zeros((480, 4)), 24_000, subtype=kind)
        read_foa_int16(path)
        assert opened.pop() == path
        assert not opened


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


KINDS = {
    "wav": ("WAV", "PCM_16"),
    "rf64": ("RF64", "PCM_16"),
    "w64": ("W64", "PCM_24"),
    "aiff": ("AIFF", "PCM_16"),
    "au": ("AU", "FLOAT"),
    "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
}
SOUND = np.random.default_rng(0).uniform(-0.3, 0.3, (24_000, 4))


def written(path, kind, audio=SOUND):
    container, coding = KINDS[kind]
    soundfile.write(path, audio, 24_000, format=container, subtype=coding)
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_whole_is_read_and_what_is_cut_off_is_refused(tmp_path, kind):
    path = written(tmp_path / "a.wav", kind)
    assert read_foa_wav(path).shape == (4, 24_000)
    size = path.stat().st_size
    for share in (0.5, 0.9):
        cut = tmp_path / f"cut{share}.wav"
        cut.write_bytes(path.read_bytes()[: int(share * size)])
        with pytest.raises(
            UserError, match=rf"cut{share}\.wav.* is (truncated: its header announces|damaged or truncated)"
        ):
            read_foa_wav(cut)


@pytest.mark.parametrize("length", [0, 0x7FFFF000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFDB, 0xFFFFFFFE, 0xFFFFFFFF])
def test_a_stream_ends_where_it_ends(tmp_path, length):
    path = written(tmp_path / "a.wav", "wav")
    content = bytearray(path.read_bytes())
    at = content.index(b"data") + 4
    content[at : at + 4] = struct.pack("<I", length)
    content[4:8] = struct.pack("<I", length)
    path.write_bytes(content)
    audio, notes = read_foa_int16(path)
    assert (audio.shape, notes) == ((4, 24_000), {"audio of a stream, without its length": 1})
    np.testing.assert_allclose(audio.T / 32768, SOUND, atol=1e-4)


def test_bw64_is_read_as_the_rf64_that_it_is(tmp_path):
    path = written(tmp_path / "a.wav", "rf64")
    path.write_bytes(b"BW64" + path.read_bytes()[4:])
    np.testing.assert_allclose(read_foa_wav(path).T, SOUND, atol=1e-4)


def as_b_format(path):
    """The sub-format of a float file as .amb files have it."""
    content = bytearray(path.read_bytes())
    at = content.index(b"fmt ") + 8 + 24
    content[at : at + 16] = bytes.fromhex("030000002107d3118644c8c1ca000000")
    path.write_bytes(content)


def test_b_format_by_its_sub_format_or_by_name_is_converted(tmp_path):
    w, y, z, x = SOUND.T
    fuma = np.stack([w / 2**0.5, x, y, z], axis=1)
    soundfile.write(tmp_path / "a.amb", fuma, 24_000, format="WAVEX", subtype="FLOAT")
    as_b_format(tmp_path / "a.amb")
    np.testing.assert_allclose(read_foa_wav(tmp_path / "a.amb").T, SOUND, atol=1e-5)
    assert read_foa_int16(tmp_path / "a.amb")[1]["audio in FuMa's order and scale converted"] == 1
    written(tmp_path / "a.wav", "wav", fuma)
    np.testing.assert_allclose(read_foa_wav(tmp_path / "a.wav", ambisonics="fuma").T, SOUND, atol=1e-4)
    written(tmp_path / "n.wav", "wav", SOUND * [1, 3**0.5, 3**0.5, 3**0.5])
    audio, notes = read_foa_int16(tmp_path / "n.wav", ambisonics="n3d")
    np.testing.assert_allclose(audio.T / 32768, SOUND, atol=1e-4)
    assert notes == {"audio in N3D converted": 1}


def test_of_a_higher_order_the_first_is_taken(tmp_path):
    more = np.hstack([SOUND, np.zeros((len(SOUND), 12))])
    written(tmp_path / "third.wav", "wav", more)
    audio, notes = read_foa_int16(tmp_path / "third.wav")
    np.testing.assert_allclose(audio.T / 32768, SOUND, atol=1e-4)
    assert notes == {"audio of a higher order, of which the first is taken": 1}


def test_float_at_the_scale_of_integers_or_beyond_full_scale_is_refused_with_the_fix(tmp_path):
    soundfile.write(tmp_path / "l.wav", SOUND * 8, 24_000, subtype="FLOAT")
    for read in (read_foa_wav, read_foa_int16):
        for scale, peak in ((32768, r"9,83\d"), (1 << 23, r"2,51\d,\d{3}"), (1 << 31, r"64\d,\d{3},\d{3}")):
            soundfile.write(tmp_path / "i.wav", SOUND * scale, 24_000, subtype="FLOAT")
            with pytest.raises(UserError, match=rf"i\.wav holds float samples up to {peak}, .*divide them by {scale},"):
                read(tmp_path / "i.wav")
        with pytest.raises(UserError, match=r"l\.wav is too loud: 5\d\.\d% of its samples lie beyond full scale"):
            read(tmp_path / "l.wav")
    peaks = SOUND.copy()
    peaks[::1000] = 1.5
    soundfile.write(tmp_path / "p.wav", peaks, 24_000, subtype="FLOAT")
    assert read_foa_int16(tmp_path / "p.wav")[1]["samples beyond full scale clipped"] == 96


@pytest.mark.parametrize(("sound", "subtype"), [(SOUND / 32768, "FLOAT"), (SOUND * 2.0**-20, "PCM_32")])
def test_what_sixteen_bits_would_lose_is_refused(tmp_path, sound, subtype):
    """Divided once too often; silence is no such thing."""
    soundfile.write(tmp_path / "q.wav", sound, 24_000, subtype=subtype)
    for read in (read_foa_wav, read_foa_int16):
        with pytest.raises(UserError, match=r"q\.wav is too quiet for 16 bit: its samples reach \S+e-0\d, where full"):
            read(tmp_path / "q.wav")
    soundfile.write(tmp_path / "s.wav", 0 * sound, 24_000, subtype=subtype)
    assert not read_foa_int16(tmp_path / "s.wav")[0].any()


def test_loudspeakers_in_the_header_are_noted(tmp_path):
    soundfile.write(tmp_path / "m.wav", SOUND, 24_000, format="WAVEX", subtype="PCM_16")
    content = bytearray((tmp_path / "m.wav").read_bytes())
    at = content.index(b"fmt ") + 8 + 20
    for mask, noted in ((0x107, 0), (0, 0), (0x33, 1)):
        content[at : at + 4] = struct.pack("<I", mask)
        (tmp_path / "m.wav").write_bytes(content)
        assert read_foa_int16(tmp_path / "m.wav")[1].get("audio whose header names loudspeakers", 0) == noted


def test_a_flac_stream_without_its_length_is_refused_with_the_fix(tmp_path):
    path = written(tmp_path / "pipe.flac", "flac")
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0  # the upper four bits of the number of samples, and the lower 32
    content[22:26] = bytes(4)
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"pipe\.flac does not say how long it is, as of a pipe; write it again"):
        read_foa_wav(path)


@pytest.mark.parametrize(
    ("kind", "chunk", "length"),
    [
        ("rf64", b"ds64", bytes(24)),
        ("rf64", b"ds64", 24 * b"\xff"),
        ("w64", b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a", 8 * b"\xff"),
        ("w64", b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a", 7 * b"\xff" + b"\x7f"),
        ("au", b".snd", 4 * b"\x00"),
        ("au", b".snd", 4 * b"\xff"),
        ("aiff", b"SSND", 4 * b"\xff"),
    ],
)
def test_other_files_whose_length_nobody_filled_in_are_streams(tmp_path, kind, chunk, length):
    path = written(tmp_path / "a.wav", kind)
    content = bytearray(path.read_bytes())
    # Behind the chunk's own length, and behind the place where the samples begin.
    at = content.index(chunk) + len(chunk) + (4 if kind in ("rf64", "au") else 0)
    content[at : at + len(length)] = length
    path.write_bytes(content)
    audio, notes = read_foa_int16(path)
    assert (audio.shape, notes["audio of a stream, without its length"]) == ((4, 24_000), 1)
    np.testing.assert_allclose(audio.T / 32768, SOUND, atol=1e-4)


def test_ogg_without_the_end_of_its_last_page_is_truncated(tmp_path):
    path = written(tmp_path / "a.ogg", "ogg")
    (tmp_path / "cut.ogg").write_bytes(path.read_bytes()[:-10])
    with pytest.raises(UserError, match=r"cut\.ogg is truncated"):
        read_foa_wav(tmp_path / "cut.ogg")
