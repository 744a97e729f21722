"""Equirectangular pictures of scenes.

A picture shows the room from the microphone's place (walls, floor, a window, a door) and, while a visible source
sounds, its class's glyph at its direction: a flat coloured shape that faces the camera, so that the projection
stretches it with latitude, and that wraps at azimuth +-180 degrees.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from data.classes import NUM_CLASSES
from data.geometry import direction_of_pixel, pixel_of, unit_vector
from data.rooms import Room, seen_from_receiver
from data.rows import FRAME_HEIGHT, FRAME_RATE_HZ, FRAME_WIDTH
from data.scenes import Scene, SceneEvent
from data.video_files import TREE_HEIGHT, TREE_RATE_HZ, TREE_WIDTH, Picture, encode_jpeg

GLYPH_RADIUS_DEG = 8.0

Shape = Callable[[NDArray, NDArray], NDArray]


def _polygon(sides: int, turn_deg: float) -> Shape:
    """A regular polygon within the unit circle; where the result is negative is inside."""

    def distance(u: NDArray, v: NDArray) -> NDArray:
        step = 2 * np.pi / sides
        angle = (np.arctan2(v, u) - np.deg2rad(turn_deg) + step / 2) % step - step / 2
        return np.hypot(u, v) * np.cos(angle) - np.cos(step / 2)

    return distance


def _star(u: NDArray, v: NDArray) -> NDArray:
    return np.hypot(u, v) - (0.68 + 0.32 * np.cos(5 * (np.arctan2(v, u) - np.pi / 2)))


def _plus(u: NDArray, v: NDArray) -> NDArray:
    a, b = np.abs(u), np.abs(v)
    return np.minimum(np.maximum(a - 0.34, b - 1), np.maximum(a - 1, b - 0.34))


# One shape and one colour a class. Shapes are centred on their direction.
_SHAPES: tuple[Shape, ...] = (
    lambda u, v: np.hypot(u, v) - 1,
    _polygon(4, 45),
    _star,
    lambda u, v: np.abs(np.hypot(u, v) - 0.68) - 0.32,
    _polygon(3, 90),
    _polygon(6, 0),
    _plus,
    lambda u, v: np.maximum(np.abs(u) - 0.5, np.abs(v) - 1),
    _polygon(4, 0),
    lambda u, v: _plus((u + v) * 0.7071, (u - v) * 0.7071),
    lambda u, v: np.maximum(np.abs(u) - 1, np.abs(v) - 0.45),
    _polygon(3, -90),
    _polygon(5, 90),
)
_COLOURS = np.array(
    [
        (255, 40, 60),
        (20, 20, 220),
        (255, 230, 0),
        (0, 230, 60),
        (255, 90, 220),
        (120, 60, 20),
        (0, 0, 0),
        (255, 130, 0),
        (140, 0, 220),
        (0, 240, 230),
        (30, 160, 255),
        (170, 255, 40),
        (0, 110, 60),
    ],
    dtype=np.float32,
)
assert len(_SHAPES) == len(_COLOURS) == NUM_CLASSES


class Painter:
    """Paints the pictures of one scene at a size; only what changes is painted anew."""

    def __init__(self, scene: Scene, width: int = FRAME_WIDTH, height: int = FRAME_HEIGHT) -> None:
        self._scene = scene
        self._width, self._height = width, height
        self.background = paint_room(scene.room, width, height)
        self._visible = [event for event in scene.events if event.visible]

    def glyphs(self, time_s: float) -> tuple[tuple[int, float, float], ...]:
        """What is to be seen at a time: class, azimuth and elevation of each, in quarters of a pixel."""
        step = 90.0 / self._width
        frame = int(time_s * 10 + 1e-6)
        seen = []
        for event in self._visible:
            if event.start_frame <= frame < event.stop_frame:
                azimuth, elevation = _direction(self._scene.room, event, time_s)
                seen.append((event.class_index, round(azimuth / step) * step, round(elevation / step) * step))
        return tuple(seen)

    def picture(self, glyphs: tuple[tuple[int, float, float], ...]) -> Picture:
        """The room with these glyphs, (height, width, 3)."""
        picture = self.background.copy()
        for class_index, azimuth, elevation in glyphs:
            draw_glyph(picture, class_index, azimuth, elevation)
        return picture


def _direction(room: Room, event: SceneEvent, time_s: float) -> tuple[float, float]:
    azimuth, elevation, _ = seen_from_receiver(room, event.position_at(np.array([time_s])))
    return float(azimuth[0]), float(elevation[0])


def draw_glyph(picture: Picture, class_index: int, azimuth_deg: float, elevation_deg: float) -> None:
    """Paint a class's glyph into an equirectangular picture, centred on a direction."""
    height, width = picture.shape[:2]
    reach = GLYPH_RADIUS_DEG + 1.0
    centre_column, centre_row = pixel_of(azimuth_deg, elevation_deg, width, height)
    low, high = (int(np.clip(centre_row + s * height * reach / 180, 0, height)) for s in (-1, 1))
    latitude = min(89.0, abs(elevation_deg) + reach)
    half = min(width // 2, int(np.ceil(width * reach / 360 / np.cos(np.deg2rad(latitude)))))
    columns = np.arange(int(centre_column) - half, int(centre_column) - half + min(width, 2 * half + 1))
    rows = np.arange(low, min(height, high + 1))

    azimuth, elevation = direction_of_pixel(columns + 0.5, rows[:, None] + 0.5, width, height)
    view = unit_vector(azimuth, elevation)
    ahead, left, up = _facing(azimuth_deg, elevation_deg)
    depth = np.maximum(view @ ahead, 1e-3)
    size = np.tan(np.deg2rad(GLYPH_RADIUS_DEG))
    distance = _SHAPES[class_index](-(view @ left) / depth / size, (view @ up) / depth / size)
    # A black rim with a white one around it sets every colour off from any wall; edges are soft over one pixel.
    pixel = 180.0 / height / GLYPH_RADIUS_DEG
    cover = np.clip(0.5 - distance / pixel, 0, 1)[..., None]
    inner = np.clip(0.5 - (distance + 0.13) / pixel, 0, 1)[..., None]
    cells = np.ix_(rows, columns % width)
    painted = _COLOURS[class_index] * inner + _rim(class_index) * (1 - inner)
    picture[cells] = np.rint(picture[cells] * (1 - cover) + painted * cover).astype(np.uint8)


def _rim(class_index: int) -> float:
    """White around dark colours, black around light ones."""
    return 255.0 if _COLOURS[class_index].sum() < 330 else 0.0


def _facing(azimuth_deg: float, elevation_deg: float) -> tuple[NDArray, NDArray, NDArray]:
    """Unit vectors ahead, to the left and up of someone who looks in a direction."""
    ahead = unit_vector(azimuth_deg, elevation_deg)
    left = unit_vector(azimuth_deg + 90.0, 0.0)
    return ahead, left, np.cross(ahead, left)


def paint_room(room: Room, width: int, height: int) -> Picture:
    """The empty room: each pixel's ray is followed to the wall it meets, (height, width, 3)."""
    rng = np.random.default_rng([round(1000 * side) for side in room.size_m])
    azimuth, elevation = direction_of_pixel(np.arange(width) + 0.5, np.arange(height)[:, None] + 0.5, width, height)
    ray = unit_vector(azimuth, elevation)
    distance = room.wall_distance_m(ray)
    hit = np.asarray(room.receiver_m) + distance[..., None] * ray
    size = np.asarray(room.size_m)
    along = np.stack([hit, size - hit], axis=-1)
    # Surfaces in the order x = 0, x = L, y = 0, y = W, z = 0 (floor), z = H (ceiling).
    surface = np.argmin(np.abs(along).reshape(height, width, 6), axis=-1)
    wall = rng.uniform(150, 215, 3)
    tints = np.stack([wall * f for f in (1.0, 0.88, 0.94, 0.82)] + [rng.uniform(95, 140, 3), np.full(3, 232.0)])
    colour = tints[surface]
    x, y, z = np.moveaxis(hit, -1, 0)
    boards = (surface == 4) & ((np.floor(x / 0.8) + np.floor(y / 0.8)) % 2 == 0)
    colour[boards] *= 0.85
    colour[(surface < 4) & (z < 0.12)] = 70.0
    window = (surface == rng.integers(4)) & (z > 1.0) & (z < 2.0)
    across = np.where(surface < 2, y / size[1], x / size[0])
    colour[window & (across > 0.25) & (across < 0.75)] = (205, 225, 240)
    doorway = (surface == rng.integers(4)) & (z < 2.05) & (across > 0.1) & (across < 0.28)
    colour[doorway] = (125, 95, 70)
    shade = 1.0 - 0.03 * np.clip(distance, 0, 6)
    return np.clip(colour * shade[..., None], 0, 255).astype(np.uint8)


def render_jpegs(scene: Scene, rate_hz: float = FRAME_RATE_HZ) -> list[bytes]:
    """The pictures that the store keeps: JPEG, frame j shows time j / rate. A picture that repeats is encoded once."""
    painter = Painter(scene)
    known: dict[tuple, bytes] = {}
    frames = []
    for j in range(round(scene.duration_s * rate_hz)):
        glyphs = painter.glyphs(j / rate_hz)
        if glyphs not in known:
            known[glyphs] = encode_jpeg(painter.picture(glyphs))
        frames.append(known[glyphs])
    return frames


def scene_pictures(
    scene: Scene, width: int = TREE_WIDTH, height: int = TREE_HEIGHT, rate_hz: Fraction = TREE_RATE_HZ
) -> Iterator[Picture]:
    """Every picture of a scene in order, for `write_mp4`."""
    painter = Painter(scene, width, height)
    shown: tuple[tuple[int, float, float], ...] | None = None
    for j in range(int(scene.duration_s * rate_hz)):
        glyphs = painter.glyphs(float(j / rate_hz))
        if glyphs != shown:
            picture, shown = painter.picture(glyphs), glyphs
        yield picture
