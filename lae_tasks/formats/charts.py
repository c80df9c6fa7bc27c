"""Charts of the report, as inline SVG; colours come from the page's style sheet."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from html import escape
from typing import Any

from markupsafe import Markup

from lae_tasks.formats.figures import Histogram
from lae_tasks.formats.scenes import ReleaseScene
from lae_tasks.releases.manifest import ReliabilityEntry
from lae_tasks.trust.audit import wilson

#: Wide enough for two beside each other, and legible on a phone.
_WIDTH = 460
_WIDEST_BAR = 84.0
_STEPS = (30, 15, 10, 5, 2, 1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0005, 0.0002)


def short(count: float) -> str:
    """A count in few characters: 950, 1.2k, 3.4M."""
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if count >= size * 0.9995:
            number = count / size
            return f"{number:.0f}{unit}" if number >= 9.95 else f"{number:.1f}{unit}"
    return f"{count:g}"


def _svg(width: float, height: float, title: str, parts: Iterable[str]) -> Markup:
    return Markup(
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(title)}">'
        + "".join(parts)
        + "</svg>"
    )


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "middle") -> str:
    kind = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{kind}>{escape(text)}</text>'


def _line(x0: float, y0: float, x1: float, y1: float, kind: str) -> str:
    return f'<line x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}" class="{kind}"/>'


def histogram(
    data: Histogram, title: str, unit: str, edge: Callable[[float], str], height: float = 230
) -> Markup:
    """Bars between labelled edges, each with its count above it.

    Args:
        data: The counts.
        title: For those who do not see it.
        unit: What is along the axis.
        edge: The text of an edge.
        height: In the drawing's pixels.
    """
    top, bottom = 26.0, 48.0
    base = height - bottom
    step = min((_WIDTH - 40) / len(data.counts), _WIDEST_BAR)
    start = (_WIDTH - step * len(data.counts)) / 2
    most = max(data.counts)
    parts = []
    for number, count in enumerate(data.counts):
        x, tall = start + number * step, (base - top) * count / most
        tall = max(tall, 1.5) if count else 0
        said = f"{edge(data.edges[number])} to {edge(data.edges[number + 1])}: {count:,}"
        parts.append(
            f'<rect x="{x + 1:.1f}" y="{base - tall:.1f}" width="{step - 2:.1f}" '
            f'height="{tall:.1f}" class="bar"><title>{escape(said)}</title></rect>'
        )
        if count:
            parts.append(_text(x + step / 2, base - tall - 6, short(count), "value"))
    parts.append(_line(20, base, _WIDTH - 20, base, "axis"))
    labels = [edge(value) for value in data.edges]
    every = math.ceil((max(map(len, labels)) + 1.5) * 7 / step)
    for number, label in enumerate(labels):
        if number % every == 0:
            parts.append(_text(start + number * step, base + 17, label))
    parts.append(_text(_WIDTH / 2, height - 8, unit, "quiet"))
    return _svg(_WIDTH, height, title, parts)


def reliability(entry: ReliabilityEntry) -> Markup:
    """How often regions were right beside how likely they were said to be, with intervals."""
    left, top, wide, tall = 70.0, 12.0, 350.0, 236.0

    def at(said: float, right: float) -> tuple[float, float]:
        return left + said * wide, top + (1 - right) * tall

    parts = []
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        (x, low), (start, y) = at(tick, 0), at(0, tick)
        parts += [_line(x, top, x, low, "grid"), _line(start, y, start + wide, y, "grid")]
        parts.append(_text(x, low + 18, f"{100 * tick:.0f} %"))
        parts.append(_text(left - 8, y + 4, f"{100 * tick:.0f} %", anchor="end"))
    parts.append(_line(*at(0, 0), *at(1, 1), "diagonal"))
    x, y = at(0.5, 0.43)
    parts.append(_text(x, y, "as right as said", "quiet", "start"))
    most = max(entry.count, default=1)
    for said, right, count in zip(entry.said, entry.right, entry.count, strict=True):
        low, high = wilson(right, count) if count else (right, right)
        x, y = at(said, right)
        told = f"said {100 * said:.0f} %, right {100 * right:.0f} % of {count:,}"
        parts.append(_line(*at(said, low), *at(said, high), "whisker"))
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{3 + 4 * (count / most) ** 0.5:.1f}" '
            f'class="point"><title>{told}</title></circle>'
        )
    parts.append(_text(left + wide / 2, top + tall + 44, "probability that was said", "quiet"))
    height = top + tall + 52
    parts.append(
        f'<text x="14" y="{top + tall / 2:.1f}" text-anchor="middle" class="quiet" '
        f'transform="rotate(-90 14 {top + tall / 2:.1f})">share that was right</text>'
    )
    return _svg(_WIDTH, height, "Reliability diagram", parts)


def footprints(scenes: Sequence[ReleaseScene]) -> Markup | None:
    """A map of the scenes that have a place, coloured by split; None without any."""
    placed = [(scene, _rings(scene.footprint)) for scene in scenes if scene.footprint]
    points = [point for _, rings in placed for ring in rings for point in ring]
    if not points:
        return None
    frame = _Frame(points)
    parts = [*frame.graticule()]
    for scene, rings in placed:
        told = f"{scene.scene_key}: {scene.split or 'in no split'}"
        shapes = "".join(frame.shape(ring) for ring in rings)
        parts.append(
            f'<g class="place {scene.split or "none"}"><title>{escape(told)}</title>{shapes}</g>'
        )
    return _svg(frame.width, frame.height, "Map of the scenes' footprints", parts)


def _rings(footprint: dict[str, Any]) -> list[list[list[float]]]:
    is_one = footprint["type"] == "Polygon"
    polygons = [footprint["coordinates"]] if is_one else footprint["coordinates"]
    return [polygon[0] for polygon in polygons]


class _Frame:
    """Degrees to the map's pixels: plate carrée, true to scale at its middle."""

    _LEFT, _RIGHT, _TOP, _BOTTOM, _SMALL = 76.0, 28.0, 10.0, 28.0, 7.0

    def __init__(self, points: Sequence[Sequence[float]]) -> None:
        east, north = zip(*points, strict=True)
        self._squeeze = max(math.cos(math.radians((min(north) + max(north)) / 2)), 0.05)
        wide = max((max(east) - min(east)) * self._squeeze, 1e-4)
        high = max(max(north) - min(north), 1e-4)
        # Never so long that it becomes a line, with some ground around it.
        wide, high = 1.16 * max(wide, high * 1.7), 1.16 * max(high, wide / 2.4)
        self.width, inner = 2.0 * _WIDTH, 2.0 * _WIDTH - self._LEFT - self._RIGHT
        self._scale = inner / wide
        self._inner = inner, high * self._scale
        self.height = self._TOP + self._inner[1] + self._BOTTOM
        self._west = (min(east) + max(east)) / 2 - wide / self._squeeze / 2
        self._north = (min(north) + max(north)) / 2 + high / 2

    def _at(self, east: float, north: float) -> tuple[float, float]:
        x = self._LEFT + (east - self._west) * self._squeeze * self._scale
        return x, self._TOP + (self._north - north) * self._scale

    def graticule(self) -> Iterator[str]:
        """Lines of whole degrees, or of parts of them, with their names."""
        (wide, high), right, low = self._inner, self.width - self._RIGHT, self._TOP + self._inner[1]
        yield f'<rect x="{self._LEFT}" y="{self._TOP}" width="{wide}" height="{high}" class="sea"/>'
        across = wide / self._scale / self._squeeze
        columns = _ticks(self._west, across, 9)
        rows = _ticks(self._north - high / self._scale, high / self._scale, 6)
        rows = [north for north in rows if abs(north) <= 90]
        for east in columns:
            x, _ = self._at(east, 0)
            yield _line(x, self._TOP, x, low, "grid")
            yield _text(x, low + 18, _degrees((east + 180) % 360 - 180, "EW", columns))
        for north in rows:
            _, y = self._at(0, north)
            yield _line(self._LEFT, y, right, y, "grid")
            yield _text(self._LEFT - 6, y + 4, _degrees(north, "NS", rows), anchor="end")

    def shape(self, ring: Sequence[Sequence[float]]) -> str:
        """A footprint, or a dot where it would be too small to see."""
        points = [self._at(east, north) for east, north in ring]
        xs, ys = zip(*points, strict=True)
        if max(max(xs) - min(xs), max(ys) - min(ys)) < self._SMALL:
            return f'<circle cx="{sum(xs) / len(xs):.1f}" cy="{sum(ys) / len(ys):.1f}" r="4"/>'
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        return f'<polygon points="{path}"/>'


def _ticks(start: float, span: float, n: int) -> list[float]:
    step = next((s for s in reversed(_STEPS) if span / s <= n), _STEPS[0])
    first = math.ceil(start / step)
    return [
        round(number * step, 6) for number in range(first, math.floor((start + span) / step) + 1)
    ]


def _degrees(value: float, sides: str, beside: Sequence[float]) -> str:
    """A degree, with as many decimals as those beside it need."""
    decimals = max(len(f"{other:.6f}".rstrip("0").partition(".")[2]) for other in beside)
    value = round(value, 6)
    side = sides[value < 0] if value else ""
    return f"{abs(value):.{decimals}f}° {side}".strip()
