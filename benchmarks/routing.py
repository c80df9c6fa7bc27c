"""Rules, merging and suppression of a million instances, against the paper's scripts.

    python -m benchmarks.routing SCRIPTS [IMAGES]

SCRIPTS is the folder `LAE-Label/post_process` of LAE-DINO; its scripts are run as they are: filter,
class list, merging (with a stand-in for CLIP, whose vectors the engine is given, too) and
suppression. IMAGES (20,000) of 50 instances each are written twice, as the engine's tables and as
the scripts' JSON lines, and the engine's `route` is run by the preset `lae-paper`: it reads the
tables, applies the rules, merges, suppresses and writes the decisions. Each runs in a process of
its own, the quickest of three attempts counts, and libraries are imported before the clock starts.
On a machine with other work the seconds of CPU tell more than those of the clock.

The script for suppression takes corners for widths, treats the first line of each file only, and
saves nothing. So it is timed twice: as it is, and with a file for each image and boxes as it
understands them, so that it does the whole work. The second counts in the ratio.

A sample of the images is decided once more, record by record, and compared with the decisions.
For comparison, the engine's time by the preset `default`, whose rules are more and which compares
masks, is printed, too; it counts in no ratio.
"""

import json
import os
import runpy
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from benchmarks.made_up_night import (
    PER_IMAGE,
    SIDE_PX,
    UNRECOGNIZED,
    instances,
    name_of,
    region_id,
    write_tables,
)
from lae_tasks import night as nights
from lae_tasks.config_file import load_config
from lae_tasks.contracts import (
    Decision,
    Merge,
)
from lae_tasks.night import Night, run_stage
from lae_tasks.runner import read_manifest
from lae_tasks.storage import LocalStorage
from lae_tasks.tables import read_table

NIGHT = "2026-11-22"
CHECKED_IMAGES, ATTEMPTS = 300, 3
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


class StandIn:
    """For CLIP's part of the engine: `vectors`."""

    revision = None

    def embed_names(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Unit vectors (n, 512)."""
        return vectors(texts)


def run_engine(folder: Path, preset: str) -> None:
    """Routes the night."""
    import pandas  # noqa: F401 (pyarrow would, with the first array)

    from lae_tasks.naming.names import canonical_form

    canonical_form("ships")  # inflect is imported with the first name
    nights.text_embedder = lambda *_: StandIn()
    night = open_night(folder, preset)
    night.store.delete(f"runs/route/{NIGHT}/all.json")
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
    """Seconds and peak of a run of this module in a process of its own; the quickest of some."""
    attempts = [attempted(folder, *arguments) for _ in range(ATTEMPTS)]
    return min(attempts, key=lambda took: took["seconds"])


def attempted(folder: Path, *arguments: str) -> dict[str, float]:
    """Seconds and peak of one run."""
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
