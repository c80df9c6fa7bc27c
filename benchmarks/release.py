"""A release of a million instances: how long it takes, how much memory, and how that grows.

    python -m benchmarks.release [10000 100000 1000000] [--s3] [--all-formats]

From made-up records, 50 to an image of 1024 px, all of scenes with a place on the ground, 25 images
each: `publish` with all that it does once the records are put together, which is splits, tables and
digest, validation, diff, formats, card and metadata, upload and manifest. Three versions:

- `first`: all instances;
- `relabelled`: another category for one object in a hundred;
- `grown`: the same instances after a version that had one image in a hundred, so nearly all of them
  are new. It has a store of its own.

Each image is a file of its own, but a small one: images are by reference, a release copies none.
The store is a folder, or a bucket on a real S3 server of this machine (`--s3`). Each size runs in a
process of its own.

The peer is what most tools do: the whole COCO file as one Python object through `json.dumps`. What
both files say must be the same.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import multiprocessing
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import get_args

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from demo.stack.services import S3Server, s3_server
from lae_tasks.config import Config, FormatName
from lae_tasks.formats import coco
from lae_tasks.formats.writing import Source, write
from lae_tasks.imagery.georeference import Georeference
from lae_tasks.regions.rle import rle_in_frame
from lae_tasks.releases.dataset import (
    ANNOTATION_SCHEMA,
    Annotations,
    Category,
    Dataset,
    ReleaseImage,
)
from lae_tasks.releases.manifest import read_release
from lae_tasks.releases.statement import Statement
from lae_tasks.stages import release
from lae_tasks.stages.tile import encode_png, image_key
from lae_tasks.state import State
from lae_tasks.storage import Storage, open_storage

PER_IMAGE, PER_SCENE, SIDE_PX = 50, 25, 1024
CATEGORIES = 40
MASKS = 2_000
#: With more, what the peer needs is no news.
PEER_UP_TO = 100_000
#: What of `publish` is timed on its own.
_STEPS = ("with_splits", "write", "diff_datasets", "validate", "_local_files", "_upload", "_finish")
console = Console(soft_wrap=True)


@dataclass
class Measured:
    """How long each step took, in seconds, and the most memory of the process, in MB."""

    count: int
    steps: dict[str, float] = field(default_factory=dict)
    peaks_mb: dict[str, float] = field(default_factory=dict)
    prefix: str = ""
    peak_mb: float = 0.0
    made_mb: float = 0.0
    peer_mb: float = 0.0

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Adds what the block takes."""
        step, start = self.prefix + step, time.perf_counter()
        if not step.endswith("all"):
            self._reset_peak()
        yield
        self.steps[step] = self.steps.get(step, 0.0) + time.perf_counter() - start
        self.peaks_mb[step] = max(self.peaks_mb.get(step, 0.0), self._peak())

    def _peak(self) -> float:
        """The most memory since the last reset, in MB; the most of all is kept."""
        status = Path("/proc/self/status").read_text()
        now = int(status.split("VmHWM:")[1].split()[0]) / 1024
        self.peak_mb = max(self.peak_mb, now)
        return now

    def _reset_peak(self) -> None:
        self._peak()
        Path("/proc/self/clear_refs").write_text("5")

    def watch(self, name: str) -> None:
        """Times a function that `publish` calls."""
        function = vars(release)[name]

        def timed(*args: object, **kwargs: object) -> object:
            with self.timed(f"  {name}"):
                return function(*args, **kwargs)

        vars(release)[name] = timed


def made_up(count: int, store: Storage) -> Dataset:
    """Records as the engine would put them together; half their masks are discs, half bars."""
    generator = np.random.default_rng(0)
    numbers = range(math.ceil(count / PER_IMAGE))
    png = encode_png(np.full((SIDE_PX, SIDE_PX, 3), 128, dtype=np.uint8))
    with ThreadPoolExecutor(8) as pool:
        digests = pool.map(lambda number: _stored(store, png, number), numbers)
        images = tuple(map(_image, numbers, digests))
    categories = tuple(Category(n + 1, f"category {n:02d}") for n in range(CATEGORIES))
    shapes = [
        np.hypot(*(np.mgrid[0:41, 0:41] - 20)) < 20,
        np.ones((24, 60), dtype=bool),
    ]
    places = generator.integers(0, SIDE_PX - 64, size=(MASKS, 2)).tolist()
    masks, boxes, areas = [], [], []
    for number, (x, y) in enumerate(places):
        shape = shapes[number % 2]
        masks.append(rle_in_frame(shape, x, y, SIDE_PX, SIDE_PX))
        boxes.append((x, y, x + shape.shape[1], y + shape.shape[0]))
        areas.append(int(shape.sum()))
    which = generator.integers(0, MASKS, size=count)
    image = np.arange(count) // PER_IMAGE
    category = generator.integers(0, CATEGORIES, size=count)
    box = np.array(boxes)[which]
    offset = (image % PER_SCENE * SIDE_PX)[:, None] * np.array([1, 0, 1, 0])
    score = generator.uniform(0.9, 1.0, size=count).round(4)
    lon_lat = generator.uniform(8, 9, size=(count, 2)).round(7)
    columns = {
        "annotation_id": np.arange(1, count + 1),
        "image_id": image + 1,
        "region_id": [f"{number:016x}" for number in range(count)],
        "category_id": category + 1,
        "category": pa.array([each.name for each in categories]).take(pa.array(category)),
        "bbox_xyxy_px": _lists(box),
        "mask_rle": pa.array(masks).take(pa.array(which)),
        "area_px": np.array(areas)[which],
        "bbox_scene_xyxy_px": _lists(box + offset),
        "score": score,
        "source": pa.array(["engine:confident", "steward"]).take(pa.array(which % 2)),
        "area_m2": np.array(areas)[which] * 0.25,
        "lon_lat": _lists(lon_lat),
    }
    arrays = [
        pa.array(columns[f.name], f.type)
        if not isinstance(columns[f.name], pa.Array)
        else columns[f.name].cast(f.type)
        for f in ANNOTATION_SCHEMA
    ]
    return Dataset(images, Annotations(pa.table(arrays, schema=ANNOTATION_SCHEMA)), categories)


def _stored(store: Storage, png: bytes, number: int) -> str:
    """Stores an image that differs from the others behind its end, where no reader looks."""
    content = png + number.to_bytes(4, "big")
    sha256 = hashlib.sha256(content).hexdigest()
    store.write(image_key(sha256), content)
    return sha256


def _lists(rows: np.ndarray) -> pa.Array:
    flat = pa.array(rows.ravel())
    item = pa.field("item", flat.type, nullable=False)
    return pa.FixedSizeListArray.from_arrays(flat, type=pa.list_(item, rows.shape[1]))


def _image(number: int, sha256: str) -> ReleaseImage:
    scene, part = divmod(number, PER_SCENE)
    east, north = 300_000.0 + scene % 40 * 20_000, 5_000_000.0 + scene // 40 * 1_000
    place = Georeference("EPSG:32632", (0.5, 0.0, east, 0.0, -0.5, north))
    window = (part * SIDE_PX, 0, SIDE_PX, SIDE_PX)
    return ReleaseImage(
        image_id=number + 1,
        tile_id=f"{scene:016x}-{window[0]}-0-{SIDE_PX}x{SIDE_PX}",
        scene_id=f"{scene:016x}",
        scene_key=f"raw/scene-{scene:05d}.tif",
        window_px=window,
        key=image_key(sha256),
        sha256=sha256,
        place=place.window(window[0], 0),
    )


def measure(count: int, formats: tuple[FormatName, ...], s3: S3Server | None) -> Measured:
    """Publishes so many instances in three versions."""
    found = Measured(count)
    for name in _STEPS:
        found.watch(name)
    vars(release)["make_statement"] = lambda *_: Statement()
    with tempfile.TemporaryDirectory() as folder:
        stores = [_store(folder, f"{count}-{name}", s3) for name in ("one", "other")]
        dataset = made_up(count, stores[0])
        found.made_mb = found._peak()
        result = _publish(found, "first", dataset, stores[0], formats)
        assert result.manifest.counts["annotations"] == count
        result = _publish(found, "relabelled", _with_changes(dataset), stores[0], formats)
        assert result.manifest.diff["relabelled"] == len(range(0, count, 100))
        made_up(count, stores[1])
        part = _part(dataset)
        _publish(found, "", part, stores[1], formats)
        result = _publish(found, "grown", dataset, stores[1], formats)
        assert result.manifest.diff["added"] == count - len(part.annotations)
        if count <= PEER_UP_TO:
            first = read_release(stores[0], "v1.0.0")
            compare_with_peer(found, dataset, stores[0], first.file(coco.PATH).key)
    return found


def _store(folder: str, name: str, s3: S3Server | None) -> Storage:
    if s3 is None:
        return open_storage(f"{folder}/{name}")
    client = s3.client()
    client.create_bucket(Bucket=name)
    return open_storage(f"s3://{name}/store", client)


def _publish(
    found: Measured,
    version: str,
    content: Dataset,
    store: Storage,
    formats: tuple[FormatName, ...],
) -> release.ReleaseResult:
    """Publishes a dataset; without a name it is not measured."""
    config = Config(preset="demo", raw=f"{store.uri}-raw", store=store.uri)
    config = config.model_copy(
        update={"release": config.release.model_copy(update={"formats": formats})}
    )
    vars(release)["assemble"] = lambda *_: content
    found.prefix = f"{version}: "
    with found.timed("all"):
        result = release.publish(State, config, store)
    if not version:
        found.steps = {step: s for step, s in found.steps.items() if not step.startswith(": ")}
    return result


def _part(dataset: Dataset) -> Dataset:
    """The first of a hundred images."""
    images = dataset.images[: max(1, len(dataset.images) // 100)]
    rows = dataset.annotations.table.slice(0, len(images) * PER_IMAGE)
    return replace(dataset, images=images, annotations=Annotations(rows))


def _with_changes(dataset: Dataset) -> Dataset:
    """Each hundredth object has another category."""
    table = dataset.annotations.table
    ids = table["category_id"].to_numpy().copy()
    ids[::100] = ids[::100] % CATEGORIES + 1
    names = pa.array([each.name for each in dataset.categories]).take(pa.array(ids - 1))
    for name, column in (("category_id", pa.array(ids)), ("category", names)):
        place = table.schema.get_field_index(name)
        table = table.set_column(place, table.schema.field(name), column)
    return replace(dataset, annotations=Annotations(table))


def compare_with_peer(found: Measured, dataset: Dataset, store: Storage, key: str) -> None:
    """The same COCO file the usual way, in seconds and MB above what is there by then."""
    source = Source(dataset, Config(preset="demo", raw="r", store="s").release, lambda _: b"")
    found.prefix = ""
    with tempfile.TemporaryDirectory() as folder, found.timed("coco alone"):
        write(source, ["coco"], Path(folder))
    ours = json.loads(store.read(key))
    found._reset_peak()
    before = found._peak()
    with found.timed("peer"):
        whole = {
            "info": ours["info"],
            "licenses": ours["licenses"],
            "categories": ours["categories"],
            "images": ours["images"],
            "annotations": [
                coco._annotation(each, (SIDE_PX, SIDE_PX)) for each in dataset.annotations
            ],
        }
        text = json.dumps(whole, sort_keys=True, ensure_ascii=False)
    found.peer_mb = found.peaks_mb["peer"] - before
    assert json.loads(text) == ours


def _told(found: Measured, step: str) -> str:
    if step not in found.steps:
        return ""
    return f"{found.steps[step]:.1f} s, {found.peaks_mb[step]:,.0f} MB"


def main() -> None:
    """Measures each size in a process of its own, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("counts", nargs="*", type=int, default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--s3", action="store_true", help="publish to an S3 server")
    parser.add_argument("--all-formats", action="store_true", help="not the default ones alone")
    options = parser.parse_args()
    default = Config(preset="demo", raw="raw", store="store").release.formats
    formats = get_args(FormatName) if options.all_formats else default
    console.print(f"formats: {', '.join(formats)}")
    context = multiprocessing.get_context("spawn")
    results = []
    with tempfile.TemporaryDirectory() as folder:
        served = s3_server(Path(folder)) if options.s3 else nullcontext()
        with served as s3:
            for count in options.counts:
                with context.Pool(1) as pool:
                    results.append(pool.apply(measure, (count, formats, s3)))
    tell(results)


def tell(results: list[Measured]) -> None:
    """Prints the steps, and how they grow."""
    table = Table("step", *(f"{each.count:,}" for each in results))
    for step in results[-1].steps | results[0].steps:
        table.add_row(step, *(_told(each, step) for each in results))
    table.add_row("peak", *(f"{each.peak_mb:,.0f} MB" for each in results))
    table.add_row("of that, made-up records", *(f"{each.made_mb:,.0f} MB" for each in results))
    console.print(table)
    pairs = [*pairwise(results), *[(results[0], results[-1])] * (len(results) > 2)]
    for one, other in pairs:
        for version in ("first", "relabelled", "grown"):
            grown = math.log(other.steps[f"{version}: all"] / one.steps[f"{version}: all"])
            console.print(
                f"{version}: from {one.count:,} to {other.count:,} it grows with the power of "
                f"{grown / math.log(other.count / one.count):.2f}"
            )
    for each in results:
        if "peer" in each.steps:
            console.print(
                f"{each.count:,}: COCO streamed takes {each.steps['coco alone']:.1f} s, the whole "
                f"through json.dumps {each.steps['peer']:.1f} s and {each.peer_mb:,.0f} MB"
            )


if __name__ == "__main__":
    main()
