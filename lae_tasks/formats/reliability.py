"""The card's reliability diagram: how often regions were right beside how likely they were said."""

import io

from PIL import Image, ImageDraw, ImageFont

from lae_tasks.releases.manifest import ReliabilityEntry

#: Drawn at twice its size, then made smaller, so that lines are smooth.
_SCALE = 2
_SIDE, _LEFT, _TOP = 300, 64, 16
_WIDTH, _HEIGHT = _LEFT + _SIDE + 20, _TOP + _SIDE + 56
_INK, _GRID, _POINT = (40, 40, 40), (222, 222, 222), (0, 110, 180)


def render(entry: ReliabilityEntry) -> bytes:
    """PNG: a point for each bin, its area as its count; on the diagonal what is said is so."""
    picture = Image.new("RGB", (_WIDTH * _SCALE, _HEIGHT * _SCALE), "white")
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(size=13 * _SCALE)
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        draw.line([_at(tick, 0), _at(tick, 1)], _GRID, _SCALE)
        draw.line([_at(0, tick), _at(1, tick)], _GRID, _SCALE)
        (x, y), (left, _) = _at(tick, 0), _at(0, 0)
        draw.text((x, y + 6 * _SCALE), f"{tick:g}", _INK, font, anchor="mt")
        draw.text((left - 8 * _SCALE, _at(0, tick)[1]), f"{tick:g}", _INK, font, anchor="rm")
    draw.line([_at(0, 0), _at(1, 1)], _INK, _SCALE)
    points = [_at(said, right) for said, right in zip(entry.said, entry.right, strict=True)]
    draw.line(points, _POINT, _SCALE)
    most = max(entry.count, default=1)
    for (x, y), count in zip(points, entry.count, strict=True):
        radius = _SCALE * (2 + 4 * (count / most) ** 0.5)
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), _POINT)
    middle = _at(0.5, 0)[0]
    draw.text((middle, _SCALE * (_HEIGHT - 14)), "probability said", _INK, font, anchor="mm")
    draw.text((_at(0.03, 0)[0], _at(0, 0.95)[1]), "share that was right", _INK, font, anchor="lm")
    sink = io.BytesIO()
    picture.resize((_WIDTH, _HEIGHT), Image.Resampling.LANCZOS).save(sink, format="PNG")
    return sink.getvalue()


def _at(said: float, right: float) -> tuple[float, float]:
    return _SCALE * (_LEFT + said * _SIDE), _SCALE * (_TOP + (1 - right) * _SIDE)
