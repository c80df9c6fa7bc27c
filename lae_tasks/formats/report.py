"""The report of a release: one page that needs no network, no script and no other file."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from markupsafe import Markup
from PIL import Image

from lae_tasks.config import Config
from lae_tasks.formats import charts
from lae_tasks.formats.card import Picture
from lae_tasks.formats.data_docs import source_of, template
from lae_tasks.formats.figures import (
    Objects,
    area_histogram,
    by_category,
    confidence_histogram,
    side_histogram,
)
from lae_tasks.formats.funnel import Funnel
from lae_tasks.formats.scenes import ReleaseScene
from lae_tasks.releases.dataset import Dataset
from lae_tasks.releases.diff import OBJECTS, Diff
from lae_tasks.releases.manifest import ReleaseManifest
from lae_tasks.trust.audit import CONFIDENCE

PATH = "report.html"
#: All pictures together, as they stand in the page.
PICTURES_BYTES = 1_400_000
_CHANGES_SHOWN = 20


@dataclass(frozen=True)
class Subject:
    """What the page tells of.

    Attributes:
        manifest: The release's manifest; its list of files need not be complete yet.
        samples: Pictures with the bytes of each.
    """

    manifest: ReleaseManifest
    dataset: Dataset
    objects: Objects
    scenes: Sequence[ReleaseScene]
    funnel: Funnel
    diff: Diff
    config: Config
    samples: Sequence[tuple[Picture, bytes]]


def render(subject: Subject) -> bytes:
    """The page."""
    manifest = subject.manifest
    text = template("report.html.jinja").render(
        m=manifest,
        style=Markup(source_of("report.css.jinja")),
        description=subject.config.release.description,
        measures=_measures(manifest),
        funnel=subject.funnel,
        splits=_splits(manifest),
        categories=_categories(subject),
        confidence=_confidence(subject.objects),
        reliability=charts.reliability(manifest.reliability) if manifest.reliability else None,
        sizes=_sizes(subject.objects),
        map=charts.footprints(subject.scenes),
        placed=sum(scene.footprint is not None for scene in subject.scenes),
        samples=_samples(subject.samples),
        changes=subject.diff.by_category() if manifest.parent else {},
        first_changes=first_changes(subject.diff) if manifest.parent else [],
        changed=sum(len(getattr(subject.diff, kind)) for kind in OBJECTS),
        interval_percent=round(100 * CONFIDENCE),
    )
    return text.encode()


@dataclass(frozen=True)
class Measure:
    """A measured share with its interval; the numbers are percent.

    Attributes:
        name: Of what is measured, or of the category.
    """

    name: str
    share: float
    low: float
    high: float
    of_what: str


def _measures(manifest: ReleaseManifest) -> dict[str, Any]:
    """What was measured, and where the axis of the intervals begins."""
    rows, of_category = [], []
    if whole := manifest.whole:
        said = f"of all {whole.objects:,} objects, {whole.seen:,} of which stewards decided"
        rows.append(_measure("Precision", whole.precision, whole.low, whole.high, said))
    for each in manifest.precision:
        measured = each.precision, each.low, each.high
        if each.category is None:
            said = f"of {each.unseen:,} that nobody has looked at, by {each.audited:,} drawn"
            rows.append(_measure("Precision, unseen", *measured, said))
        else:
            said = f"{each.right:,} of {each.audited:,} drawn were right"
            of_category.append(_measure(each.category, *measured, said))
    if recall := manifest.recall:
        said = f"of what {recall.tiles:,} tiles show that stewards looked over"
        rows.append(_measure("Recall", recall.recall, recall.low, recall.high, said))
    lowest = min((each.low for each in (*rows, *of_category)), default=0.0)
    floor = min(80, int(lowest // 20) * 20)
    return {"rows": rows, "of_category": of_category, "floor": floor}


def _measure(name: str, share: float, low: float, high: float, of_what: str) -> Measure:
    return Measure(name, 100 * share, 100 * low, 100 * high, of_what)


def _splits(manifest: ReleaseManifest) -> list[dict[str, Any]]:
    total = sum(counts["images"] for counts in manifest.splits.values())
    return [
        {"name": name, "share": 100 * counts["images"] / max(total, 1), **counts}
        for name, counts in manifest.splits.items()
    ]


def _categories(subject: Subject) -> list[dict[str, Any]]:
    """Each category with its objects, of all and of each split; the most frequent first."""
    splits = [*subject.manifest.splits]
    of_split = by_category(
        subject.dataset,
        subject.objects,
        {place: each.split or "none" for place, each in enumerate(subject.dataset.images)},
    )
    rows = []
    for entry in subject.manifest.categories:
        counts = {split: of_split.get(split, {}).get(entry.name, 0) for split in splits}
        rows.append({"name": entry.name, "objects": entry.objects, "splits": counts})
    return sorted(rows, key=lambda row: (-row["objects"], row["name"]))


def _confidence(objects: Objects) -> dict[str, Any] | None:
    found = confidence_histogram(objects)
    if found is None:
        return None
    chart = charts.histogram(
        found,
        "Confidence of objects",
        "confidence at which the engine accepted",
        "{:.2f}".format,
        height=300,
    )
    return {
        "chart": chart,
        "median": found.median,
        "engine": sum(found.counts),
        "stewards": int(objects.by_steward.sum()),
    }


def _sizes(objects: Objects) -> list[dict[str, Any]]:
    sizes = []
    if sides := side_histogram(objects):
        chart = charts.histogram(sides, "Sides of boxes", "side of the box, px", "{:,.0f}".format)
        told = f"Half are below {sides.median:,.0f} px."
        sizes.append({"title": "Size on the image", "chart": chart, "told": told})
    if areas := area_histogram(objects):
        chart = charts.histogram(areas, "Areas of objects", "area on the ground, m²", _area)
        known = sum(areas.counts)
        told = f"Half are below {_area(areas.median)} m²"
        if known < len(objects.image):
            told += f", of {known:,} objects whose scene has a place on the ground"
        sizes.append({"title": "Size on the ground", "chart": chart, "told": f"{told}."})
    return sizes


def _area(value: float) -> str:
    """To one digit below ten, and in few characters above ten thousand."""
    if value >= 9_995:
        return charts.short(float(f"{value:.2g}"))
    return f"{value:,.0f}" if value >= 9.95 else f"{value:.1g}"


def _samples(samples: Sequence[tuple[Picture, bytes]]) -> list[dict[str, str]]:
    return [
        {"caption": picture.caption, "uri": _jpeg_uri(png, PICTURES_BYTES // len(samples))}
        for picture, png in samples
    ]


def _jpeg_uri(png: bytes, most_bytes: int) -> str:
    """A picture as a data URI of at most so many bytes: as large and fine as fits."""
    uri = ""
    with Image.open(io.BytesIO(png)) as file:
        picture = file.convert("RGB")
    for side, quality in ((900, 85), (800, 80), (700, 75), (560, 70), (420, 60), (300, 50)):
        small = picture.copy()
        small.thumbnail((side, side), Image.Resampling.LANCZOS)
        sink = io.BytesIO()
        small.save(sink, format="JPEG", quality=quality, optimize=True)
        uri = f"data:image/jpeg;base64,{base64.b64encode(sink.getvalue()).decode()}"
        if len(uri) <= most_bytes:
            break
    return uri


def first_changes(diff: Diff, n: int = _CHANGES_SHOWN) -> list[dict[str, str]]:
    """Some changed objects, of each kind as evenly as may be, with what made the change."""
    of_kind = [[(kind, entry) for entry in getattr(diff, kind).first(n)] for kind in OBJECTS]
    mixed = [each for row in zip_longest(*of_kind) for each in row if each][:n]
    mixed.sort(key=lambda each: OBJECTS.index(each[0]))
    return [
        {
            "kind": kind,
            "region_id": entry["region_id"],
            "what": _what(kind, entry),
            "cause": entry["cause"],
        }
        for kind, entry in mixed
    ]


def _what(kind: str, entry: Mapping[str, Any]) -> str:
    """What happened to an object, in a few words."""
    if kind == "relabelled":
        return f"{entry['from']} → {entry['to']}"
    if kind == "rescored":
        (was, by), (now, by_now) = entry["from"], entry["to"]
        said = [f"{was:.2f} → {now:.2f}"] * (was != now) + [f"{by} → {by_now}"] * (by != by_now)
        return f"{entry['category']}, {', '.join(said)}"
    return str(entry["category"])
