"""Measuring where something is heard and seen, and how long a room rings."""

import numpy as np

from data.painting import GLYPH_COLOURS, draw_glyph
from data.rows import RATE_HZ


def heard_direction(sound):
    """Direction of W * [X, Y, Z] of a sound (4, N): fails on a swapped channel and on a negated axis."""
    w, y, z, x = sound.astype(np.float64)
    return np.array([(w * x).sum(), (w * y).sum(), (w * z).sum()])


def reverberation_s(response, low_db=-35.0):
    """RT60 of a response (N,): the slope of Schroeder's integral from 5 dB below its start on."""
    energy = np.cumsum(response[::-1].astype(np.float64) ** 2)[::-1]
    level = 10 * np.log10(energy / energy[0] + 1e-30)
    start, stop = np.argmax(level < -5), np.argmax(level < low_db)
    return -60 / np.polyfit(np.arange(start, stop) / RATE_HZ, level[start:stop], 1)[0]


def painted(class_index, azimuth, elevation, width=448, height=224):
    """Which pixels a glyph covers, (height, width)."""
    low, high = np.zeros((height, width, 3), np.uint8), np.full((height, width, 3), 255, np.uint8)
    draw_glyph(low, class_index, azimuth, elevation)
    draw_glyph(high, class_index, azimuth, elevation)
    # Where the glyph covers, the canvas does not matter.
    return 1.0 - np.abs(high.astype(int) - low.astype(int)).mean(axis=-1) / 255


def cover_of(picture, class_index, tolerance=60):
    """Which pixels have the colour of a class's glyph, (height, width)."""
    return (np.abs(picture - GLYPH_COLOURS[class_index]).max(axis=-1) < tolerance).astype(float)


def centroid(cover):
    """Column and row of the covered pixels' middle, with the picture's edges joined."""
    height, width = cover.shape
    angle = 2 * np.pi * (np.arange(width) + 0.5) / width
    weights = cover.sum(axis=0)
    column = np.arctan2((weights * np.sin(angle)).sum(), (weights * np.cos(angle)).sum()) / (2 * np.pi) * width
    return column % width, (cover.sum(axis=1) * (np.arange(height) + 0.5)).sum() / cover.sum()


def apart(first, second, width):
    """Distance of two columns with the edges joined."""
    return abs((first - second + width / 2) % width - width / 2)
