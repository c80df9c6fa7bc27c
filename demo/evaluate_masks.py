"""Measure the engine's regions: which objects have one, and what cutting scenes into tiles costs.

    python -m demo.evaluate_masks [--imagery DIR] [--contact-sheet OUT.png]

Scenes are ingested, tiled and segmented by the engine's own stages, with the demo's settings. The
figures are printed and written to ``demo/models/masks.json``:

* ``synthetic``: recall of the objects of the ten categories at mask IoU 0.5, by COCO's sizes, in
  scenes of 1,024 px that nothing was trained on: for the paper's choice of regions (the 10 largest
  of a tile), for ours (the 10 best, by size classes in turn), and for the demo's 60. The tiles are
  the same.
* ``cutting``: see ``demo.cutting``.
* ``imagery``: recall by box IoU 0.5 in the real images of DIR, of whose truth, ``truth/coco.json``,
  there are boxes only. The demo's model never saw a real image.

A contact sheet shows the regions of the real images. What was not measured this time stays in the
file, if it is of the same model.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image as PillowImage
from pycocotools import mask as coco_mask
from rich.console import Console
from rich.progress import track
from rich.table import Table

from demo.contact_sheet import Cell, contact_sheet
from demo.cutting import SIDE_PX, Cutting
from demo.evaluate_models import checksums, demo_config, used_settings
from demo.metrics import mask_overlaps, mean
from demo.scenes import SyntheticScene, generate_scene
from demo.scenes.world import encode_mask
from demo.train.data import HELD_OUT_SEED
from lae_tasks.accounts import Done
from lae_tasks.backends.masks import load_mask_generator
from lae_tasks.backends.protocols import Floats, Image, MaskGenerator, MaskProposal
from lae_tasks.config import Config, SegmentConfig
from lae_tasks.contracts import Region, Scene, Tile
from lae_tasks.geometry import decode_mask, mask_in_window
from lae_tasks.imagery.raster import open_raster
from lae_tasks.stages import ingest, segment, tile
from lae_tasks.storage import LocalStorage

MODELS = Path("demo/models")
SCENES, CUT_SCENES = 12, 12
SCENE_PX = 1024
MATCH_IOU = 0.5
CHOICES: Mapping[str, dict[str, Any]] = {
    "paper: the 10 largest": {"choice": "largest", "max_regions": 10},
    "ours: 10, by size classes": {"choice": "stratified", "max_regions": 10},
    "the demo's 60, by size classes": {},
}
SIZES_PX = {"small": 32**2, "medium": 96**2, "large": float("inf")}
"""COCO's classes of sizes, by the area in pixels that each ends below."""

Figures = dict[str, Any]


class Remembering:
    """A MaskGenerator that makes the masks of an image once."""

    def __init__(self, generator: MaskGenerator) -> None:
        self.revision, self._generator = generator.revision, generator
        self._made: dict[bytes, list[MaskProposal]] = {}

    def generate(self, image: Image) -> list[MaskProposal]:
        """All masks of an RGB image (height, width, 3)."""
        key = image.tobytes()
        if key not in self._made:
            self._made[key] = self._generator.generate(image)
        return self._made[key]

    def answer(self, image: Image, prompts_xyxy_px: Floats) -> list[MaskProposal | None]:
        """As the generator's."""
        return self._generator.answer(image, prompts_xyxy_px)


@dataclass
class Workplace:
    """Where scenes lie, what segments them, and their tiles."""

    raw: LocalStorage
    store: LocalStorage
    config: Config
    generator: MaskGenerator
    _tiles: dict[str, list[Tile]] = field(default_factory=dict)

    def scene(self, key: str) -> Scene:
        """A scene as the night registers it."""
        info = self.raw.stat(key)
        (done,) = ingest.run([info] if info else [], self.raw, [], self.config.ingest)
        if not isinstance(done, Done):
            raise SystemExit(f"{key}: {done.reason}: {done.detail}")
        return next(each for each in done.outputs if isinstance(each, Scene))

    def regions(self, scene: Scene, config: SegmentConfig) -> list[Region]:
        """Its regions, by its tiles."""
        if scene.scene_id not in self._tiles:
            (cut,) = tile.run([scene], self.raw, self.store, self.config.tile)
            outputs = cut.outputs if isinstance(cut, Done) else ()
            self._tiles[scene.scene_id] = [each for each in outputs if isinstance(each, Tile)]
        tiles, scenes = self._tiles[scene.scene_id], {scene.scene_id: scene}
        made = segment.run(tiles, scenes, [], self.store, self.generator, config)
        return [region for done in made if isinstance(done, Done) for region in done.outputs]

    def image(self, key: str) -> Image:
        """A whole scene as it is shown to the model."""
        with open_raster(self.raw, key) as raster:
            stretch = raster.stretch(self.config.tile.stretch_percentiles)
            info = raster.info
            return raster.read_rgb((0, 0, info.width_px, info.height_px), stretch)[0]


@contextmanager
def workplace(raw: Path | None = None) -> Iterator[Workplace]:
    """A Workplace of the demo's model over a folder of scenes, by default an empty one."""
    config = demo_config(MODELS)
    with tempfile.TemporaryDirectory() as folder:
        scenes, store = raw or Path(folder) / "scenes", Path(folder) / "store"
        for each in (scenes, store):
            each.mkdir(exist_ok=True)
        generator = Remembering(load_mask_generator(config.segment, config.threads))
        yield Workplace(LocalStorage(scenes), LocalStorage(store), config, generator)


def size_class(area_px: float) -> str:
    """`small`, `medium` or `large`."""
    return next(name for name, end in SIZES_PX.items() if area_px < end)


def box_overlaps(
    boxes_xyxy_px: Sequence[Sequence[float]], truth_xywh_px: Sequence[Sequence[float]]
) -> npt.NDArray[np.float64]:
    """Box IoU of every region (R) with every true box (T) in COCO's form: (R, T)."""
    if not len(boxes_xyxy_px) or not len(truth_xywh_px):
        return np.zeros((len(boxes_xyxy_px), len(truth_xywh_px)))
    boxes = np.array(boxes_xyxy_px, dtype=np.float64)
    boxes[:, 2:] -= boxes[:, :2]
    truth = np.array(truth_xywh_px, dtype=np.float64)
    return np.asarray(coco_mask.iou(boxes, truth, [0] * len(truth)), dtype=np.float64)


class Recall:
    """Counts found objects by size."""

    def __init__(self) -> None:
        self._found: defaultdict[str, list[bool]] = defaultdict(list)
        self.regions = 0

    def add(self, overlaps: npt.NDArray[np.float64], areas_px: Sequence[float]) -> None:
        """Takes in a scene: IoU (regions, objects), and the objects' areas."""
        self.regions += len(overlaps)
        found = (overlaps >= MATCH_IOU).any(axis=0)
        for area_px, hit in zip(areas_px, found.tolist(), strict=True):
            self._found[size_class(area_px)].append(hit)

    def figures(self) -> Figures:
        """Recall of all and by size, the objects of each size, and the regions."""
        by_size = {name: self._found[name] for name in SIZES_PX}
        return {
            "recall": mean([hit for hits in by_size.values() for hit in hits]),
            "recall_by_size": {name: mean(hits) for name, hits in by_size.items()},
            "objects_by_size": {name: len(hits) for name, hits in by_size.items()},
            "regions": self.regions,
        }


def synthetic_figures(count: int) -> Figures:
    """Recall by choice, in synthetic scenes cut into tiles."""
    recalls = {name: Recall() for name in CHOICES}
    seeds = range(HELD_OUT_SEED, HELD_OUT_SEED + count)
    with workplace() as place:
        for seed in track(seeds, "Synthetic scenes"):
            drawn = generate_scene(seed, SCENE_PX)
            PillowImage.fromarray(drawn.image).save(place.raw.root / f"{seed}.png")
            scene = place.scene(f"{seed}.png")
            for name, changes in CHOICES.items():
                config = place.config.segment.model_copy(update=changes)
                _add(recalls[name], drawn, place.regions(scene, config))
    by_choice = {name: recall.figures() for name, recall in recalls.items()}
    return {"seeds": [seeds.start, seeds.stop - 1], "scene_px": SCENE_PX, "choices": by_choice}


def _add(recall: Recall, drawn: SyntheticScene, regions: Sequence[Region]) -> None:
    window = (0, 0, SCENE_PX, SCENE_PX)
    masks = []
    for region in regions:
        mask = decode_mask(region.mask_rle, region.bbox_xyxy_px)
        placed = mask_in_window(mask, region.bbox_xyxy_px, window)
        masks.append(coco_mask.encode(np.asfortranarray(placed, dtype=np.uint8)))
    objects = [item for item in drawn.objects if item.category]
    truth = [encode_mask(item, SCENE_PX, SCENE_PX) for item in objects]
    recall.add(mask_overlaps(masks, truth), [item.area_px for item in objects])


def cutting_figures(count: int) -> Figures:
    """What cutting does to the regions of objects."""
    seeds = range(HELD_OUT_SEED, HELD_OUT_SEED + count)
    scenes = [generate_scene(seed, SIDE_PX) for seed in seeds]
    with workplace() as place:
        # All regions: which of them are chosen is another question.
        config = place.config.segment.model_copy(update={"max_regions": 1_000_000})
        cutting = Cutting(place.generator, config, place.store, place.config.tile.overlap_px)
        return cutting.figures(scenes)


def imagery_figures(folder: Path, sheet: Path | None) -> Figures:
    """Recall by boxes in the real images that have a truth, and the contact sheet of all."""
    truth = json.loads((folder / "truth" / "coco.json").read_text())
    boxes: defaultdict[int, list[list[float]]] = defaultdict(list)
    for annotation in truth["annotations"]:
        boxes[annotation["image_id"]].append(annotation["bbox"])
    of_key = {image["file_name"]: boxes[image["id"]] for image in truth["images"]}
    pictures = sorted(f"images/{path.name}" for path in (folder / "images").iterdir())
    total, by_image, cells = Recall(), {}, []
    with workplace(folder) as place:
        keys = sorted({*of_key, *(pictures if sheet else ())})
        for key in track(keys, "Real images"):
            found = place.regions(place.scene(key), place.config.segment)
            if key in of_key:
                overlaps = box_overlaps([region.bbox_xyxy_px for region in found], of_key[key])
                recall = Recall()
                for each in (recall, total):
                    each.add(overlaps, [width * height for _, _, width, height in of_key[key]])
                by_image[key] = recall.figures()
            if sheet and key in pictures:
                cells.append(Cell(Path(key).name, place.image(key), found))
    if sheet:
        contact_sheet(cells).save(sheet)
    return {**total.figures(), "by_image": by_image}


def print_report(figures: Figures, console: Console) -> None:
    """Print recalls as a table, and what cutting does."""
    table = Table("Recall at IoU 0.5", "all", *SIZES_PX, "regions")
    rows = dict(figures.get("synthetic", {}).get("choices", {}))
    if "imagery" in figures:
        rows |= {"real images, boxes": figures["imagery"], **figures["imagery"]["by_image"]}
    for name, row in rows.items():
        shares = [row["recall"], *row["recall_by_size"].values()]
        shown = ["-" if share is None else f"{share:.3f}" for share in shares]
        table.add_row(name, *shown, str(row["regions"]))
    console.print(table)
    for name in ("cut", "shifted"):
        if row := figures.get("cutting", {}).get(name):
            console.print(
                f"{name:8}{row['objects']:5} objects; regions of each: {row['same']:.3f} as many "
                f"as in the whole scene, {row['fewer']:.3f} fewer, {row['more']:.3f} more"
            )


def main() -> None:
    """Evaluate the engine's regions with the committed model."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--scenes", type=int, default=SCENES, help="of 1,024 px; 0 for none")
    parser.add_argument("--cut-scenes", type=int, default=CUT_SCENES, help="of 512 px; 0 for none")
    parser.add_argument("--imagery", type=Path, help="folder of real images")
    parser.add_argument("--contact-sheet", type=Path, help="picture of the real images' regions")
    parser.add_argument("--output", type=Path, default=MODELS / "masks.json")
    args = parser.parse_args()
    if args.contact_sheet and not args.imagery:
        parser.error("--contact-sheet needs --imagery")
    made_by = {
        "sha256": checksums(MODELS)["sam/model.safetensors"],
        "segment": used_settings(demo_config(MODELS))["segment"],
    }
    figures: Figures = json.loads(args.output.read_text()) if args.output.is_file() else {}
    if figures.get("made_by") != made_by:  # figures of another model say nothing of this one
        figures = {"made_by": made_by}
    if args.scenes:
        figures["synthetic"] = synthetic_figures(args.scenes)
    if args.cut_scenes:
        figures["cutting"] = cutting_figures(args.cut_scenes)
    if args.imagery:
        figures["imagery"] = imagery_figures(args.imagery, args.contact_sheet)
    args.output.write_text(json.dumps(figures, indent=1) + "\n")
    print_report(figures, Console())


if __name__ == "__main__":
    main()
