"""Pictures of scenes: as the store keeps them, and as those of a video."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from data.files.video import TREE_HEIGHT, TREE_RATE_HZ, TREE_WIDTH, Picture, encode_jpeg
from data.scenes.painting import Glyph, Painter
from data.scenes.parts import Scene
from data.timing import PICTURE_RATE_HZ


def render_jpegs(scene: Scene, rate_hz: float = PICTURE_RATE_HZ) -> list[bytes]:
    """The pictures that the store keeps: JPEG, picture j shows time j / rate. One that repeats is encoded once."""
    painter = Painter(scene)
    known: dict[tuple[Glyph, ...], bytes] = {}
    pictures = []
    for j in range(round(scene.duration_s * rate_hz)):
        glyphs = painter.glyphs(j / rate_hz)
        if glyphs not in known:
            known[glyphs] = encode_jpeg(painter.picture(glyphs))
        pictures.append(known[glyphs])
    return pictures


def scene_pictures(
    scene: Scene, width: int = TREE_WIDTH, height: int = TREE_HEIGHT, rate_hz: Fraction = TREE_RATE_HZ
) -> Iterator[Picture]:
    """Every picture of a scene in order, for `write_mp4`."""
    painter = Painter(scene, width, height)
    shown: tuple[Glyph, ...] | None = None
    for j in range(int(scene.duration_s * rate_hz)):
        glyphs = painter.glyphs(float(j / rate_hz))
        if glyphs != shown:
            picture, shown = painter.picture(glyphs), glyphs
        yield picture
