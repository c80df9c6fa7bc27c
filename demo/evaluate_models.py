"""Measure the small models on scenes that nothing was trained on or chosen by.

``python -m demo.evaluate_models`` prints a table and writes ``evaluation.json``, which the model
cards quote. Segmenting and naming is the engine's own, with the settings of
``demo/lae.yaml``; the checksums of the measured files and the settings stand beside the figures.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table
from segment_anything import SamPredictor
from segment_anything.modeling import Sam

from demo.masks import CONFIG, full_rle, mask_settings
from demo.metrics import auroc, mask_overlaps, mean
from demo.naming import Naming, name_crops
from demo.scenes import CATEGORIES, SyntheticScene, generate_scene
from demo.scenes.world import encode_mask
from demo.train.clip import NAMES
from demo.train.crops import background_box
from demo.train.data import HELD_OUT_SEED, SCENE_PX, instance_map
from lae_tasks.backends.clip import ClipEmbedder
from lae_tasks.backends.lvlm import LocalClassifier
from lae_tasks.backends.masks import load_mask_generator
from lae_tasks.backends.protocols import Classifier, Image, MaskGenerator, TextEmbedder
from lae_tasks.backends.small_sam import load_small_sam
from lae_tasks.config import ClassifyConfig, Config, SegmentConfig
from lae_tasks.config_file import load_config
from lae_tasks.imagery.crops import crop_region
from lae_tasks.naming.prompt_template import load_template
from lae_tasks.regions.choice import chosen, quality, without_duplicates

MODELS = Path("demo/models")
SCENES = 100
MATCH_IOU, OFF_IOU = 0.5, 0.1
Figures = dict[str, Any]


def demo_config(models: Path) -> Config:
    """The demo's settings, on the CPU, for the models of a folder."""
    config = load_config(CONFIG)
    places = {"model": str(models / "lvlm"), "clip_model": f"local-dir:{models / 'clip'}"}
    classify = config.classify.model_copy(update={**places, "device": "cpu"})
    segment = mask_settings(models / "sam" / "model.safetensors")
    return config.model_copy(update={"segment": segment, "classify": classify})


def checksums(models: Path) -> dict[str, str]:
    """The sha256 of every file of the models, by its path in their folder; cards do not count."""
    files = sorted(path for path in models.glob("*/*") if path.suffix != ".md")
    return {
        path.relative_to(models).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def used_settings(config: Config) -> Figures:
    """The settings that the figures depend on."""
    segment, classify = config.segment, config.classify
    return {
        "threads": config.threads,
        "segment": segment.model_dump(mode="json", exclude=set(segment.places)),
        "classify": classify.model_dump(mode="json", exclude=set(classify.places)),
        "prompt_sha256": load_template(classify.prompt).sha256,
        "vocabulary": list(config.vocabulary.names),
    }


@dataclass(frozen=True)
class Masks:
    """The automatic masks of one scene.

    Attributes:
        segmentations: in COCO's run-length encoding.
        boxes_xyxy_px: their boxes.
        cpu_s: CPU seconds it took.
    """

    segmentations: list[dict[str, Any]]
    boxes_xyxy_px: list[list[int]]
    cpu_s: float


@dataclass
class NamedCrop:
    """A mask with what it lies on and what it was named.

    Attributes:
        kind: of the true object with the greatest IoU; None in an empty scene.
        category: that object's category, None for a distractor.
        iou: that IoU.
        object_id: scene and index of that object.
        naming: the LVLM's answer.
    """

    kind: str | None
    category: str | None
    iou: float
    object_id: tuple[int, int]
    naming: Naming

    @property
    def right(self) -> bool:
        """Whether the name is that of the object the mask is on."""
        return self.iou >= MATCH_IOU and self.naming.category == self.category


def one_point(sam: Sam, scenes: Sequence[SyntheticScene]) -> Figures:
    """IoU of the mask that the model itself ranks first, for one random point on each object."""
    predictor, rng = SamPredictor(sam), np.random.default_rng(0)
    chosen, best = defaultdict(list), []
    for scene in track(scenes, "One point per object"):
        predictor.set_image(scene.image)
        for item in scene.objects:
            truth = item.full_mask(SCENE_PX)
            pixels = np.argwhere(truth)
            y, x = pixels[rng.integers(len(pixels))]
            masks, quality, _ = predictor.predict(np.array([[x, y]]), np.array([1]))
            ious = [float((m & truth).sum() / (m | truth).sum()) for m in masks]
            chosen[item.kind].append(ious[int(quality.argmax())])
            best.append(max(ious))
    of_categories = [iou for name in CATEGORIES for iou in chosen[name]]
    return {
        "mean_iou": mean(of_categories),
        "mean_iou_with_distractors": mean([iou for ious in chosen.values() for iou in ious]),
        "mean_iou_best_of_three_with_distractors": mean(best),
        "mean_iou_by_kind": {kind: mean(ious) for kind, ious in sorted(chosen.items())},
        "objects": len(of_categories),
    }


def automatic_masks(
    generator: MaskGenerator, scenes: Sequence[SyntheticScene], config: SegmentConfig
) -> list[Masks]:
    """Segment every scene, and keep of its masks what the engine keeps of a tile's."""
    made = []
    for scene in track(scenes, "Automatic masks"):
        start = time.process_time()
        found = generator.generate(scene.image)
        seconds = time.process_time() - start
        things = [(p, int(p.mask.sum()), quality(p)) for p in without_duplicates(found, config)]
        things.sort(key=lambda thing: (-thing[1], thing[0].bbox_xyxy_px))
        kept = chosen(things, config)
        segmentations = [full_rle(proposal, scene.image) for proposal in kept]
        made.append(Masks(segmentations, [list(p.bbox_xyxy_px) for p in kept], seconds))
    return made


def recall(scenes: Sequence[SyntheticScene], made: Sequence[Masks]) -> Figures:
    """Share of the objects that some automatic mask matches with IoU >= 0.5."""
    found, best_per_mask = defaultdict(list), []
    for scene, masks in zip(scenes, made, strict=True):
        overlaps = mask_overlaps(masks.segmentations, _truth(scene))
        for column, item in enumerate(scene.objects):
            reached = overlaps[:, column].max(initial=0)
            found[item.kind].append(bool(reached >= MATCH_IOU))
        best_per_mask += list(overlaps.max(axis=1, initial=0))
    best = np.array(best_per_mask)
    return {
        "recall": mean([hit for name in CATEGORIES for hit in found[name]]),
        "recall_by_kind": {kind: mean(hits) for kind, hits in sorted(found.items())},
        "masks_per_scene": len(best) / len(scenes),
        "share_on_an_object": float((best >= MATCH_IOU).mean()),
        "share_off_every_object": float((best < OFF_IOU).mean()),
        "cpu_s_per_scene": mean([masks.cpu_s for masks in made]),
    }


def _truth(scene: SyntheticScene) -> list[dict[str, Any]]:
    return [encode_mask(item, SCENE_PX, SCENE_PX) for item in scene.objects]


def name_masks(
    classifier: Classifier,
    config: ClassifyConfig,
    scenes: Sequence[SyntheticScene],
    made: Sequence[Masks],
) -> tuple[list[NamedCrop], float]:
    """Name the crop of every automatic mask; also returns CPU seconds per crop."""
    named, seconds = [], 0.0
    for number, (scene, masks) in enumerate(
        track(list(zip(scenes, made, strict=True)), "Naming crops")
    ):
        boxes = masks.boxes_xyxy_px
        crops = [crop_region(scene.image, box, config.crop_margin) for box in boxes]
        start = time.process_time()
        namings = name_crops(classifier, config, crops)
        seconds += time.process_time() - start
        overlaps = mask_overlaps(masks.segmentations, _truth(scene))
        for row, naming in zip(overlaps, namings, strict=True):
            index = int(row.argmax()) if len(row) else -1
            item = scene.objects[index] if len(row) else None
            named.append(
                NamedCrop(
                    kind=item.kind if item else None,
                    category=item.category if item else None,
                    iou=float(row[index]) if len(row) else 0.0,
                    object_id=(number, index),
                    naming=naming,
                )
            )
    return named, seconds / max(1, len(named))


def lvlm_figures(named: Sequence[NamedCrop], scenes: Sequence[SyntheticScene]) -> Figures:
    """What the LVLM made of SAM's crops."""
    matched = [c for c in named if c.iou >= MATCH_IOU]
    objects = [c for c in matched if c.category]
    distractors = [c for c in matched if not c.category]
    off = [c for c in named if c.iou < OFF_IOU]
    answered = [c for c in [*matched, *off] if c.naming.category]
    every_answer = [c for c in named if c.naming.category]
    total = sum(item.category is not None for scene in scenes for item in scene.objects)
    by_category = {
        name: mean([c.right for c in objects if c.category == name]) for name in CATEGORIES
    }
    sure = [c for c in answered if (c.naming.likelihood or 0) >= 0.9]
    return {
        "naming_accuracy": mean([c.right for c in objects]),
        "naming_accuracy_by_category": by_category,
        "crops_on_categories": len(objects),
        "unrecognized_recall_off_objects": mean([c.naming.unrecognized for c in off]),
        "crops_off_objects": len(off),
        "unrecognized_recall_distractors": mean([c.naming.unrecognized for c in distractors]),
        "crops_on_distractors": len(distractors),
        "auroc_token_confidence": _auroc_by_token(answered),
        "auroc_said_likelihood": _auroc_by_likelihood(answered),
        "auroc_token_confidence_with_partial_masks": _auroc_by_token(every_answer),
        "auroc_said_likelihood_with_partial_masks": _auroc_by_likelihood(every_answer),
        "precision_of_names": mean([c.right for c in answered]),
        "precision_of_names_said_with_0.9": mean([c.right for c in sure]),
        "share_of_names_said_with_0.9": len(sure) / max(1, len(answered)),
        "objects_found_and_named": len({c.object_id for c in objects if c.right}) / total,
        "unparsed_replies": sum(not c.naming.understood for c in named),
    }


def _auroc_by_token(crops: Sequence[NamedCrop]) -> float | None:
    return auroc([c.naming.confidence for c in crops], [c.right for c in crops])


def _auroc_by_likelihood(crops: Sequence[NamedCrop]) -> float | None:
    return auroc([c.naming.likelihood or 0 for c in crops], [c.right for c in crops])


def background_figures(
    classifier: Classifier, config: ClassifyConfig, scenes: Sequence[SyntheticScene]
) -> Figures:
    """How the LVLM takes crops of nothing: random boxes off every object, three per scene."""
    rng = np.random.default_rng(1)
    crops = []
    for scene in scenes:
        ids = instance_map(scene)
        boxes = filter(None, (background_box(rng, ids) for _ in range(3)))
        crops += [crop_region(scene.image, box, config.crop_margin) for box in boxes]
    namings = name_crops(classifier, config, crops)
    return {
        "unrecognized_recall_random_background": mean([n.unrecognized for n in namings]),
        "random_background_crops": len(namings),
    }


@dataclass
class TrueCrops:
    """The ten categories cut by their true boxes."""

    crops: list[Image] = field(default_factory=list)
    categories: list[str] = field(default_factory=list)


def true_crops(scenes: Sequence[SyntheticScene], margin: float) -> TrueCrops:
    """Cut every object of the ten categories by its true box."""
    cut = TrueCrops()
    for scene in scenes:
        for item in scene.objects:
            if item.category:
                cut.crops.append(crop_region(scene.image, item.bbox_xyxy_px, margin))
                cut.categories.append(item.category)
    return cut


def clip_figures(embedder: TextEmbedder, vocabulary: Sequence[str], cut: TrueCrops) -> Figures:
    """CLIP's choice from the vocabulary, and how similar its vectors of names are."""
    start = time.process_time()
    crops, names = embedder.embed_crops(cut.crops), embedder.embed_names(vocabulary)
    best = embedder.likeness(crops, names).argmax(axis=1)
    seconds = time.process_time() - start
    right = [vocabulary[index] == name for index, name in zip(best, cut.categories, strict=True)]
    vectors = embedder.embed_names(vocabulary)
    between = vectors @ vectors.T
    np.fill_diagonal(between, -1)
    synonyms = []
    for category in CATEGORIES:
        own, *others = embedder.embed_names(NAMES[category])
        synonyms += [float(own @ other) for other in others]
    return {
        "top1_of_10": mean(right),
        "crops": len(right),
        "cpu_s_per_crop": seconds / max(1, len(right)),
        "greatest_similarity_of_two_categories": float(between.max()),
        "least_similarity_of_synonyms": min(synonyms),
    }


def targets(figures: Figures) -> list[tuple[str, float | None, float]]:
    """The figures that have a target: label, value, least value wanted."""
    sam, masks, lvlm, clip = (figures[k] for k in ("one_point", "masks", "lvlm", "clip"))
    return [
        ("SAM, one point: mean IoU, 10 categories", sam["mean_iou"], 0.60),
        ("SAM, one point: mean IoU, all objects", sam["mean_iou_with_distractors"], 0.60),
        ("SAM, automatic: recall at IoU 0.5, 10 categories", masks["recall"], 0.80),
        ("LVLM: naming accuracy on SAM's crops", lvlm["naming_accuracy"], 0.90),
        ("LVLM: Unrecognized, masks off objects", lvlm["unrecognized_recall_off_objects"], 0.85),
        (
            "LVLM: Unrecognized, random background",
            lvlm["unrecognized_recall_random_background"],
            0.85,
        ),
        ("CLIP: top-1 of 10, true boxes", clip["top1_of_10"], 0.97),
    ]


def print_report(figures: Figures, console: Console) -> None:
    """Print the figures with a target, then all others."""
    table = Table("Figure", "Measured", "Target", "Reached")
    for label, value, target in targets(figures):
        shown = "no sample" if value is None else f"{value:.3f}"
        verdict = "-" if value is None else "yes" if value >= target else "NO"
        table.add_row(label, shown, f">= {target:.2f}", verdict)
    console.print(table)
    console.print_json(data=figures)


def evaluate(models: Path, scenes: Sequence[SyntheticScene]) -> Figures:
    """Every figure of the models of a folder, with what it was measured on and by."""
    config = demo_config(models)
    classify, threads = config.classify, config.threads
    generator = load_mask_generator(config.segment, threads)
    classifier = LocalClassifier(classify, threads)
    embedder = ClipEmbedder(str(classify.clip_model), classify.device, threads)
    made = automatic_masks(generator, scenes, config.segment)
    named, seconds_per_crop = name_masks(classifier, classify, scenes, made)
    cut = true_crops(scenes, classify.crop_margin)
    namings = name_crops(classifier, classify, cut.crops)
    return {
        "sha256": checksums(models),
        "settings": used_settings(config),
        "one_point": one_point(load_small_sam(models / "sam" / "model.safetensors"), scenes),
        "masks": recall(scenes, made),
        "lvlm": {
            **lvlm_figures(named, scenes),
            **background_figures(classifier, classify, scenes),
            "naming_accuracy_true_boxes": mean(
                [n.category == c for n, c in zip(namings, cut.categories, strict=True)]
            ),
            "cpu_s_per_crop": seconds_per_crop,
        },
        "clip": clip_figures(embedder, config.vocabulary.names, cut),
    }


def main() -> None:
    """Evaluate the committed models."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--models", type=Path, default=MODELS)
    parser.add_argument("--scenes", type=int, default=SCENES)
    parser.add_argument("--output", type=Path, help="by default evaluation.json of the models")
    args = parser.parse_args()
    seeds = range(HELD_OUT_SEED, HELD_OUT_SEED + args.scenes)
    scenes = [generate_scene(seed, SCENE_PX) for seed in track(seeds, "Drawing scenes")]
    drawn = {"seeds": [seeds.start, seeds.stop - 1], "scene_px": SCENE_PX}
    figures = {**drawn, **evaluate(args.models, scenes)}
    output = args.output or args.models / "evaluation.json"
    output.write_text(json.dumps(figures, indent=1) + "\n")
    print_report(figures, Console())


if __name__ == "__main__":
    main()
