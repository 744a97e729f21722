#!/usr/bin/env bash
# PyAV 18.1.0 (FFmpeg 8.1) and soundfile 0.14.0
# Guess:    the same four channels are the same sound in WAV, FLAC and RF64: resampled to one layout, they are equal.
# Seen:     plain WAV says nothing about loudspeakers ("4 channels") and passes to any layout untouched; FLAC and RF64
#           are taken for "quad" and are mixed, without a word, when "4.0" is asked for (three in front, one behind):
#           samples change by thousands of 32,768.
# Matters:  an ambisonic corpus converted to FLAC: the loader that named a layout for WAV now turns directions into
#           others.
# Instead:  ask for the file's own layout (`stream.layout`), or take the decoded frames and resample elsewhere.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check av==18.1.0 soundfile==0.14.0 numpy==2.4.6
venv/bin/python - <<'PY'
import av
import numpy as np
import soundfile

foa = (np.random.default_rng(0).standard_normal((4800, 4)) * 3000).astype(np.int16)


def change(kind: str, layout: str) -> tuple[str, int]:
    """What the file's channels are taken for, and by how much samples change on the way to a layout."""
    soundfile.write("foa", foa, 24000, format=kind, subtype="PCM_16")
    with av.open("foa") as file:
        own = file.streams.audio[0].layout.name
        resampler = av.AudioResampler(format="s16", layout=layout, rate=24000)
        frames = [out for frame in file.decode(audio=0) for out in resampler.resample(frame)] + resampler.resample(None)
    back = np.concatenate([frame.to_ndarray().reshape(-1, 4) for frame in frames])
    return own, int(np.abs(back.astype(int) - foa).max())


seen = {(kind, layout): change(kind, layout) for kind in ("WAV", "FLAC", "RF64") for layout in ("4.0", "quad")}
for (kind, layout), (own, most) in seen.items():
    print(f"{kind}, taken for {own!r}, asked for {layout!r}: guessed a change of 0, seen {most}")
for kind, own in (("WAV", "4 channels"), ("FLAC", "quad"), ("RF64", "quad")):
    assert seen[kind, "quad"] == (own, 0), f"changed: {seen}"
    mixed = seen[kind, "4.0"][1] > 3000
    assert mixed == (kind != "WAV"), f"changed: {seen}"
PY
