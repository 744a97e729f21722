"""Where does a model look? Stripes of the panorama are painted grey in turn, and what it hears is compared.

`python examples/occlusion.py models:/ambiguous@finalist s3://seldtune/data/ambiguous` needs the services, and a model
that looks at frames. For every labelled event of the test split it measures how far the model's vector of its class
reaches in its direction, and by how much less with the stripe grey, by the angle from the event to the stripe. A model
that looks for what it hears loses most where the stripe covers it; one that does not look loses nothing anywhere.

Source: occlusion sensitivity, Zeiler and Fergus, "Visualizing and understanding convolutional networks" (ECCV 2014).
"""

import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray

import seldtune
from data.geometry import unit_vector, wrap_azimuth_deg
from data.labels import Events
from data.stores.chunks import read_shard
from data.stores.rows import decode_flac, row_events
from trainables.inputs.prepare import PrepareRow

STRIPES = 12
GREY = 128


def reach(model: seldtune.RegisteredModel, output: NDArray[np.float32], events: Events) -> NDArray[np.float64]:
    """How far the vector of each event's class reaches in the event's direction, (events,); the farthest of its tracks.

    Args:
        output: (T, output width), of a recording that begins with the events' label frame 0.
    """
    form = model.config.output
    vectors = output.reshape(len(output), form.tracks, form.axes, -1)[:, :, :3]
    of_event = vectors[events.frame, :, :, events.class_index]
    direction = unit_vector(events.azimuth_deg, events.elevation_deg)
    return (of_event * direction[:, None]).sum(axis=-1).max(axis=-1)


def losses(
    model: seldtune.RegisteredModel, audio: NDArray[np.float32], frames: NDArray[np.uint8], events: Events
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """For each stripe in turn: its azimuth from every event in degrees, and what of the event's reach it takes."""
    whole = reach(model, model.output(audio, frames), events)
    edges = np.linspace(0, frames.shape[2], STRIPES + 1).round().astype(int)
    for first, stop in pairwise(edges.tolist()):
        covered = frames.copy()
        covered[:, :, first:stop] = GREY
        azimuth = 180 - 360 * (first + stop) / 2 / frames.shape[2]
        yield (
            wrap_azimuth_deg(azimuth - events.azimuth_deg),
            whole - reach(model, model.output(audio, covered), events),
        )


def by_angle(angles: NDArray[np.float64], lost: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Middles of as many bins of the angle as there are stripes, and the mean loss in each."""
    width = 360 / STRIPES
    bins = np.round(angles / width).astype(int) % STRIPES
    mean = np.bincount(bins, lost, STRIPES) / np.maximum(np.bincount(bins, minlength=STRIPES), 1)
    middles = wrap_azimuth_deg(np.arange(STRIPES) * width)
    order = np.argsort(middles)
    return middles[order], mean[order]


def main(model_uri: str, data: str, picture: str = "occlusion.png") -> None:
    model, store = seldtune.load_model(model_uri), seldtune.open_store(data)
    if model.config.visual.reads != "frames":
        raise SystemExit(f"{model_uri} looks at no frames: there is nothing to cover")
    prepare = PrepareRow(model.config.inputs, ("frames",))
    test = store.split("test")
    if test.clips == test.clips_without_video:
        raise SystemExit(f"the test split of {data} has no video: there is nothing to cover")
    angles, lost = [], []
    for shard in test.shards:
        for row in read_shard(store, shard):
            audio = decode_flac(row["audio"]).astype(np.float32) / 32768
            events = row_events(row).between(0, row["num_frames"])
            for angle, loss in losses(model, audio, prepare(row)["frames"], events):
                angles.append(angle)
                lost.append(loss)
    middles, mean = by_angle(np.concatenate(angles), np.concatenate(lost))
    for middle, loss in zip(middles, mean, strict=True):
        print(f"{middle:6.0f} deg {loss:+.4f}")
    figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
    axes.bar(middles, mean, width=300 / STRIPES)
    axes.set(xlabel="azimuth of the grey stripe from the event (deg)", ylabel="loss of the event's vector")
    axes.set_xticks(range(-180, 181, 60))
    figure.savefig(picture, dpi=120)
    print(Path(picture).resolve())


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        raise SystemExit("python examples/occlusion.py MODEL DATA [PICTURE]")
    try:
        main(*sys.argv[1:])
    except seldtune.UserError as error:
        raise SystemExit(f"error: {error}") from error
