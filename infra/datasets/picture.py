"""A recording of a chunk store as a picture: its sound, where the sound comes from, the labels, and what was filmed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from data.classes import ClassList
from data.errors import UserError
from data.geometry import angles_deg, pixel_of
from data.labels import Events
from data.stores.chunks import Store
from data.stores.rows import decode_flac
from data.timing import LABEL_HOP_S, LABEL_RATE_HZ, RATE_HZ, SAMPLES_PER_LABEL
from infra.console.palette import COLOURS
from infra.datasets.rows import RowFacts, read_whole
from trainables.inputs.features import FeatureExtractor
from trainables.scores.detections import rank_within

CHANNELS = ("W", "Y", "Z", "X")
MOST_PICTURES, FEWEST_PICTURES = 6, 4
# A dot for every 50 ms and sixteenth of the mel bands: sources that sound at once differ in frequency.
DOT_FEATURE_FRAMES, DOT_BANDS = 8, 8
DOT_RANGE_DB = 35.0
LUMA = (0.299, 0.587, 0.114)
"""How bright red, green and blue are to the eye."""
_STYLES: tuple[Any, ...] = ("-", (0, (2.2, 0.9)), (0, (0.8, 0.8)), (0, (3, 0.9, 0.8, 0.9)))


@dataclass(frozen=True, eq=False)
class Stretch:
    """A part of a recording, whole label frames long."""

    recording: str
    split: str
    start_label: int
    audio: NDArray[np.int16]
    """(4, N), W Y Z X."""
    events: Events
    """Label frames counted from the stretch's start."""
    pictures: list[bytes | None]
    """For each label frame the JPEG picture at its start."""
    classes: ClassList

    @property
    def start_s(self) -> float:
        return self.start_label * LABEL_HOP_S

    @property
    def seconds(self) -> float:
        return len(self.pictures) * LABEL_HOP_S


def draw_recording(
    store: Store, rows: Sequence[RowFacts], at_s: float | None, seconds: float, out: Path
) -> dict[str, Any]:
    """Draw `seconds` of the recording that these rows hold, from `at_s` on or from where it is busy first.

    Returns what was drawn, ready for JSON.

    Raises:
        UserError: the stretch is empty or begins after the recording's end, or `out` is no PNG.
    """
    if out.suffix.lower() != ".png":
        raise UserError(f"the picture is a PNG, but {out} does not end in .png; choose such a name")
    if not seconds >= LABEL_HOP_S:
        raise UserError(f"a picture of {seconds:g} s shows nothing; choose at least {LABEL_HOP_S:g} s")
    total = rows[-1].start_label + rows[-1].num_labels
    if at_s is not None and not 0 <= at_s < total / LABEL_RATE_HZ:
        raise UserError(f"{rows[0].recording} lasts {total / LABEL_RATE_HZ:.1f} s; {at_s:g} s is outside of it")
    count = round(min(seconds * LABEL_RATE_HZ, total))
    start = busy_start(rows, total, count) if at_s is None else min(int(at_s * LABEL_RATE_HZ + 1e-6), total - 1)
    stretch = read_stretch(store, rows, start, min(start + count, total))
    out.parent.mkdir(parents=True, exist_ok=True)
    plot_stretch(stretch, out)
    return {
        "path": str(out),
        "recording": stretch.recording,
        "split": stretch.split,
        "start_s": round(stretch.start_s, 1),
        "seconds": round(stretch.seconds, 1),
    }


def busy_start(rows: Sequence[RowFacts], total: int, count: int) -> int:
    """The first whole second from which `count` label frames hold nine tenths of the most events that so many hold."""
    active = np.zeros(total + 1, np.int64)
    for row in rows:
        np.add.at(active, row.start_label + row.events.frame + 1, 1)
    before = active.cumsum()
    starts = np.arange(0, max(total - count, 0) + 1, LABEL_RATE_HZ)
    held = before[np.minimum(starts + count, total)] - before[starts]
    return int(starts[np.argmax(held >= 0.9 * held.max())])


def read_stretch(store: Store, rows: Sequence[RowFacts], start: int, stop: int) -> Stretch:
    """Label frames [start, stop) of a recording, put together from its rows; each row gives its own stretch only."""
    inside = [row for row in rows if row.start_label < stop and row.start_label + row.num_labels > start]
    sound, pictures, tables = [], [], []
    for row, content in read_whole(store, inside, ["audio", "frames", "frame_rate_hz"]):
        low, high = max(start - row.start_label, 0), min(stop - row.start_label, row.num_labels)
        sound.append(decode_flac(content["audio"])[:, low * SAMPLES_PER_LABEL : high * SAMPLES_PER_LABEL])
        seen, per_label = content["frames"], content["frame_rate_hz"] / LABEL_RATE_HZ
        pictures += [seen[min(int(f * per_label + 0.5), len(seen) - 1)] if seen else None for f in range(low, high)]
        own = row.events.between(low, high)
        tables.append((own.frame + row.start_label + low - start, *own.columns()[1:]))
    events = Events.build(*(np.concatenate(column) for column in zip(*tables, strict=True)))
    audio, classes = np.concatenate(sound, axis=1), store.manifest.classes
    return Stretch(rows[0].recording, rows[0].split, start, audio, events, pictures, classes)


def plot_stretch(stretch: Stretch, path: Path) -> None:
    """Waveforms, log-mel, azimuth and elevation of sound and labels over time, and pictures at the busiest instants."""
    from matplotlib.figure import Figure

    instants = busiest(stretch)
    rows = math.ceil(len(instants) / 3)
    heights = [1.3, 1.3, 2.7, 1.7]
    strip_in = 2.3 * rows if instants else 0.6
    figure: Any = Figure(figsize=(12.8, sum(heights) + 1.5 + strip_in), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(sum(heights) + 1.2, strip_in))
    panels = above.subplots(4, 1, sharex=True, height_ratios=heights)
    features = FeatureExtractor()(torch.from_numpy(stretch.audio / np.float32(32768.0))).numpy()
    _draw_waveforms(panels[0], stretch)
    _draw_log_mel(panels[1], features[0], stretch)
    _draw_directions(panels[2:], features, stretch)
    for letter, label in zip("ABCDEF", instants, strict=False):
        time_s = stretch.start_s + label * LABEL_HOP_S
        for panel in panels:
            panel.axvline(time_s, color="black", linewidth=0.8, linestyle=":")
        panels[0].text(time_s, 1.02, letter, transform=panels[0].get_xaxis_transform(), ha="center", va="bottom")
    panels[-1].set(xlim=(stretch.start_s, stretch.start_s + stretch.seconds), xlabel="time (s)")
    for panel in (panels[0], *panels[2:]):
        panel.spines[["top", "right"]].set_visible(False)
    if instants:
        _draw_pictures(below, instants, stretch)
    else:
        below.text(0.5, 0.5, "no video", ha="center", va="center", fontsize=12, color="#555555")
    stop_s = stretch.start_s + stretch.seconds
    figure.suptitle(f"{stretch.recording} ({stretch.split}), {stretch.start_s:.1f} to {stop_s:.1f} s")
    figure.savefig(path, dpi=100)


def class_style(class_index: int) -> tuple[str, Any]:
    """Colour and line style of a class, the same in every picture: seven colours, solid, then dashed and dotted; of
    more than 28 classes some share both."""
    return COLOURS[class_index % len(COLOURS)], _STYLES[class_index // len(COLOURS) % len(_STYLES)]


def busiest(stretch: Stretch) -> list[int]:
    """Label frames with most events, some way apart, in order of time; none without video."""
    seen = [label for label, picture in enumerate(stretch.pictures) if picture is not None]
    if not seen:
        return []
    events_at = np.bincount(stretch.events.frame, minlength=len(stretch.pictures))
    apart = max(1, len(seen) // (MOST_PICTURES + 1))
    chosen: list[int] = []
    for label in sorted(seen, key=lambda f: (-events_at[f], f)):
        if len(chosen) == (MOST_PICTURES if events_at[label] else FEWEST_PICTURES):
            break
        if all(abs(label - other) >= apart for other in chosen):
            chosen.append(label)
    return sorted(chosen)


def directions(features: NDArray[np.float32]) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """Where the sound comes from, from features (7, T, M) of `FeatureExtractor`.

    Returns time in feature frames, azimuth and elevation in degrees and energy, each (n,): one for each piece of
    `DOT_FEATURE_FRAMES` x an equal share of the bands. The direction is that of the intensity, weighted by the power
    of W; energy is the length of that sum, so that sound without direction counts for little.
    """
    power = 10.0 ** (features[0].astype(np.float64) / 10.0)
    times, bands = features.shape[1] // DOT_FEATURE_FRAMES, DOT_BANDS
    weighted = (power * features[4:])[:, : times * DOT_FEATURE_FRAMES]
    y, z, x = weighted.reshape(3, times, DOT_FEATURE_FRAMES, bands, -1).sum(axis=(2, 4)).reshape(3, -1)
    vector = np.stack([x, y, z], axis=-1)
    azimuth, elevation = angles_deg(vector)
    time = (np.arange(times).repeat(bands) + 0.5) * DOT_FEATURE_FRAMES
    return time, azimuth, elevation, np.linalg.norm(vector, axis=-1)


def tracks(events: Events) -> list[Events]:
    """Unbroken lines: events of one class and source, a label frame apart, that do not jump by a right angle or more.

    Going round at azimuth +-180 is such a jump. Where a class and source has several events at a time, the first of
    each make one line, the second another.
    """
    key = events.class_index * (events.source.max(initial=0) + 1) + events.source
    rank = rank_within(key * (events.frame.max(initial=0) + 1) + events.frame)
    order = np.lexsort((events.frame, rank, key))
    if not len(order):
        return []
    ordered, key, rank = events.select(order), key[order], rank[order]
    jump = np.maximum(np.abs(np.diff(ordered.azimuth_deg)), np.abs(np.diff(ordered.elevation_deg)))
    broken = (np.diff(key) != 0) | (np.diff(rank) != 0) | (np.diff(ordered.frame) != 1) | (jump >= 90)
    return [ordered.select(part) for part in np.split(np.arange(len(order)), np.nonzero(broken)[0] + 1)]


def _draw_waveforms(axes: Any, stretch: Stretch) -> None:
    """Four envelopes one above the other, at one scale."""
    hop = max(1, stretch.audio.shape[1] // 2400)
    pieces = stretch.audio[:, : stretch.audio.shape[1] // hop * hop].reshape(4, -1, hop).astype(np.float64)
    peak = max(1.0, float(np.abs(pieces).max()))
    time_s = stretch.start_s + (np.arange(pieces.shape[1]) + 0.5) * hop / RATE_HZ
    for place, channel in zip((3, 2, 1, 0), pieces, strict=True):
        low, high = channel.min(axis=1) / peak / 2, channel.max(axis=1) / peak / 2
        axes.fill_between(time_s, place + low, place + high, color="#0072B2", linewidth=0.4)
    axes.set(ylim=(-0.6, 3.6), yticks=(3, 2, 1, 0))
    axes.set_yticklabels(CHANNELS)
    level = 20 * math.log10(peak / 32768)
    axes.set_ylabel(f"peak {level:.0f} dBFS")


def _draw_log_mel(axes: Any, log_mel: NDArray[np.float32], stretch: Stretch) -> None:
    top = float(log_mel.max())
    image = axes.imshow(
        log_mel.T,
        origin="lower",
        aspect="auto",
        cmap="magma",
        vmin=max(top - 70.0, float(log_mel.min())),
        vmax=top,
        extent=(stretch.start_s, stretch.start_s + stretch.seconds, 0, log_mel.shape[1]),
    )
    hertz = np.array([500, 1000, 2000, 4000, 8000])
    axes.set_yticks(_mel(hertz) / _mel(np.array(RATE_HZ / 2)) * log_mel.shape[1])
    axes.set_yticklabels(["0.5", "1", "2", "4", "8"])
    low, high = image.get_clim()
    axes.set_ylabel("W, log-mel (kHz)")
    note = f"{low:.0f} dB (dark) to {high:.0f} dB"
    axes.text(0.995, 0.94, note, transform=axes.transAxes, ha="right", va="top", color="white", fontsize=8)


def _mel(hertz: NDArray) -> NDArray:
    """Slaney's scale: linear up to 1 kHz, then logarithmic."""
    return np.where(hertz < 1000, 3 * hertz / 200, 15 + 27 * np.log(np.maximum(hertz, 1000) / 1000) / np.log(6.4))


def _draw_directions(axes: Sequence[Any], features: NDArray[np.float32], stretch: Stretch) -> None:
    time, *angles, energy = directions(features)
    time_s = stretch.start_s + time * stretch.seconds / features.shape[1]
    level = 10 * np.log10(energy / max(energy.max(initial=0), 1e-30) + 1e-30)
    alpha = np.clip(1 + level / DOT_RANGE_DB, 0, 1) ** 1.5
    colours = np.zeros((len(time), 4))
    colours[:, :3], colours[:, 3] = 0.2, 0.7 * alpha
    shown = alpha > 0.02
    for panel, angle in zip(axes, angles, strict=True):
        panel.scatter(time_s[shown], angle[shown], c=colours[shown], s=9, linewidths=0)
    for track in tracks(stretch.events):
        colour, style = class_style(int(track.class_index[0]))
        start, stop = track.frame[0], track.frame[-1] + 1
        line_s = stretch.start_s + np.concatenate([[start], track.frame + 0.5, [stop]]) * LABEL_HOP_S
        for panel, angle in zip(axes, (track.azimuth_deg, track.elevation_deg), strict=True):
            line = np.concatenate([angle[:1], angle, angle[-1:]])
            panel.plot(line_s, line, color="white", linewidth=3.4)
            panel.plot(line_s, line, color=colour, linestyle=style, linewidth=2.2)
    for class_index in np.unique(stretch.events.class_index).tolist():
        colour, style = class_style(class_index)
        name = stretch.classes.short_names[class_index]
        axes[0].plot([], [], color=colour, linestyle=style, linewidth=2.2, label=name)
    axes[0].plot([], [], "o", color="#595959", markersize=3, label="intensity of the sound")
    axes[0].legend(loc="lower left", bbox_to_anchor=(0, 0.99), ncols=7, frameon=False, fontsize=9, borderaxespad=0.2)
    # 180 degrees is behind; azimuth grows to the left, so left is up.
    axes[0].set(ylabel="azimuth (deg, left is +90)", ylim=(-183, 183), yticks=range(-180, 181, 90))
    axes[1].set(ylabel="elevation (deg)", ylim=(-92, 92), yticks=range(-90, 91, 45))
    for panel in axes:
        panel.grid(alpha=0.25)


def _draw_pictures(figure: Any, instants: Sequence[int], stretch: Stretch) -> None:
    """Pictures three in a row, with a marker and the class's name where each label says that it is."""
    from data.files.video import decode_jpeg  # what draws scenes: nothing else here needs it

    grid = list(figure.subplots(math.ceil(len(instants) / 3), min(3, len(instants)), squeeze=False).flat)
    for letter, label, axes in zip("ABCDEF", instants, grid, strict=False):
        content = stretch.pictures[label]
        assert content is not None
        picture = decode_jpeg(content)
        height, width = picture.shape[:2]
        axes.imshow(picture, extent=(0, width, height, 0), interpolation="antialiased")
        axes.set_title(f"{letter}: {stretch.start_s + label * LABEL_HOP_S:.1f} s", fontsize=9, loc="left", pad=2)
        axes.set(xlim=(0, width), ylim=(height, 0), yticks=(), xticks=[width * k / 4 for k in range(5)])
        axes.set_xticklabels(["180°", "90°", "0°", "-90°", "-180°"], fontsize=7)
        axes.tick_params(length=2, pad=1)
        _draw_labels(axes, stretch, label, width, height)
    for axes in grid[len(instants) :]:
        axes.set_axis_off()


def _draw_labels(axes: Any, stretch: Stretch, label: int, width: int, height: int) -> None:
    from matplotlib.colors import to_rgb

    events = stretch.events.select(stretch.events.frame == label)
    columns, rows = (axis.tolist() for axis in pixel_of(events.azimuth_deg, events.elevation_deg, width, height))
    ring, line, letter = 0.034 * width, 0.085 * height, 0.021 * width
    # What names stand clear of: left, right and middle of each marker, then of each name.
    taken = [(column - ring, column + ring, row) for column, row in zip(columns, rows, strict=True)]
    for column, row, class_index in zip(columns, rows, events.class_index.tolist(), strict=True):
        colour, _ = class_style(class_index)
        marker = {"marker": "o", "fillstyle": "none", "markersize": 13}
        axes.plot(column, row, markeredgecolor="white", markeredgewidth=4, **marker)
        axes.plot(column, row, markeredgecolor=colour, markeredgewidth=2, **marker)
        name = stretch.classes.short_names[class_index]
        long = (len(name) + 1) * letter
        leftwards = column + ring + long > width
        left, right = (column - ring - long, column - ring) if leftwards else (column + ring, column + ring + long)
        # Beside its marker, at the nearest height that is free.
        heights = (row + sign * step * line for step in range(2 * len(taken)) for sign in (-1, 1))
        free = (
            y
            for y in heights
            if line / 2 < y < height - line / 2
            and not any(left < other[1] and other[0] < right and abs(y - other[2]) < line for other in taken)
        )
        y = next(free, row)
        taken.append((left, right, y))
        box = {"boxstyle": "round,pad=0.15", "facecolor": colour, "edgecolor": "white", "linewidth": 0.6}
        ink = "black" if np.dot(to_rgb(colour), LUMA) > 0.5 else "white"
        x, align = (right, "right") if leftwards else (left, "left")
        axes.text(x, y, name, ha=align, va="center", fontsize=8, color=ink, weight="bold", bbox=box)
