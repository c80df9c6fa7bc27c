"""How good a COCO file is against truth: pycocotools' figures, precision and recall by category.

A release's images are tiles. Where they say which window of which scene they are (`scene_key`,
`window_px`) and the truth knows the scene, their annotations are brought back into the scene's
frame: an object with several tile annotations (same `region_id`) counts once, its mask is their
union and its box is `bbox_scene`.

Only images that both sides know are compared; the truth's others are counted, not scored.
"""

import contextlib
import io
import json
import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from rich.table import Column, Table

from lae_tasks.errors import ContractError
from lae_tasks.formats.coco_scenes import ImageMatcher, in_frame

logger = logging.getLogger(__name__)

IOU = 0.5
"""Overlap from which a prediction hits an object, for precision and recall."""

MAX_DETECTIONS = 100_000
"""More than any scene has: COCO's usual 100 would cut off large scenes."""

_ANY = "(any name)"


@dataclass(frozen=True)
class Tally:
    """Hits and misses at IoU 0.5. Precision or recall is None where nothing can be said."""

    hits: int
    false: int
    missed: int

    @property
    def precision(self) -> float | None:
        """Share of the predictions that hit."""
        predicted = self.hits + self.false
        return self.hits / predicted if predicted else None

    @property
    def recall(self) -> float | None:
        """Share of the objects that were hit."""
        true = self.hits + self.missed
        return self.hits / true if true else None

    def as_dict(self) -> dict[str, Any]:
        """Counts and shares."""
        return {**asdict(self), "precision": self.precision, "recall": self.recall}


@dataclass(frozen=True)
class Scores:
    """Figures by boxes, or by masks.

    Attributes:
        figures: AP (mean over IoU 0.50 to 0.95), AP50, AP75, AR; None where truth has nothing.
        by_category: Hits and misses of each category that either side has.
        overall: All categories together; the name must be right.
        any_name: Found at all, whatever the name.
    """

    figures: dict[str, float | None]
    by_category: dict[str, Tally]
    overall: Tally
    any_name: Tally

    def as_dict(self) -> dict[str, Any]:
        """The same in types that JSON has."""
        return {
            **self.figures,
            "overall": self.overall.as_dict(),
            "any_name": self.any_name.as_dict(),
            "by_category": {name: tally.as_dict() for name, tally in self.by_category.items()},
        }


@dataclass(frozen=True)
class Evaluation:
    """A COCO file against truth.

    Attributes:
        bbox: By boxes.
        segm: By masks; None if either side lacks them.
        images: Images (or scenes) that were compared.
        images_unknown: Images of the predictions that the truth does not know.
        images_without_prediction: Images of the truth that the predictions do not know.
    """

    bbox: Scores
    segm: Scores | None
    images: int
    images_unknown: int
    images_without_prediction: int

    def as_dict(self) -> dict[str, Any]:
        """The same in types that JSON has."""
        return {
            **{name: getattr(self, name) for name in _IMAGE_COUNTS},
            "iou": IOU,
            "bbox": self.bbox.as_dict(),
            "segm": self.segm.as_dict() if self.segm else None,
        }


_IMAGE_COUNTS = ("images", "images_unknown", "images_without_prediction")


def evaluate(coco_path: Path, truth_path: Path) -> Evaluation:
    """Compares a COCO file with truth.

    Args:
        coco_path: Predictions: a release's `coco/instances.json`, or any COCO instances file
            whose annotations may have a `score`.
        truth_path: COCO instances; masks may be RLE or polygons, or missing.

    Raises:
        ContractError: If a file is not COCO, or they have no image in common.
    """
    truth, predicted = _load(truth_path), _load(coco_path)
    matcher = ImageMatcher(truth["images"])
    scene_of = {image["id"]: matcher.find(image) for image in predicted["images"]}
    known = {truth_id for truth_id in scene_of.values() if truth_id is not None}
    if not known:
        swapped = any("window_px" in image for image in truth["images"])
        hint = "; the truth looks like a release: are the two swapped?" if swapped else ""
        raise ContractError(
            f"{coco_path} and {truth_path} have no image in common: file_name (or scene_key) of "
            f"the first, such as {_names(predicted)}, must be a file_name of the second, such as "
            f"{_names(truth)}{hint}"
        )
    numbers = _CategoryNumbers()
    true_number, predicted_number = numbers.of(truth), numbers.of(predicted)
    objects = [
        _true_object(number, entry, true_number)
        for number, entry in enumerate(truth["annotations"], start=1)
        if entry["image_id"] in known
    ]
    found = _found(predicted, matcher.images, scene_of, predicted_number)
    images = [image for image in truth["images"] if image["id"] in known]
    base = _coco(images, objects, numbers.ids)
    detections = _coco(images, found, numbers.ids)
    masks = all(entry.get("segmentation") for entry in (*objects, *found)) and bool(objects)
    return Evaluation(
        bbox=_scores(base, detections, "bbox"),
        segm=_scores(base, detections, "segm") if masks else None,
        images=len(known),
        images_unknown=sum(truth_id is None for truth_id in scene_of.values()),
        images_without_prediction=len(truth["images"]) - len(known),
    )


def _load(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text())
    except OSError as error:
        raise ContractError(f"{path}: {error.strerror}") from error
    except json.JSONDecodeError as error:
        raise ContractError(f"{path}: not JSON: {error}") from error
    missing = {"images", "annotations", "categories"} - set(values)
    if missing:
        raise ContractError(f"{path}: not a COCO instances file: no {', '.join(sorted(missing))}")
    return dict(values)


def _names(coco: Mapping[str, Any]) -> str:
    images = coco["images"][:2]
    return ", ".join(str(i.get("scene_key", i["file_name"])) for i in images) or "(no images)"


class _CategoryNumbers:
    """Numbers for the category names of both sides; case and outer spaces do not count."""

    def __init__(self) -> None:
        self.ids: dict[str, int] = {}

    def of(self, coco: Mapping[str, Any]) -> dict[int, int]:
        """The number of each of a file's category ids."""
        names = {entry["id"]: str(entry["name"]).strip().lower() for entry in coco["categories"]}
        return {key: self.ids.setdefault(name, len(self.ids) + 1) for key, name in names.items()}


def _true_object(
    number: int, entry: Mapping[str, Any], category_number: Mapping[int, int]
) -> dict[str, Any]:
    """An object of the truth, with what pycocotools takes for granted.

    It is numbered anew because pycocotools takes a match with an object of id 0 for none.
    """
    width, height = entry["bbox"][2:]
    defaults = {"area": width * height, "iscrowd": 0}
    category_id = category_number[entry["category_id"]]
    return {**defaults, **entry, "id": number, "category_id": category_id}


def _found(
    predicted: Mapping[str, Any],
    images: Mapping[int, Mapping[str, Any]],
    truth_id_of: Mapping[int, int | None],
    category_number: Mapping[int, int],
) -> list[dict[str, Any]]:
    """The predicted objects in the truth's frame, each once."""
    window_of = {image["id"]: image.get("window_px") for image in predicted["images"]}
    groups: defaultdict[tuple[int, Any], list[Mapping[str, Any]]] = defaultdict(list)
    for entry in predicted["annotations"]:
        truth_id = truth_id_of[entry["image_id"]]
        if truth_id is not None:
            groups[truth_id, entry.get("region_id", -entry["id"])].append(entry)
    found = []
    for number, ((truth_id, _), entries) in enumerate(groups.items(), start=1):
        frame = images[truth_id]
        parts = [(entry, window_of[entry["image_id"]]) for entry in entries]
        found.append(
            {
                "id": number,
                "image_id": truth_id,
                "category_id": category_number[entries[0]["category_id"]],
                "score": float(entries[0].get("score", 1.0)),
                "iscrowd": 0,
                **in_frame(parts, frame["width"], frame["height"]),
            }
        )
    return found


def _coco(
    images: Sequence[Mapping[str, Any]], annotations: Sequence[Any], numbers: Mapping[str, int]
) -> COCO:
    coco = COCO()
    categories = [{"id": number, "name": name} for name, number in numbers.items()]
    coco.dataset = {
        "images": list(images),
        "annotations": [dict(entry) for entry in annotations],  # COCOeval writes into them
        "categories": categories,
    }
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def _scores(truth: COCO, found: COCO, kind: str) -> Scores:
    """Figures by boxes (`bbox`) or masks (`segm`)."""
    by_name = _run(truth, found, kind, use_categories=True)
    precision, recall = by_name.eval["precision"], by_name.eval["recall"]
    thresholds = by_name.params.iouThrs
    figures = {
        "AP": _mean(precision),
        "AP50": _mean(precision[np.isclose(thresholds, 0.5)]),
        "AP75": _mean(precision[np.isclose(thresholds, 0.75)]),
        "AR": _mean(recall),
    }
    tallies = _tallies(by_name)
    names = {entry["id"]: entry["name"] for entry in truth.dataset["categories"]}
    every = tallies.values()
    overall = Tally(
        sum(t.hits for t in every), sum(t.false for t in every), sum(t.missed for t in every)
    )
    any_name = _tallies(_run(truth, found, kind, use_categories=False))
    by_category = {names[number]: tally for number, tally in tallies.items()}
    return Scores(
        figures, dict(sorted(by_category.items())), overall, any_name.get(-1, Tally(0, 0, 0))
    )


def _run(truth: COCO, found: COCO, kind: str, use_categories: bool) -> COCOeval:
    """pycocotools' evaluation, without what it prints."""
    with contextlib.redirect_stdout(io.StringIO()):
        run = COCOeval(truth, found, kind)
        run.params.useCats = int(use_categories)
        run.params.maxDets = [MAX_DETECTIONS]
        run.params.areaRng, run.params.areaRngLbl = [[0, 1e10]], ["all"]
        run.evaluate()
        run.accumulate()
    return run


def _mean(values: Any) -> float | None:
    """Mean of what is known: pycocotools writes -1 where the truth has nothing."""
    known = values[values > -1]
    return round(float(known.mean()), 4) if known.size else None


def _tallies(run: COCOeval) -> dict[int, Tally]:
    """Hits and misses at IoU 0.5 by category id (-1: all together), where there is anything."""
    counted: defaultdict[int, list[int]] = defaultdict(lambda: [0, 0, 0])
    for image in run.evalImgs:
        if image is None:
            continue
        of_dt = ~image["dtIgnore"][0].astype(bool)
        hit = image["dtMatches"][0] > 0
        hits = int((hit & of_dt).sum())
        tally = counted[image["category_id"]]
        tally[0] += hits
        tally[1] += int((~hit & of_dt).sum())
        tally[2] += int((~np.asarray(image["gtIgnore"], dtype=bool)).sum()) - hits
    return {category: Tally(*tally) for category, tally in counted.items()}


def as_tables(evaluation: Evaluation) -> list[Table]:
    """The evaluation for the terminal: by category, and pycocotools' figures.

    Precision and recall are by masks where both sides have them, else by boxes.
    """
    scores = evaluation.segm or evaluation.bbox
    kind = "masks" if evaluation.segm else "boxes"
    counts = ("precision", "recall", "hits", "false", "missed")
    right = [Column(name, justify="right") for name in counts]
    table = Table("category", *right, title=f"Against truth, {kind} at IoU {IOU}")
    rows = [*scores.by_category.items(), ("all", scores.overall), (_ANY, scores.any_name)]
    for name, tally in rows:
        if name == "all":
            table.add_section()
        shares = _share(tally.precision), _share(tally.recall)
        table.add_row(name, *shares, str(tally.hits), str(tally.false), str(tally.missed))
    right = [Column(name, justify="right") for name in scores.figures]
    figures = Table("COCO", *right)
    for name, each in (("masks", evaluation.segm), ("boxes", evaluation.bbox)):
        if each:
            figures.add_row(name, *(_share(value) for value in each.figures.values()))
    return [table, figures]


def notes(evaluation: Evaluation) -> list[str]:
    """What was compared, and what was not."""
    told = [f"Compared on {evaluation.images} images of the truth."]
    if evaluation.images_without_prediction:
        told.append(f"{evaluation.images_without_prediction} images of the truth not predicted")
    if evaluation.images_unknown:
        told.append(f"{evaluation.images_unknown} predicted images unknown to the truth")
    return told


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
