#!/usr/bin/env bash
# soundfile 0.14.0, libsndfile 1.2.2
# Guess:    a FLAC stream whose writer did not know its length (its header then says 0 samples, "unknown" by RFC 9639) is
#           read to its end, as by every player.
# Seen:     soundfile says that it holds 2**63 - 1 frames; `read` asks for an array of that size and raises ValueError, and
#           reading a second in pieces fails as well, for it cannot seek back to where it is.
# Matters:  a writer that cannot go back to its header leaves such files; the error names neither file nor reason.
# Instead:  write it again to a file, or decode it with FFmpeg.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check soundfile==0.14.0 numpy==2.4.6 av==18.1.0
venv/bin/python - <<'PY'
import av
import numpy as np
import soundfile

soundfile.write("a.flac", np.zeros((24_000, 4), np.int16), 24_000, subtype="PCM_16")
content = bytearray(open("a.flac", "rb").read())
content[21] &= 0xF0  # STREAMINFO: 36 bits of the number of samples
content[22:26] = bytes(4)
open("pipe.flac", "wb").write(content)

frames = soundfile.info("pipe.flac").frames
said = []
for read in (lambda: soundfile.read("pipe.flac"), lambda: soundfile.SoundFile("pipe.flac").read(24_000)):
    try:
        said.append(f"{len(read())} samples")
    except Exception as error:
        said.append(f"{type(error).__name__}: {error}")
with av.open("pipe.flac") as file:
    decoded = sum(frame.samples for frame in file.decode(audio=0))
print(f"guessed 24000 frames; seen: info {frames}, read {said[0]!r}, in pieces {said[1]!r}, FFmpeg {decoded}")
assert frames == 2**63 - 1, f"changed: {frames}"
assert said[0].startswith("ValueError"), f"changed: {said[0]}"
assert "Error" in said[1], f"changed: {said[1]}"
assert decoded == 24_000, f"changed: {decoded}"
PY
