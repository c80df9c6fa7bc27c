"""What a night's stages need of memory: over a large scene hardly more than over a small one.

    python -m benchmarks.memory [SIDE_PX] [FOLDER]

Runs ingest, tile and route over a scene of 3,000 px and one of SIDE_PX (30,000), each stage in a
process of its own, and prints their peak resident memory and its ratio. No model runs: between tile
and route, the script itself writes what segment and classify would say of every tile. The scenes
and the store lie in FOLDER, by default where temporary files do: about 5 GB for 30,000 px.
"""

import hashlib
import json
import logging
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rich.console import Console

from benchmarks.tiling import write_scene
from lae_tasks.accounts import Done
from lae_tasks.config import Config
from lae_tasks.contracts import Label, PromptType, Region, Tile
from lae_tasks.geometry import encode_mask
from lae_tasks.night import Night, plan, run_stage
from lae_tasks.runner import Work, read_manifest, run
from lae_tasks.storage import LocalStorage
from lae_tasks.tables import read_table

NIGHT = "2026-11-22"
STAGES = ("ingest", "tile", "route")
REGIONS_OF_A_TILE = 20
NAMES = (
    "airplane",
    "ship",
    "storage tank",
    "baseball diamond",
    "tennis court",
    "basketball court",
    "ground track field",
    "vehicle",
    "swimming pool",
    "roundabout",
)
REPLY = (
    '"{name}" with likelihood {likelihood}. Seen from above, its outline, its size beside what '
    "surrounds it, the shadow that it casts and the even tone of its surface are those of a {name}."
)
out = Console(highlight=False)


def open_night(folder: Path) -> Night:
    """A night over the scenes of a folder, by the default settings, and without CLIP."""
    raw, store = folder / "scenes", folder / "store"
    config = Config(preset="lae-paper", raw=str(raw), store=str(store), vocabulary=NAMES)
    return Night(NIGHT, config, LocalStorage(raw), LocalStorage(store))


def run_one(stage: str, folder: Path) -> None:
    """Runs a stage, and writes what it took, as JSON."""
    logging.getLogger("rasterio").setLevel(logging.ERROR)
    night = open_night(folder)
    started = time.perf_counter()
    for shard in plan(night) if stage == "tile" else ["all"]:
        rows = run_stage(night, stage, shard).outputs[0].rows
    seconds = time.perf_counter() - started
    # Of this process alone; getrusage would count what the one that started it had.
    status = Path("/proc/self/status").read_text().splitlines()
    (peak_kb,) = (line.split()[1] for line in status if line.startswith("VmHWM:"))
    found = {"rows": rows, "peak_mb": round(int(peak_kb) / 1024), "seconds": round(seconds, 1)}
    sys.stdout.write(json.dumps(found))


def invent(night: Night) -> None:
    """Commits regions and labels for every tile of the night."""
    for shard in plan(night):
        cut = read_manifest(night.store, "tile", night.night, shard)
        assert cut
        tiles = read_table(night.store, cut.outputs[0], Tile)
        for stage, kind, place in (("segment", Region, 0), ("classify", Label, 1)):
            work = Work(stage, night.night, shard, (kind,), "invented", ())
            results = (Done(tile.tile_id, [pair[place] for pair in named(tile)]) for tile in tiles)
            run(night.store, work, [tile.tile_id for tile in tiles], results)


def named(tile: Tile) -> Iterator[tuple[Region, Label]]:
    """Regions of a tile with their labels, the same each time."""
    draw = np.random.default_rng(int(hashlib.sha256(tile.tile_id.encode()).hexdigest()[:8], 16))
    for number in range(REGIONS_OF_A_TILE):
        width, height = (int(side) for side in draw.integers(20, 200, 2))
        x, y = (int(corner) for corner in draw.integers(0, 800, 2))
        x, y = x + tile.window_px[0], y + tile.window_px[1]
        rows, columns = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
        mask = rows**2 + columns**2 + draw.normal(0, 0.01, (height, width)) < 0.95
        score = round(float(draw.uniform(0.5, 1)), 2)
        name = NAMES[draw.integers(len(NAMES))]
        region_id = hashlib.sha256(f"{tile.tile_id}|{number}".encode()).hexdigest()[:16]
        region = Region(
            region_id=region_id,
            tile_id=tile.tile_id,
            scene_id=tile.scene_id,
            bbox_xyxy_px=(x, y, x + width, y + height),
            mask_rle=encode_mask(mask),
            area_px=int(mask.sum()),
            predicted_iou=score,
            stability_score=score,
            prompt_type=PromptType.GRID,
        )
        label = Label(
            region_id=region_id,
            model_revision="invented",
            prompt_sha256="0" * 64,
            category_said=name,
            likelihood_said=score,
            token_confidence=score,
            clip_categories=(name,),
            clip_scores=(score,),
            clip_score_said=score,
            clip_agrees=True,
            crop_std=30.0,
            reply=REPLY.format(name=name, likelihood=score),
        )
        yield region, label


def measure(side_px: int, parent: Path | None) -> dict[str, int]:
    """Runs a night over one scene; the peak of each stage in MB."""
    peaks = {}
    with tempfile.TemporaryDirectory(dir=parent) as name:
        folder = Path(name)
        night = open_night(folder)
        night.raw.root.mkdir()
        write_scene(night.raw.root / "a.tif", side_px)
        for stage in STAGES:
            if stage == "route":
                invent(night)
            command = [sys.executable, "-m", "benchmarks.memory", "stage", stage, name]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            found = json.loads(done.stdout)
            peaks[stage] = found["peak_mb"]
            out.print(f"{side_px:6} px  {stage:6} {found}")
    return peaks


def main(side_px: int, parent: Path | None) -> None:
    """Prints the peaks over both scenes, and their ratio."""
    small, large = measure(3000, parent), measure(side_px, parent)
    for stage in STAGES:
        out.print(f"ratio of {stage:6} {large[stage] / small[stage]:.2f}")
    ratio = max(large.values()) / max(small.values())
    out.print(f"ratio of the peak of all three {ratio:.2f}  (target <= 1.25)")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["stage", stage, folder]:
            run_one(stage, Path(folder))
        case [] | [_] | [_, _]:
            side, *rest = sys.argv[1:] or ["30000"]
            main(int(side), Path(rest[0]) if rest else None)
        case _:
            raise SystemExit(__doc__)
