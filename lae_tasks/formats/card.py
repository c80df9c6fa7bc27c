"""The README of a release: what is in it, how it was made, and what it does not promise.

It begins with what the Hugging Face hub reads of a data set's card.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from lae_tasks.config import ReleaseConfig
from lae_tasks.formats.data_docs import template
from lae_tasks.releases.manifest import PrecisionEntry, ReleaseManifest
from lae_tasks.trust.audit import CONFIDENCE

PATH = "README.md"
RELIABILITY_PATH = "card/reliability.png"
#: Licences that the hub knows by name; what is not among them is "other", with its name.
_LICENCES = {
    *("apache-2.0", "bsd-3-clause", "cc", "cc-by-2.0", "cc-by-3.0", "cc-by-4.0", "cc-by-nc-2.0"),
    *("cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-4.0", "cc-by-nd-4.0"),
    *("cc-by-sa-3.0", "cc-by-sa-4.0", "cc0-1.0", "cdla-permissive-1.0", "cdla-permissive-2.0"),
    *("cdla-sharing-1.0", "etalab-2.0", "gfdl", "gpl-3.0", "mit", "odbl", "odc-by", "other"),
    *("pddl", "unknown"),
}
#: The hub's classes of size: at most so many images, and their name.
_SIZES = {
    10**3: "n<1K",
    10**4: "1K<n<10K",
    10**5: "10K<n<100K",
    10**6: "100K<n<1M",
    10**7: "1M<n<10M",
}
#: How each format is opened, by its folder or file, from within the release's folder.
_OPENED_BY = {
    "tables": '`pyarrow.parquet.read_table("tables/annotations.parquet")`; part of every release, '
    "in place: `lae_tasks.load_release(store, version)`",
    "coco": '`pycocotools.coco.COCO("coco/instances_train.json")`, with RLE masks',
    "odvg": "`odvg/odvg_train.jsonl` and `odvg/label_map.json`, as Open-GroundingDINO trains on",
    "yolo": "`yolo segment train data=yolo/data.yaml`, likewise `detect` and `obb`",
    "dota": "`dota/labelTxt/`, oriented boxes, a file per image",
    "geoparquet": '`geopandas.read_parquet("geoparquet/objects.parquet")`, polygons on the ground',
    "geojson": '`geopandas.read_file("geojson/objects.geojson")`, polygons on the ground',
    "hugging_face": '`datasets.load_dataset("hugging_face")`',
    "webdataset": '`webdataset.WebDataset("webdataset/train-000000.tar").decode("rgb")`',
    "images": "PNG, 8-bit RGB, `images/<tile_id>.png`",
    "croissant.json": '`mlcroissant.Dataset("croissant.json").records("annotations")`',
    "stac": '`pystac.Collection.from_file("stac/collection.json")`, an item per scene',
}
PRECISION_UNKNOWN = "not measured yet: no audit has been decided for this version"


@dataclass(frozen=True)
class Picture:
    """A sample picture of the card, by its path in the release."""

    path: str
    caption: str


def render(
    manifest: ReleaseManifest,
    config: ReleaseConfig,
    pictures: Sequence[Picture],
    files: Collection[str],
    by_steward: int,
) -> bytes:
    """The card.

    Args:
        manifest: The release's manifest; its list of files need not be complete yet.
        config: The release's settings.
        pictures: Samples to show.
        files: Paths of what the release holds, beside its images.
        by_steward: How many objects a steward decided.
    """
    text = template("card.md.jinja").render(
        m=manifest,
        description=config.description,
        min_object_share=config.min_object_share,
        pictures=pictures,
        front=_front(manifest, files),
        formats=_formats(files),
        reliability=RELIABILITY_PATH,
        by_steward=by_steward,
        precision=_precision(manifest),
        whole=_whole(manifest),
        recall=_recall(manifest),
        agreement=_agreement(manifest),
        confidence=CONFIDENCE,
        precision_of={each.category: _interval(each) for each in manifest.precision},
    )
    return text.encode()


def _front(manifest: ReleaseManifest, files: Collection[str]) -> str:
    """The card's metadata, as YAML."""
    licence = manifest.licence.lower()
    values: dict[str, Any] = {"license": licence}
    if licence not in _LICENCES:
        named = re.sub(r"[^a-z0-9.]+", "-", licence).strip("-")
        values = {"license": "other", "license_name": named or "unnamed"}
    most = manifest.counts["images"]
    values |= {
        "pretty_name": manifest.title,
        "task_categories": ["object-detection", "image-segmentation"],
        "tags": ["remote-sensing", "earth-observation", "aerial-imagery"],
        "size_categories": [next((s for n, s in _SIZES.items() if most < n), "10M<n<100M")],
        "configs": _configs(files),
    }
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def _configs(files: Collection[str]) -> list[dict[str, Any]]:
    """What the hub's viewer shows: the images if their format is there, and the annotations."""
    shards = (re.fullmatch(r"hugging_face/data/(\w+)-\d+.*\.parquet", path) for path in files)
    splits = dict.fromkeys(shard[1] for shard in sorted(filter(None, shards), key=lambda m: m[0]))
    found: list[dict[str, Any]] = []
    if splits:
        data = [{"split": s, "path": f"hugging_face/data/{s}-*.parquet"} for s in splits]
        found.append({"config_name": "default", "data_files": data})
    found.append({"config_name": "annotations", "data_files": "tables/annotations.parquet"})
    return found


def _formats(files: Collection[str]) -> dict[str, str]:
    """How to open what is there."""
    there = {path.split("/")[0] for path in files} | {"images"}
    return {name: told for name, told in _OPENED_BY.items() if name in there}


def _precision(manifest: ReleaseManifest) -> str:
    """What is known of all objects that nobody has looked at."""
    for entry in manifest.precision:
        if entry.category is None:
            more = f"; {entry.undecided} more were left undecided" if entry.undecided else ""
            if entry.unmeasured:
                more += (
                    f"; {entry.unmeasured} are of nights of which nobody has looked at any yet, "
                    "and are taken to be like the others"
                )
            return (
                f"{_interval(entry)} of the {entry.unseen} objects that nobody has looked at, by "
                f"{entry.audited} that were drawn at random and looked at{more}"
            )
    if manifest.whole and manifest.whole.seen == manifest.whole.objects:
        return "stewards have looked at every object"
    return PRECISION_UNKNOWN


def _whole(manifest: ReleaseManifest) -> str:
    """What is known of all objects."""
    entry = manifest.whole
    if entry is None:
        return PRECISION_UNKNOWN
    said = _share(entry.precision, entry.low, entry.high)
    return f"{said} of all {entry.objects} objects, {entry.seen} of which stewards decided"


def _recall(manifest: ReleaseManifest) -> str:
    entry = manifest.recall
    if entry is None:
        return "not measured yet: too few tiles were looked over for what is missing"
    said = _share(entry.recall, entry.low, entry.high)
    return f"{said}, from {entry.tiles} tiles that stewards looked over"


def _agreement(manifest: ReleaseManifest) -> str:
    entry = manifest.agreement
    waiting = f"; of all regions, {entry.open} are in dispute still" if entry else ""
    if entry is None or not entry.regions:
        return f"not measured yet: nothing that was planned for two stewards has both{waiting}"
    alpha = "" if entry.alpha is None else f"Krippendorff's alpha {entry.alpha:.2f}: "
    return (
        f"{alpha}two stewards differ on {entry.differ} of {entry.regions} regions that were "
        f"planned for two{waiting}"
    )


def _interval(entry: PrecisionEntry) -> str:
    return _share(entry.precision, entry.low, entry.high)


def _share(share: float, low: float, high: float) -> str:
    return f"{100 * share:.1f} % ({100 * low:.1f} to {100 * high:.1f} %)"
