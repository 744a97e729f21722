#!/usr/bin/env bash
# PyAV 18.1.0 (FFmpeg 8.1)
# Guess:    `frame.time` is when a frame is heard or seen: it starts at 0 in a file that was written from 0, and grows.
# Seen:     in MP3 the encoder's delay is cut from the samples and left in the times: the first frame holds sample 0 and
#           says 23 ms. In AVI with reordered pictures the pictures come in the right order and their times do not.
# Matters:  labels are placed by time: sound 23 ms late against its WAV original, pictures of an AVI swapped with
#           neighbours.
# Instead:  of MP3, subtract the container's `start_time`; of AVI, count pictures and use the rate.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check av==18.1.0 numpy==2.4.6
venv/bin/python - <<'PY'
from fractions import Fraction

import av
import numpy as np

RATE_HZ = 48000
click = np.zeros((1, RATE_HZ), np.float32)
click[0, 24000] = 0.9
with av.open("click.mp3", "w") as out:
    stream = out.add_stream("libmp3lame", rate=RATE_HZ, layout="mono")
    frame = av.AudioFrame.from_ndarray(click, format="fltp", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = RATE_HZ, 0, Fraction(1, RATE_HZ)
    for packet in [*stream.encode(frame), *stream.encode(None)]:
        out.mux(packet)
with av.open("click.mp3") as file:
    frames = list(file.decode(audio=0))
heard = int(np.abs(np.concatenate([frame.to_ndarray() for frame in frames], axis=1)[0]).argmax())
first_s = frames[0].time
print(f"MP3, click at sample 24000: guessed sample 24000 and times from 0, seen sample {heard}, times from {first_s:.4f} s")
assert heard == 24000 and round(first_s * RATE_HZ) == 1105, "changed"

out_of_order = {}
for name in ("pictures.mp4", "pictures.avi"):
    with av.open(name, "w") as out:
        stream = out.add_stream("libx264", rate=10, options={"bf": "2"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for i in range(24):
            for packet in stream.encode(av.VideoFrame.from_ndarray(np.full((64, 64, 3), 10 * i, np.uint8), format="rgb24")):
                out.mux(packet)
        for packet in stream.encode(None):
            out.mux(packet)
    with av.open(name) as file:
        shown = [(frame.time, int(frame.to_ndarray(format="rgb24").mean())) for frame in file.decode(video=0)]
    times, brightness = [t for t, _ in shown], [b for _, b in shown]
    assert brightness == sorted(brightness), "the pictures themselves are out of order"
    out_of_order[name] = sum(b < a for a, b in zip(times, times[1:]))
    print(f"{name}: times that go back: guessed 0, seen {out_of_order[name]}")
assert out_of_order["pictures.mp4"] == 0 and out_of_order["pictures.avi"] > 0, "changed"
PY
