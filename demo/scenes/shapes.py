"""What each kind of object looks like from above.

Every drawing function paints one object on a :class:`Canvas`, lying along the x axis; the
generator rotates the canvas, shrinks it and places it in the scene. Coordinates are units of half
the object's length: the object lies within [-1, 1] on both axes, x to the right and y downwards.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

OVERSAMPLING = 3
"""Objects are drawn this many times larger than they appear, which gives them smooth edges."""

Colour = tuple[int, int, int]
Point = tuple[float, float]


class Canvas:
    """A transparent, oversampled square on which one object is drawn in unit coordinates."""

    def __init__(self, length_px: float) -> None:
        """Make a canvas for an object whose long side is ``length_px`` pixels in the scene."""
        self.unit_px = length_px * OVERSAMPLING / 2
        side_px = int(length_px * OVERSAMPLING) + 2 * OVERSAMPLING
        self.centre_px = side_px / 2
        self.image = Image.new("RGBA", (side_px, side_px), (0, 0, 0, 0))
        self._draw = ImageDraw.Draw(self.image)

    def _point(self, point: Point) -> Point:
        x, y = point
        return self.centre_px + x * self.unit_px, self.centre_px + y * self.unit_px

    def _box(self, x0: float, y0: float, x1: float, y1: float) -> list[Point]:
        return [self._point((x0, y0)), self._point((x1, y1))]

    @staticmethod
    def _line_px(width: float) -> int:
        return max(1, round(width * OVERSAMPLING))

    def polygon(self, points: Sequence[Point], fill: Colour) -> None:
        """Fill the polygon with these corners."""
        self._draw.polygon([self._point(p) for p in points], fill=fill)

    def rectangle(
        self,
        x0: float,
        y0: float,
        x1: float,
        y1: float,
        fill: Colour | None = None,
        outline: Colour | None = None,
        width: float = 1,
        radius: float = 0,
    ) -> None:
        """Draw a rectangle: ``width`` in scene pixels, ``radius`` of its corners in units."""
        self._draw.rounded_rectangle(
            self._box(x0, y0, x1, y1),
            radius=radius * self.unit_px,
            fill=fill,
            outline=outline,
            width=self._line_px(width) if outline else 0,
        )

    def ellipse(
        self,
        x0: float,
        y0: float,
        x1: float,
        y1: float,
        fill: Colour | None = None,
        outline: Colour | None = None,
        width: float = 1,
    ) -> None:
        """Draw an ellipse inside the box; ``width`` is in scene pixels."""
        self._draw.ellipse(
            self._box(x0, y0, x1, y1),
            fill=fill,
            outline=outline,
            width=self._line_px(width) if outline else 0,
        )

    def disc(
        self,
        radius: float,
        fill: Colour | None = None,
        outline: Colour | None = None,
        width: float = 1,
        centre: Point = (0, 0),
    ) -> None:
        """Draw a circle of ``radius`` units around ``centre``."""
        x, y = centre
        self.ellipse(x - radius, y - radius, x + radius, y + radius, fill, outline, width)

    def sector(self, apex: Point, radius: float, half_angle_deg: float, fill: Colour) -> None:
        """Fill the sector of a circle around ``apex`` that opens towards +x."""
        x, y = apex
        box = self._box(x - radius, y - radius, x + radius, y + radius)
        self._draw.pieslice(box, -half_angle_deg, half_angle_deg, fill=fill)

    def arc(
        self,
        centre: Point,
        radii: Point,
        start_deg: float,
        end_deg: float,
        fill: Colour,
        width: float = 1,
    ) -> None:
        """Draw part of an ellipse's outline, clockwise from ``start_deg`` to ``end_deg``."""
        (x, y), (rx, ry) = centre, radii
        box = self._box(x - rx, y - ry, x + rx, y + ry)
        self._draw.arc(box, start_deg, end_deg, fill=fill, width=self._line_px(width))

    def line(self, points: Sequence[Point], fill: Colour, width: float = 1) -> None:
        """Draw a line through ``points``; ``width`` is in scene pixels."""
        self._draw.line([self._point(p) for p in points], fill=fill, width=self._line_px(width))


def any_colour(rng: np.random.Generator, low: int, high: int) -> Colour:
    """Draw a colour with each channel in [low, high)."""
    red, green, blue = (int(v) for v in rng.integers(low, high, 3))
    return red, green, blue


def grey(rng: np.random.Generator, low: int, high: int, tint: int = 8) -> Colour:
    """Draw a nearly neutral colour of brightness [low, high)."""
    return near(rng, (int(rng.integers(low, high)),) * 3, tint)


def near(rng: np.random.Generator, colour: Colour, spread: int) -> Colour:
    """Draw a colour within ``spread`` levels of ``colour`` in each channel."""
    jitter = rng.integers(-spread, spread + 1, 3)
    red, green, blue = (int(v) for v in np.clip(np.array(colour) + jitter, 0, 255))
    return red, green, blue


def shade(colour: Colour, factor: float) -> Colour:
    """Darken (factor < 1) or brighten (factor > 1) a colour."""
    red, green, blue = (min(255, int(v * factor)) for v in colour)
    return red, green, blue


def pick(rng: np.random.Generator, colours: Sequence[Colour]) -> Colour:
    """Choose one of ``colours``."""
    return colours[int(rng.integers(len(colours)))]


WHITE_LINE: Colour = (240, 240, 235)


def draw_airplane(canvas: Canvas, rng: np.random.Generator) -> None:
    """A fuselage, swept wings with an engine each, and a tail."""
    skin = grey(rng, 190, 250)
    half_width = rng.uniform(0.09, 0.13)
    sweep, span = rng.uniform(0.15, 0.5), rng.uniform(0.75, 0.98)
    root, chord = rng.uniform(0.0, 0.2), rng.uniform(0.22, 0.34)
    tip = root - sweep
    for side in (-1, 1):
        wing = [(root + chord, 0), (root, 0), (tip, side * span), (tip + chord * 0.4, side * span)]
        canvas.polygon(wing, skin)
        canvas.polygon([(-0.68, 0), (-0.92, 0), (-0.98, side * 0.38), (-0.84, side * 0.38)], skin)
        engine_x, engine_y = root - sweep * 0.4, side * span * 0.4
        canvas.ellipse(
            engine_x + 0.04, engine_y - 0.05, engine_x + 0.24, engine_y + 0.05, grey(rng, 90, 170)
        )
    fuselage = grey(rng, 205, 255)
    canvas.ellipse(0.7, -half_width, 1, half_width, fuselage)
    canvas.rectangle(-0.7, -half_width, 0.86, half_width, fuselage)
    tail = [(-0.7, -half_width), (-0.98, -0.03), (-0.98, 0.03), (-0.7, half_width)]
    canvas.polygon(tail, fuselage)
    canvas.line([(-0.6, 0), (-0.97, 0)], any_colour(rng, 20, 200), width=1.5)


def draw_ship(canvas: Canvas, rng: np.random.Generator) -> None:
    """A pointed hull with a deck, a few cargo blocks and a bright bridge at the stern."""
    half = rng.uniform(0.17, 0.28)
    hull = pick(rng, [grey(rng, 60, 120), any_colour(rng, 60, 190), grey(rng, 170, 235)])
    bow = [(0.45, -half), (0.72, -half * 0.8), (1, 0), (0.72, half * 0.8), (0.45, half)]
    stern = [(-0.9, half), (-1, half * 0.75), (-1, -half * 0.75), (-0.9, -half)]
    outline = bow + stern
    canvas.polygon(outline, hull)
    canvas.polygon([(x * 0.94, y * 0.72) for x, y in outline], any_colour(rng, 90, 200))
    blocks = int(rng.integers(1, 6))
    for index in range(blocks):
        x = -0.5 + index / blocks
        canvas.rectangle(x, -half * 0.6, x + 0.7 / blocks, half * 0.6, any_colour(rng, 60, 220))
    canvas.rectangle(-0.88, -half * 0.65, -0.65, half * 0.65, grey(rng, 215, 255))


def draw_storage_tank(canvas: Canvas, rng: np.random.Generator) -> None:
    """A bright round roof with a darker rim, a ladder and a central vent."""
    roof = grey(rng, 170, 250)
    canvas.disc(1, shade(roof, 0.72))
    canvas.disc(0.92, roof)
    if rng.random() < 0.5:
        canvas.disc(0.6, outline=shade(roof, 0.8))
    canvas.line([(0, 0), (0.9, 0)], shade(roof, 0.7))
    canvas.disc(0.08, grey(rng, 60, 140))


def draw_baseball_diamond(canvas: Canvas, rng: np.random.Generator) -> None:
    """A quarter disc of grass with a dirt infield and a grass square in it."""
    grass, dirt = near(rng, (70, 120, 55), 18), near(rng, (176, 128, 88), 22)
    apex = (-0.68, 0.0)
    canvas.sector(apex, 1.36, 45, grass)
    canvas.sector(apex, 0.84, 45, dirt)
    x, half = -0.55, 0.3
    canvas.polygon([(x, 0), (x + half, -half), (x + 2 * half, 0), (x + half, half)], grass)
    canvas.disc(0.05, dirt, centre=(x + half, 0))


def draw_tennis_court(canvas: Canvas, rng: np.random.Generator) -> None:
    """A coloured surround with a court, its service boxes and the net."""
    surround = near(rng, pick(rng, [(64, 110, 74), (150, 80, 66), (60, 90, 130)]), 14)
    court = near(rng, pick(rng, [(58, 96, 140), (76, 130, 84), (120, 76, 120)]), 14)
    half = 0.5
    canvas.rectangle(-1, -half, 1, half, surround)
    x, y = 0.8, half * 0.72
    canvas.rectangle(-x, -y, x, y, court, outline=WHITE_LINE)
    canvas.line([(0, -half * 0.9), (0, half * 0.9)], WHITE_LINE, width=2)
    for side in (-1, 1):
        canvas.line([(-x, side * y * 0.75), (x, side * y * 0.75)], WHITE_LINE)
        canvas.line([(side * x * 0.54, -y * 0.75), (side * x * 0.54, y * 0.75)], WHITE_LINE)
    canvas.line([(-x * 0.54, 0), (x * 0.54, 0)], WHITE_LINE)


def draw_basketball_court(canvas: Canvas, rng: np.random.Generator) -> None:
    """A surround with a court, the centre circle, two keys and two three-point arcs."""
    surround = near(rng, pick(rng, [(150, 90, 60), (120, 120, 120), (70, 100, 140)]), 14)
    court = near(rng, pick(rng, [(196, 140, 84), (170, 110, 80), (190, 160, 110)]), 14)
    half = 0.56
    canvas.rectangle(-1, -half, 1, half, surround)
    x, y = 0.8, half * 0.72
    canvas.rectangle(-x, -y, x, y, court, outline=WHITE_LINE)
    canvas.line([(0, -y), (0, y)], WHITE_LINE)
    canvas.disc(0.16, outline=WHITE_LINE)
    for side in (-1, 1):
        left, right = sorted((side * x, side * 0.5))
        canvas.rectangle(left, -0.14, right, 0.14, surround, outline=WHITE_LINE)
        start = 90 if side > 0 else -90
        canvas.arc((side * x, 0), (0.42, 0.34), start, start + 180, WHITE_LINE)


def draw_ground_track_field(canvas: Canvas, rng: np.random.Generator) -> None:
    """A running track with lanes around a marked grass field."""
    half = rng.uniform(0.5, 0.6)
    track, grass = near(rng, (168, 84, 70), 22), near(rng, (74, 130, 64), 18)
    canvas.rectangle(-1, -half, 1, half, track, radius=half)
    for inset in (0.06, 0.12):
        x, y = 1 - inset, half - inset
        canvas.rectangle(-x, -y, x, y, outline=(220, 200, 190), width=0.5, radius=y)
    x, y = 1 - 0.17, half - 0.17
    canvas.rectangle(-x, -y, x, y, grass, radius=y)
    canvas.rectangle(-0.5, -0.3, 0.5, 0.3, outline=(230, 235, 225))
    canvas.line([(0, -0.3), (0, 0.3)], (230, 235, 225))


def draw_vehicle(canvas: Canvas, rng: np.random.Generator) -> None:
    """A rounded body with a windscreen and a rear window."""
    half = rng.uniform(0.42, 0.54)
    paint = any_colour(rng, 20, 250) if rng.random() < 0.5 else grey(rng, 20, 250)
    canvas.rectangle(-1, -half, 1, half, paint, radius=half * 0.35)
    glass = shade(paint, 0.35)
    canvas.rectangle(0.2, -half * 0.75, 0.48, half * 0.75, glass)
    canvas.rectangle(-0.72, -half * 0.7, -0.55, half * 0.7, glass)


def draw_swimming_pool(canvas: Canvas, rng: np.random.Generator) -> None:
    """Turquoise water in a bright edge: a rounded rectangle or a kidney shape."""
    water, edge = near(rng, (70, 180, 205), 26), grey(rng, 195, 240)
    if rng.random() < 0.6:
        half = rng.uniform(0.4, 0.7)
        canvas.rectangle(-1, -half, 1, half, edge, radius=rng.uniform(0.02, 0.9) * half)
        x, y = 0.88, half - 0.12
        canvas.rectangle(-x, -y, x, y, water, radius=rng.uniform(0.02, 0.9) * y)
        return
    for colour, inset in ((edge, 0.0), (water, 0.11)):
        canvas.ellipse(-1 + inset, -0.6 + inset, 0.2 - inset, 0.6 - inset, colour)
        canvas.ellipse(-0.3 + inset, -0.45 + inset, 1 - inset, 0.75 - inset, colour)


def draw_roundabout(canvas: Canvas, rng: np.random.Generator) -> None:
    """A ring of asphalt around a kerbed green island."""
    canvas.disc(1, grey(rng, 80, 125))
    canvas.disc(0.93, outline=(205, 205, 200), width=0.5)
    radius = rng.uniform(0.4, 0.6)
    canvas.disc(radius + 0.05, (205, 205, 200))
    canvas.disc(radius, near(rng, (78, 116, 60), 20))
    if rng.random() < 0.5:
        canvas.disc(rng.uniform(0.1, 0.25), grey(rng, 150, 220))


def draw_building(canvas: Canvas, rng: np.random.Generator) -> None:
    """A flat, gabled or L-shaped roof with a few units on it."""
    half = rng.uniform(0.45, 0.95)
    roof = grey(rng, 110, 225, 14) if rng.random() < 0.6 else near(rng, (160, 92, 72), 25)
    if rng.random() < 0.3:
        canvas.polygon([(-1, -half), (1, -half), (1, 0), (0.1, 0), (0.1, half), (-1, half)], roof)
    else:
        canvas.rectangle(-1, -half, 1, half, roof)
        if rng.random() < 0.6:
            canvas.rectangle(-1, -half, 1, 0, shade(roof, 0.82))
            canvas.line([(-1, 0), (1, 0)], shade(roof, 0.7))
    for _ in range(int(rng.integers(0, 5))):
        x, y = rng.uniform(-0.8, 0.6), rng.uniform(-half + 0.05, -0.12)
        canvas.rectangle(x, y, x + 0.14, y + 0.12, grey(rng, 90, 230))


def _draw_blob(canvas: Canvas, rng: np.random.Generator, colour: Colour) -> None:
    angles = np.sort(rng.random(int(rng.integers(8, 14))) * 2 * math.pi)
    radii = rng.uniform(0.65, 1, len(angles))
    corners = [(r * math.cos(a), r * math.sin(a)) for r, a in zip(radii, angles, strict=True)]
    canvas.polygon(corners, colour)
    canvas.ellipse(-0.5, -0.55, 0.35, 0.3, shade(colour, 1.2))


def draw_tree(canvas: Canvas, rng: np.random.Generator) -> None:
    """An irregular dark green crown with a lit side."""
    _draw_blob(canvas, rng, near(rng, (48, 78, 38), 16))


def draw_rock(canvas: Canvas, rng: np.random.Generator) -> None:
    """An irregular grey boulder with a lit side."""
    _draw_blob(canvas, rng, grey(rng, 95, 165))


@dataclass(frozen=True)
class Kind:
    """How one kind of object is drawn.

    Attributes:
        draw: paints the object on a canvas.
        length_px: smallest and largest long side in pixels.
        shadow_px: length of its shadow in pixels, 0 for flat things.
        on_water: whether it floats (ships) instead of standing on land.
        max_group: at most this many of the kind stand together.
    """

    draw: Callable[[Canvas, np.random.Generator], None]
    length_px: tuple[float, float]
    shadow_px: float = 0
    on_water: bool = False
    max_group: int = 1


CATEGORY_KINDS: dict[str, Kind] = {
    "airplane": Kind(draw_airplane, (44, 112), shadow_px=4, max_group=4),
    "ship": Kind(draw_ship, (40, 120), shadow_px=2, on_water=True, max_group=4),
    "storage tank": Kind(draw_storage_tank, (26, 72), shadow_px=5, max_group=4),
    "baseball diamond": Kind(draw_baseball_diamond, (66, 124)),
    "tennis court": Kind(draw_tennis_court, (46, 92), max_group=4),
    "basketball court": Kind(draw_basketball_court, (44, 84)),
    "ground track field": Kind(draw_ground_track_field, (120, 210)),
    "vehicle": Kind(draw_vehicle, (22, 42), shadow_px=2, max_group=4),
    "swimming pool": Kind(draw_swimming_pool, (28, 60), max_group=4),
    "roundabout": Kind(draw_roundabout, (50, 112)),
}
"""The ten categories, in the order of their ids 1..10."""

DISTRACTOR_KINDS: dict[str, Kind] = {
    "building": Kind(draw_building, (36, 110), shadow_px=5),
    "tree": Kind(draw_tree, (16, 42), shadow_px=3),
    "rock": Kind(draw_rock, (14, 36), shadow_px=3),
}
"""Things that have an outline but are none of the categories."""

KINDS = CATEGORY_KINDS | DISTRACTOR_KINDS
