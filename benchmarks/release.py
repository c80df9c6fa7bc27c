"""A release of a million instances: how long it takes, how much memory, and how that grows.

    python -m benchmarks.release [10000 100000 1000000]

From made-up records, 50 to an image of 1024 px, all of scenes with a place on the ground, 25 images
each: `publish` with all that it does once the records are put together, which is splits, tables and
digest, validation, default formats, card and metadata, upload and manifest. Then once more, with
another category for one object in a hundred. Images are by reference: all are the same one. Each
size runs in a process of its own.

The peer is what most tools do: the whole COCO file as one Python object through `json.dumps`. What
both files say must be the same.
"""

from __future__ import annotations

import hashlib
import json
import math
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from lae_tasks.config import Config
from lae_tasks.formats import coco
from lae_tasks.formats.writing import Source, write
from lae_tasks.geometry import encode_mask
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
    png = encode_png(np.full((SIDE_PX, SIDE_PX, 3), 128, dtype=np.uint8))
    sha256 = hashlib.sha256(png).hexdigest()
    store.write(image_key(sha256), png)
    images = tuple(_image(number, sha256) for number in range(math.ceil(count / PER_IMAGE)))
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
    assert all(encode_mask(shape) for shape in shapes)
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


def measure(count: int) -> Measured:
    """Publishes so many instances, and once more with some of them changed."""
    found = Measured(count)
    with tempfile.TemporaryDirectory() as folder:
        store = open_storage(f"{folder}/store")
        dataset = made_up(count, store)
        found.made_mb = found._peak()
        config = Config(preset="demo", raw=f"{folder}/raw", store=store.uri)
        for name in _STEPS:
            found.watch(name)
        made = iter((dataset, _with_changes(dataset)))
        vars(release)["assemble"] = lambda *_: next(made)
        vars(release)["make_statement"] = lambda *_: Statement()
        for again in (False, True):
            found.prefix = "again: " if again else ""
            with found.timed("all"):
                result = release.publish(State, config, store)
            assert result.manifest.counts["annotations"] == count
        assert result.manifest.diff["relabelled"] == len(range(0, count, 100))
        if count <= PEER_UP_TO:
            first = read_release(store, "v1.0.0")
            compare_with_peer(found, dataset, store, first.file(coco.PATH).key)
    return found


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
    found.peer_mb = found.peaks_mb["again: peer"] - before
    assert json.loads(text) == ours


def _told(found: Measured, step: str) -> str:
    if step not in found.steps:
        return ""
    return f"{found.steps[step]:.1f} s, {found.peaks_mb[step]:,.0f} MB"


def main(counts: list[int]) -> None:
    """Measures each size in a process of its own, and prints a table."""
    context = multiprocessing.get_context("spawn")
    results = []
    for count in counts:
        with context.Pool(1) as pool:
            results.append(pool.apply(measure, (count,)))
    table = Table("step", *(f"{each.count:,}" for each in results))
    for step in results[-1].steps | results[0].steps:
        table.add_row(step, *(_told(each, step) for each in results))
    table.add_row("peak", *(f"{each.peak_mb:,.0f} MB" for each in results))
    table.add_row("of that, made-up records", *(f"{each.made_mb:,.0f} MB" for each in results))
    console.print(table)
    for one, other in pairwise(results):
        for step in ("all", "again: all"):
            grown = math.log(other.steps[step] / one.steps[step])
            console.print(
                f"{step}: from {one.count:,} to {other.count:,} it grows with the power of "
                f"{grown / math.log(other.count / one.count):.2f}"
            )
    if len(results) > 2:
        first, last = results[0], results[-1]
        grown = math.log(last.steps["all"] / first.steps["all"])
        console.print(f"over all: {grown / math.log(last.count / first.count):.2f}")
    for each in results:
        if "peer" in each.steps:
            console.print(
                f"{each.count:,}: COCO streamed takes {each.steps['coco alone']:.1f} s, the whole "
                f"through json.dumps {each.steps['peer']:.1f} s and {each.peer_mb:,.0f} MB"
            )


if __name__ == "__main__":
    main([int(each) for each in sys.argv[1:]] or [10_000, 100_000, 1_000_000])
