"""Rules, merging and suppression of a million instances, against the paper's scripts.

    python -m benchmarks.routing SCRIPTS [IMAGES]

SCRIPTS is the folder `LAE-Label/post_process` of LAE-DINO; its scripts are run as they are: filter,
class list, merging (with a stand-in for CLIP, whose vectors the engine is given, too) and
suppression. IMAGES (20,000) of 50 instances each are written twice, as the engine's tables and as
the scripts' JSON lines, and the engine's `route` is run by the preset `lae-paper`: it reads the
tables, applies the rules, merges, suppresses and writes the decisions. Each runs in a process of
its own; its libraries are imported before the clock starts. On a machine with other work the
seconds of CPU tell more than those of the clock.

The script for suppression takes corners for widths, treats the first line of each file only, and
saves nothing. So it is timed twice: as it is, and with a file for each image and boxes as it
understands them, so that it does the whole work. The second counts in the ratio.

A sample of the images is decided once more, record by record, and compared with the decisions.
For comparison, the engine's time by the preset `default`, whose rules are more and which compares
masks, is printed, too; it counts in no ratio.
"""

import hashlib
import json
import os
import runpy
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from lae_tasks import night as nights
from lae_tasks.config_file import load_config
from lae_tasks.contracts import (
    Assignment,
    Decision,
    Done,
    Label,
    Merge,
    Record,
    Region,
    Scene,
    Tile,
)
from lae_tasks.geometry import encode_mask
from lae_tasks.night import Night, run_stage
from lae_tasks.runner import Work, read_manifest, run
from lae_tasks.storage import LocalStorage
from lae_tasks.tables import read_table

NIGHT = "2026-11-22"
PER_IMAGE, IMAGES_OF_A_SHARD, CHECKED_IMAGES = 50, 400, 300
SIDE_PX = 1024
UNRECOGNIZED = "Unrecognized"
FIRST = ("small", "large", "parked", "old", "open", "round", "white", "flat", "narrow", "tall")
SECOND = ("ship", "tank", "court", "field", "tower", "hangar", "bridge", "pond", "yard", "dock")
SCRIPTS = {
    "filter": "1_filter_annoatitions.py",
    "class list": "2_extract_classes.py",
    "merging": "3_merge_classes.py",
    "suppression, as it is": "4_nms.py",
    "suppression, made to work": "4_nms.py",
}
COUNTED = ("filter", "class list", "suppression, made to work")
KINDS = ("seconds", "cpu_seconds", "peak_mb")
DATA = "LAE-COD-Annotations"
out = Console(highlight=False)


@lru_cache(maxsize=2 * IMAGES_OF_A_SHARD)
def instances(image: int) -> list[dict[str, Any]]:
    """The instances of an image, the same each time; each second is drawn near the first."""
    draw = np.random.default_rng(image)
    corners = draw.integers(20, SIDE_PX - 130, (PER_IMAGE, 2))
    sides = 8 * draw.integers(3, 13, (PER_IMAGE, 2))
    # Few names are frequent, many are rare; a name has three spellings.
    thing, spelling = (
        draw.exponential(15, PER_IMAGE).astype(int) % 100,
        draw.integers(0, 3, PER_IMAGE),
    )
    corners[1::2] = corners[::2] + draw.integers(-12, 13, (PER_IMAGE // 2, 2))
    sides[1::2], thing[1::2] = sides[::2], thing[::2]
    likelihoods = draw.uniform(0.75, 1, PER_IMAGE).round(2)
    found = []
    for (x, y), (width, height), a, b, likelihood, is_known in zip(
        corners.tolist(),
        sides.tolist(),
        thing.tolist(),
        spelling.tolist(),
        likelihoods.tolist(),
        draw.random(PER_IMAGE) > 0.03,
        strict=True,
    ):
        name = f"{FIRST[a % 10]} {SECOND[a // 10]}"
        said = (name, name.title(), f"{name}s")[b] if is_known else UNRECOGNIZED
        box = [x, y, x + width, y + height]
        found.append({"bbox": box, "category": said, "likelihood": likelihood})
    return found


def vectors(texts: Iterable[str]) -> npt.NDArray[np.float32]:
    """Unit vectors of names; the spellings of a name are nearly the same."""
    rows = []
    for text in texts:
        drawn = [
            np.random.default_rng(list(part.encode())).normal(size=512)
            for part in (text.lower().removesuffix("s"), text)
        ]
        row = drawn[0] + 0.1 * drawn[1]
        rows.append(row / np.linalg.norm(row))
    return np.array(rows, dtype=np.float32)


# The engine


def open_night(folder: Path, preset: str) -> Night:
    """The night over the tables of a folder, by the settings of a preset."""
    settings = folder / "lae.yaml"
    settings.write_text(f"preset: {preset}\nraw: raw\nstore: store\n")
    config = load_config(settings)
    return Night(NIGHT, config, LocalStorage(folder / "raw"), LocalStorage(folder / "store"))


def write_tables(night: Night, images: int) -> None:
    """Commits what the stages before route would have made; each image is a scene of one tile."""
    made: list[Done] = []
    for start in range(0, images, IMAGES_OF_A_SHARD):
        shard = f"{start // IMAGES_OF_A_SHARD:04d}"
        some = range(start, min(start + IMAGES_OF_A_SHARD, images))
        for image in some:
            assignment = Assignment(scene_id=name_of(image), shard=shard)
            made.append(Done(name_of(image), (scene_of(image), assignment)))
        commit(night, "tile", shard, (Tile,), (Done(name_of(i), [tile_of(i)]) for i in some))
        commit(night, "segment", shard, (Region,), (Done(name_of(i), regions_of(i)) for i in some))
        commit(night, "classify", shard, (Label,), (Done(name_of(i), labels_of(i)) for i in some))
    commit(night, "ingest", "all", (Scene, Assignment), made)


def commit(
    night: Night, stage: str, shard: str, kinds: tuple[type[Record], ...], made: Iterable[Done]
) -> None:
    """Writes tables with their manifest, as the stage does."""
    results = list(made)
    work = Work(stage, NIGHT, shard, kinds, "made up", ())
    run(night.store, work, [done.record_id for done in results], results)


def name_of(image: int) -> str:
    """The id of the image's scene and tile."""
    return hashlib.sha256(str(image).encode()).hexdigest()[:16]


def scene_of(image: int) -> Scene:
    """The image as a scene."""
    return Scene(
        scene_id=name_of(image),
        raw_key=f"{image}.png",
        etag="",
        size_bytes=1,
        width_px=SIDE_PX,
        height_px=SIDE_PX,
        bands=3,
        dtype="uint8",
        crs=None,
        transform=None,
        gsd_m=None,
        acquired_at=None,
    )


def tile_of(image: int) -> Tile:
    """Its only tile."""
    return Tile(
        tile_id=name_of(image),
        scene_id=name_of(image),
        raw_key=f"{image}.png",
        window_px=(0, 0, SIDE_PX, SIDE_PX),
        image_key="",
        image_sha256="",
        valid_fraction=1.0,
    )


def region_id(image: int, number: int) -> str:
    """The id of an instance."""
    return hashlib.sha256(f"{image}|{number}".encode()).hexdigest()[:16]


def regions_of(image: int) -> list[Region]:
    """Its instances' regions."""
    found = []
    for number, instance in enumerate(instances(image)):
        x0, y0, x1, y1 = instance["bbox"]
        mask_rle, area_px = ellipse(x1 - x0, y1 - y0)
        found.append(
            Region(
                region_id=region_id(image, number),
                tile_id=name_of(image),
                scene_id=name_of(image),
                bbox_xyxy_px=(x0, y0, x1, y1),
                mask_rle=mask_rle,
                area_px=area_px,
                predicted_iou=0.9,
                stability_score=0.95,
                prompt_type="grid",
            )
        )
    return found


@lru_cache
def ellipse(width: int, height: int) -> tuple[str, int]:
    """A mask that fills its box as far as an ellipse does, and its area."""
    rows, columns = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    mask = rows**2 + columns**2 <= 1
    return encode_mask(mask), int(mask.sum())


def labels_of(image: int) -> list[Label]:
    """Its instances' labels."""
    found = []
    for number, instance in enumerate(instances(image)):
        name, likelihood = instance["category"], instance["likelihood"]
        found.append(
            Label(
                region_id=region_id(image, number),
                model_revision="made up",
                prompt_sha256="0" * 64,
                category_said=None if name == UNRECOGNIZED else name,
                likelihood_said=likelihood,
                token_confidence=likelihood,
                crop_std=30.0,
                reply=f'"{name}" with likelihood {likelihood}. Its outline and its shadow say so.',
            )
        )
    return found


class StandIn:
    """For CLIP's part of the engine: `vectors`."""

    revision = None

    def embed_names(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Unit vectors (n, 512)."""
        return vectors(texts)


def run_engine(folder: Path, preset: str) -> None:
    """Routes the night."""
    import pandas  # noqa: F401 (pyarrow would, with the first array)

    from lae_tasks.names import canonical_form

    canonical_form("ships")  # inflect is imported with the first name
    nights.text_embedder = lambda *_: StandIn()
    night = open_night(folder, preset)
    timed(lambda: run_stage(night, "route"))


# The scripts


def write_json_lines(folder: Path, images: int) -> None:
    """The same instances for the scripts, and the folders that they expect."""
    for version in ("", "-v1", "-v4"):
        (folder / "data" / f"{DATA}{version}").mkdir(parents=True)
    (folder / "data" / f"{DATA}-v3").symlink_to(f"{DATA}-v1")
    with (folder / "data" / DATA / "SLM_odvg.jsonl").open("w") as file:
        for image in range(images):
            line = {"filename": f"{image}.png", "height": SIDE_PX, "width": SIDE_PX}
            file.write(json.dumps(line | {"detection": {"instances": instances(image)}}) + "\n")


def prepare(step: str, data: Path) -> None:
    """Puts the files where the step looks for them: each was written for another folder."""
    filtered, merged = data / f"{DATA}-v1", data / f"{DATA}-v4"
    if step == "class list":
        merged.rmdir()
        merged.symlink_to(filtered.name)
    elif step == "merging":
        merged.unlink()
        merged.mkdir()
    elif step == "suppression, made to work":
        (whole,) = merged.glob("*.jsonl")
        for number, line in enumerate(whole.read_text().splitlines()):
            image = json.loads(line)
            for instance in image["detection"]["instances"]:
                x0, y0, x1, y1 = instance["bbox"]
                instance["bbox"] = [x0, y0, x1 - x0, y1 - y0]
            (merged / f"{number}.jsonl").write_text(json.dumps(image))
        whole.unlink()


def run_script(script: Path) -> None:
    """Runs a script of the paper."""
    if script.name == SCRIPTS["merging"]:
        stand_in_for_clip()
    else:
        import cv2  # noqa: F401
    timed(lambda: runpy.run_path(str(script), run_name="__main__"))


def stand_in_for_clip() -> None:
    """Puts a module in CLIP's place that gives `vectors`."""
    import torch

    class Model:
        def encode_text(self, texts: Sequence[str]) -> torch.Tensor:
            return torch.from_numpy(vectors(texts))

    class Texts(list[str]):
        def to(self, _: str) -> "Texts":
            return self

    sys.modules["clip"] = SimpleNamespace(  # type: ignore[assignment]
        load=lambda *_, **__: (Model(), None), tokenize=Texts
    )


# What it took


def timed(work: Callable[[], object]) -> None:
    """Does the work, and writes what it took as JSON."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    status = Path("/proc/self/status").read_text().splitlines()
    (peak_kb,) = (line.split()[1] for line in status if line.startswith("VmHWM:"))
    took = {
        "seconds": time.perf_counter() - wall,
        "cpu_seconds": time.process_time() - cpu,
        "peak_mb": int(peak_kb) / 1024,
    }
    sys.stdout.write(json.dumps(took))


def measured(folder: Path, *arguments: str) -> dict[str, float]:
    """Seconds and peak of a run of this module in a process of its own."""
    place = {"PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-m", "benchmarks.routing", *arguments]
    pipe = subprocess.PIPE
    done = subprocess.run(command, cwd=folder, env=os.environ | place, stdout=pipe, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def is_right(night: Night, images: int) -> bool:
    """Whether the decisions are those of the definition, record by record, on some images."""
    manifest = read_manifest(night.store, "route", NIGHT, "all")
    assert manifest
    canonical = {m.name: m.canonical for m in read_table(night.store, manifest.outputs[1], Merge)}
    checked = {name_of(i): i for i in range(0, images, max(1, images // CHECKED_IMAGES))}
    found: dict[str, Decision] = {}
    for decision in read_table(night.store, manifest.outputs[0], Decision):
        if decision.scene_id in checked:
            found[decision.region_id] = decision
    expected = {
        name: what for image in checked.values() for name, what in defined(image, canonical).items()
    }
    return expected == {name: (d.outcome.value, d.rule) for name, d in found.items()}


def defined(image: int, canonical: dict[str, str]) -> dict[str, tuple[str, str]]:
    """Outcome and rule of each instance of an image, by the paper's rules."""
    decided: dict[str, tuple[str, str]] = {}
    left: list[tuple[float, list[int], str, str]] = []
    for number, instance in enumerate(instances(image)):
        name, likelihood = region_id(image, number), instance["likelihood"]
        if instance["category"] == UNRECOGNIZED:
            decided[name] = ("reject", "unrecognized")
        elif likelihood < 0.9:
            decided[name] = ("reject", "likelihood_below")
        else:
            left.append((-likelihood, instance["bbox"], canonical[instance["category"]], name))
    kept: list[tuple[list[int], str]] = []
    for _, box, category, name in sorted(left):
        twins = (iou(box, other) > 0.5 for other, its in kept if its == category)
        if any(twins):
            decided[name] = ("reject", "duplicate")
        else:
            kept.append((box, category))
            decided[name] = ("accept", "confident")
    return decided


def iou(one: list[int], other: list[int]) -> float:
    """Of two boxes, xyxy and half open."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0) * max(height, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return shared / (sum(areas) - shared)


def main(scripts: Path, images: int) -> None:
    """Prints seconds and peaks of both, and their ratios."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        night = open_night(folder, "lae-paper")
        write_tables(night, images)
        write_json_lines(folder, images)
        theirs = {}
        for step, script in SCRIPTS.items():
            prepare(step, folder / "data")
            theirs[step] = measured(folder, "script", str((scripts / script).absolute()))
        by_default = measured(folder, "engine", name, "default")
        ours = measured(folder, "engine", name, "lae-paper")
        right = is_right(night, images)
        manifest = read_manifest(night.store, "route", NIGHT, "all")
    table = Table("", *KINDS, title=f"{PER_IMAGE * images:,} instances")
    engine = {"route": ours, "route, by the preset default": by_default}
    for step, took in {**theirs, **engine}.items():
        table.add_row(step, *(f"{took[kind]:.1f}" for kind in KINDS))
    out.print(table)
    out.print(manifest.counts if manifest else "")
    out.print("decisions as defined:", "yes, on a sample" if right else "NO")
    for steps in (COUNTED, (*COUNTED, "merging")):
        told = []
        for kind in KINDS[:2]:
            total = sum(theirs[step][kind] for step in steps)
            told.append(f"{total:.1f} {kind}: ratio {total / ours[kind]:.1f}")
        out.print(f"{' + '.join(steps)}: {', '.join(told)}  (target >= 3)")
    peak = max(took["peak_mb"] for took in theirs.values())
    out.print(f"peak memory: {ours['peak_mb'] / peak:.2f} of the scripts' largest")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["engine", folder, preset]:
            run_engine(Path(folder), preset)
        case ["script", script]:
            run_script(Path(script))
        case [scripts] | [scripts, _]:
            main(Path(scripts), int((sys.argv[2:] or ["20000"])[0]))
        case _:
            raise SystemExit(__doc__)
