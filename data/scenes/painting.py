"""Equirectangular pictures of scenes.

A picture shows the room from the microphone's place (walls, floor, a window, a door), the pillars and people in it,
and, while a visible source sounds or a silent distractor is there, its class's glyph at its direction: a flat coloured
shape that faces the camera, so that the projection stretches it with latitude, and that wraps at azimuth +-180 degrees.
What is nearer hides what is behind it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.classes import STARSS23
from data.files.video import Picture
from data.geometry import direction_of_pixel, pixel_of, unit_vector, wrap_azimuth_deg
from data.scenes.parts import Distractor, Occluder, Scene, SceneEvent
from data.scenes.rooms import Room, seen_from_receiver
from data.stores.rows import PICTURE_HEIGHT, PICTURE_WIDTH

GLYPH_RADIUS_DEG = 8.0
_HEAD_M = 0.26


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
GLYPH_COLOURS = np.array(
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
assert len(_SHAPES) == len(GLYPH_COLOURS) == len(STARSS23)


class Glyph(NamedTuple):
    """A class's shape at a direction in degrees, behind all but the farthest `layer` of the scene's occluders."""

    class_index: int
    azimuth_deg: float
    elevation_deg: float
    layer: int


class Painter:
    """Paints the pictures of one scene at a size; only what changes is painted anew."""

    def __init__(self, scene: Scene, width: int = PICTURE_WIDTH, height: int = PICTURE_HEIGHT) -> None:
        self._scene = scene
        self._width, self._height = width, height
        self._room = paint_room(scene.room, width, height)
        self._panels = [_panel(scene.room, occluder, width, height) for occluder in scene.occluders]
        self._shown: list[SceneEvent | Distractor] = [event for event in scene.events if event.visible]
        self._shown.extend(scene.distractors)
        self.background = self.picture(())

    def glyphs(self, time_s: float) -> tuple[Glyph, ...]:
        """What is to be seen at a time, the farthest first, at directions in quarters of a pixel."""
        step = 90.0 / self._width
        label = int(time_s * 10 + 1e-6)
        seen = []
        for thing in self._shown:
            if thing.start_label <= label < thing.stop_label:
                place = thing.position_at(np.array([time_s]))[0]
                *direction, distance = seen_from_receiver(self._scene.room, place)
                layer = sum(not occluder.is_before(self._scene.room, place) for occluder in self._scene.occluders)
                azimuth, elevation = (round(float(angle) / step) * step for angle in direction)
                seen.append((float(distance), Glyph(thing.class_index, azimuth, elevation, layer)))
        return tuple(glyph for _, glyph in sorted(seen, reverse=True))

    def picture(self, glyphs: tuple[Glyph, ...]) -> Picture:
        """The room with its occluders and these glyphs, (height, width, 3)."""
        picture = self._room.copy()
        for layer in range(len(self._panels) + 1):
            for glyph in glyphs:
                if glyph.layer == layer:
                    draw_glyph(picture, glyph.class_index, glyph.azimuth_deg, glyph.elevation_deg)
            if layer < len(self._panels):
                rows, columns, colours = self._panels[layer]
                picture[rows, columns] = colours
        return picture


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
    painted = GLYPH_COLOURS[class_index] * inner + _rim(class_index) * (1 - inner)
    picture[cells] = np.rint(picture[cells] * (1 - cover) + painted * cover).astype(np.uint8)


def _rim(class_index: int) -> float:
    """White around dark colours, black around light ones."""
    return 255.0 if GLYPH_COLOURS[class_index].sum() < 330 else 0.0


def _facing(azimuth_deg: float, elevation_deg: float) -> tuple[NDArray, NDArray, NDArray]:
    """Unit vectors ahead, to the left and up of someone who looks in a direction."""
    ahead = unit_vector(azimuth_deg, elevation_deg)
    left = unit_vector(azimuth_deg + 90.0, 0.0)
    return ahead, left, np.cross(ahead, left)


def _panel(room: Room, occluder: Occluder, width: int, height: int) -> tuple[NDArray, NDArray, Picture]:
    """Rows (n,), columns (n,) and colours (n, 3) of the pixels whose middle an occluder covers."""
    azimuth, elevation = direction_of_pixel(np.arange(width) + 0.5, np.arange(height)[:, None] + 0.5, width, height)
    low, high = occluder.elevations_deg(room)
    # From -1 at its right edge to 1 at its left, and in metres above the floor.
    across = np.broadcast_to(
        wrap_azimuth_deg(azimuth - occluder.azimuth_deg) / occluder.half_width_deg, (height, width)
    )
    above_m = room.receiver_m[2] + occluder.distance_m * np.tan(np.deg2rad(elevation))
    covered = (np.abs(across) <= 1) & (elevation >= low) & (elevation <= high)
    if occluder.is_person:
        covered &= _silhouette(across * occluder.width_m / 2, above_m, occluder)
    rows, columns = np.nonzero(covered)
    rng = np.random.default_rng(round(1e6 * occluder.distance_m))
    colour = rng.uniform(60, 150, 3) if occluder.is_person else np.full(3, rng.uniform(120, 200))
    shade = 1.0 - 0.4 * across[rows, columns] ** 2
    colours = colour * shade[:, None]
    if occluder.is_person:
        head = above_m[rows, 0] > occluder.height_m - _HEAD_M
        colours[head] = np.array([190, 150, 125]) * shade[head, None]
    return rows, columns, colours.astype(np.uint8)


def _silhouette(aside_m: NDArray, above_m: NDArray, occluder: Occluder) -> NDArray[np.bool_]:
    """A head above round shoulders above a straight body."""
    chin = occluder.height_m - _HEAD_M
    head = np.hypot(aside_m / 0.09, (above_m - chin - _HEAD_M / 2) / (_HEAD_M / 2)) <= 1
    shoulder = np.hypot(aside_m / (occluder.width_m / 2), np.maximum(above_m - chin + 0.15, 0) / 0.17) <= 1
    return head | shoulder


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
