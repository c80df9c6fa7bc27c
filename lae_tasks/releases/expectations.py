"""What a release must satisfy: its tables as Great Expectations sees them, and their rules.

The tables are made of whole columns: a release may have millions of annotations.
"""

import math
import os
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pycocotools import mask as coco_mask

from lae_tasks.releases.dataset import SPLITS, Dataset
from lae_tasks.releases.gates import Gate
from lae_tasks.releases.splits import neighbours

#: A rule's name, and its expectation.
Rule = tuple[str, Any]


@dataclass(frozen=True)
class StoredImage:
    """An image as it was found in the store; no size in pixels if it cannot be read as one."""

    sha256: str
    size_bytes: int
    width_px: int | None
    height_px: int | None


@dataclass(frozen=True)
class Subject:
    """What is looked at.

    Attributes:
        before: The release before; None for the first.
        rejected: Ids of the regions that stewards have rejected.
        stored: The images as they are in the store, by key; those that are there.
    """

    dataset: Dataset
    before: Dataset | None
    rejected: Collection[str]
    stored: Mapping[str, StoredImage]
    gates: Sequence[Gate]


def tables(subject: Subject) -> dict[str, tuple[pd.DataFrame, Sequence[Rule], str]]:
    """Each table with its rules, and the column that names a row in messages."""
    dataset = subject.dataset
    found = {
        "images": (image_frame(dataset, subject.stored), _image_rules(), "path"),
        "scenes": (_scene_frame(dataset, subject.before), _scene_rules(), "scene_key"),
        "categories": (_category_frame(dataset, subject.before), _category_rules(), "name"),
        "annotations": (
            annotation_frame(dataset, subject.rejected),
            _annotation_rules(dataset),
            "annotation_id",
        ),
    }
    if subject.gates:
        found["gates"] = (_gate_frame(subject.gates), _gate_rules(subject.gates), "release")
    return found


def _gx() -> Any:
    """Great Expectations' expectations. It is imported late, as that takes seconds."""
    os.environ["GX_ANALYTICS_ENABLED"] = "False"
    from great_expectations import expectations

    return expectations


def image_frame(dataset: Dataset, stored: Mapping[str, StoredImage]) -> pd.DataFrame:
    """The images as a table, beside what was found in the store (None where nothing was)."""
    rows = []
    for image in dataset.images:
        found = stored.get(image.key)
        rows.append(
            {
                "image_id": image.image_id,
                "path": image.path,
                "scene_key": image.scene_key,
                "split": image.split,
                "width": image.width_px,
                "height": image.height_px,
                "sha256": image.sha256,
                "stored_sha256": found.sha256 if found else None,
                "stored_width": found.width_px if found else None,
                "stored_height": found.height_px if found else None,
            }
        )
    return pd.DataFrame(rows)


def _image_rules() -> Sequence[Rule]:
    gx = _gx()
    return [
        ("there are images", gx.ExpectTableRowCountToBeBetween(min_value=1)),
        ("ids are unique", gx.ExpectColumnValuesToBeUnique(column="image_id")),
        ("paths are unique", gx.ExpectColumnValuesToBeUnique(column="path")),
        (
            "split is one, or none",
            gx.ExpectColumnValuesToBeInSet(column="split", value_set=[*SPLITS]),
        ),
        ("is in the store", gx.ExpectColumnValuesToNotBeNull(column="stored_sha256")),
        ("has the right checksum", _equal(gx, "sha256", "stored_sha256")),
        ("has its tile's width", _equal(gx, "width", "stored_width")),
        ("has its tile's height", _equal(gx, "height", "stored_height")),
    ]


def _scene_frame(dataset: Dataset, before: Dataset | None) -> pd.DataFrame:
    """One row per scene: in how many splits it is, and what it shares with others."""
    splits: defaultdict[str, set[str]] = defaultdict(set)
    keys = {image.scene_id: image.scene_key for image in dataset.images}
    for image in dataset.images:
        splits[image.scene_id].add(image.split or "")
    was = {image.scene_id: image.split or "" for image in (before.images if before else ())}
    near = neighbours(dataset.images)

    def beside(scene: str) -> set[str]:
        """Other splits on its ground."""
        others = {split for other in near.get(scene, ()) for split in splits[other]}
        return others - splits[scene] - {""} if splits[scene] != {""} else set()

    rows = [
        {
            "scene_key": key,
            "splits": len(splits[scene]),
            "other_splits_on_its_ground": len(beside(scene)),
            "split": min(splits[scene]),
            # To take a scene out of both sides is no change of sides.
            "split_before": was.get(scene) if splits[scene] != {""} else None,
        }
        for scene, key in keys.items()
    ]
    return pd.DataFrame(rows, columns=[*_SCENE_COLUMNS])


_SCENE_COLUMNS = (
    "scene_key",
    "splits",
    "other_splits_on_its_ground",
    "split",
    "split_before",
)


def _scene_rules() -> Sequence[Rule]:
    gx = _gx()
    return [
        ("is in one split", gx.ExpectColumnValuesToBeBetween(column="splits", max_value=1)),
        (
            "no other split is on its ground",
            gx.ExpectColumnValuesToBeBetween(column="other_splits_on_its_ground", max_value=0),
        ),
        ("stays in its split", _equal(gx, "split", "split_before")),
    ]


def _category_frame(dataset: Dataset, before: Dataset | None) -> pd.DataFrame:
    number_before = {each.name: each.category_id for each in (before.categories if before else ())}
    name_before = {number: name for name, number in number_before.items()}
    rows = [
        {
            "category_id": each.category_id,
            "name": each.name,
            "number_before": number_before.get(each.name),
            "name_before": name_before.get(each.category_id),
        }
        for each in dataset.categories
    ]
    columns = ["category_id", "name", "number_before", "name_before"]
    return pd.DataFrame(rows, columns=columns)


def _category_rules() -> Sequence[Rule]:
    gx = _gx()
    return [
        ("numbers are unique", gx.ExpectColumnValuesToBeUnique(column="category_id")),
        (
            "numbers count from 1",
            gx.ExpectColumnValuesToBeBetween(column="category_id", min_value=1),
        ),
        ("names are unique", gx.ExpectColumnValuesToBeUnique(column="name")),
        ("has a name", gx.ExpectColumnValueLengthsToBeBetween(column="name", min_value=1)),
        ("keeps its number", _equal(gx, "category_id", "number_before")),
        ("no other had its number", _equal(gx, "name", "name_before")),
    ]


def annotation_frame(dataset: Dataset, rejected: Collection[str] = ()) -> pd.DataFrame:
    """The annotations as a table, with what their image, mask and category say of them.

    NaN where there is no such image or category.
    """
    table = dataset.annotations.table
    columns = {name: table[name] for name in _TAKEN}
    frame: pd.DataFrame = pa.table(columns).to_pandas()
    edges = _edges(table["bbox_xyxy_px"])
    for place, name in enumerate(("x0", "y0", "x1", "y1")):
        frame[name] = edges[:, place]
    frame["box_area_px"] = (edges[:, 2] - edges[:, 0]) * (edges[:, 3] - edges[:, 1])
    images = pd.DataFrame(
        [(i.image_id, i.width_px, i.height_px) for i in dataset.images],
        columns=["image_id", "image_width", "image_height"],
    ).drop_duplicates("image_id")
    frame = frame.merge(images, on="image_id", how="left")
    names = {each.category_id: each.name for each in dataset.categories}
    frame["name_of_number"] = frame["category_id"].map(names)
    is_rejected = pc.is_in(table["region_id"], pa.array([*rejected], pa.string()))
    frame["rejected"] = is_rejected.to_numpy().astype(int)
    masks = _masks(table["mask_rle"], frame)
    frame["mask_area_px"] = masks[:, 4]
    outside = np.maximum(edges[:, :2] - masks[:, :2], masks[:, 2:4] - edges[:, 2:])
    frame["mask_beyond_box_px"] = outside.max(axis=1) if len(outside) else 0.0
    return frame


_TAKEN = (
    *("annotation_id", "image_id", "region_id", "category_id", "category"),
    *("area_px", "score", "source"),
)
_AT_ONCE = 50_000


def _edges(boxes: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    flat = pc.list_flatten(boxes.combine_chunks())
    return np.asarray(flat.to_numpy(zero_copy_only=False)).reshape(-1, 4)


def _masks(rles: pa.ChunkedArray, frame: pd.DataFrame) -> npt.NDArray[np.float64]:
    """Of each mask its box (x0, y0, x1, y1) and area in its image, (n, 5); what its runs say.

    NaN where there is no such image, and an area of -1 where the runs are none.
    """
    sizes = frame[["image_height", "image_width"]].fillna(0).to_numpy(dtype=np.int64)
    found = np.full((len(frame), 5), np.nan)
    for start in range(0, len(frame), _AT_ONCE):
        texts = rles.slice(start, _AT_ONCE).to_pylist()
        part, of_part = found[start : start + len(texts)], sizes[start : start + len(texts)]
        has_image = (of_part > 0).all(axis=1)
        # pycocotools divides by the height, and reads on where the last run is not ended.
        sound = np.array([bool(text) and ord(text[-1]) - 48 < 32 for text in texts], dtype=bool)
        rows = np.flatnonzero(has_image & sound)
        masks = [{"size": of_part[n].tolist(), "counts": texts[n].encode()} for n in rows.tolist()]
        if masks:
            boxes = coco_mask.toBbox(masks)
            part[rows, :2], part[rows, 2:4] = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
            # One by one: pycocotools 2.0.11 cannot count more than 255 masks here.
            part[rows, 4] = [coco_mask.area(mask) for mask in masks]
        part[has_image & ~sound, 4] = -1
    return found


def _annotation_rules(dataset: Dataset) -> Sequence[Rule]:
    gx = _gx()
    names = [category.name for category in dataset.categories]
    return [
        ("ids are unique", gx.ExpectColumnValuesToBeUnique(column="annotation_id")),
        (
            "an object is on an image once",
            gx.ExpectCompoundColumnsToBeUnique(column_list=["image_id", "region_id"]),
        ),
        # Not by a set of all images, which the report would print.
        ("has its image", gx.ExpectColumnValuesToNotBeNull(column="image_width")),
        ("has its region", gx.ExpectColumnValuesToNotBeNull(column="region_id")),
        ("is named", gx.ExpectColumnValuesToNotBeNull(column="category")),
        (
            "is in the vocabulary",
            gx.ExpectColumnValuesToBeInSet(column="category", value_set=names),
        ),
        ("has its category's number", _equal(gx, "category", "name_of_number")),
        ("box begins inside: x", gx.ExpectColumnValuesToBeBetween(column="x0", min_value=0)),
        ("box begins inside: y", gx.ExpectColumnValuesToBeBetween(column="y0", min_value=0)),
        ("box has a width", _at_least(gx, "x1", "x0", or_equal=False)),
        ("box has a height", _at_least(gx, "y1", "y0", or_equal=False)),
        ("box ends inside: x", _at_least(gx, "image_width", "x1")),
        ("box ends inside: y", _at_least(gx, "image_height", "y1")),
        ("mask has an area", gx.ExpectColumnValuesToBeBetween(column="area_px", min_value=1)),
        ("mask fits its box", _at_least(gx, "box_area_px", "area_px")),
        ("mask covers its area", _equal(gx, "area_px", "mask_area_px")),
        (
            "mask lies in its box",
            gx.ExpectColumnValuesToBeBetween(column="mask_beyond_box_px", max_value=0),
        ),
        ("is scored", gx.ExpectColumnValuesToNotBeNull(column="score")),
        (
            "score is in [0, 1]",
            gx.ExpectColumnValuesToBeBetween(column="score", min_value=0, max_value=1),
        ),
        (
            "names its source",
            gx.ExpectColumnValuesToMatchRegex(column="source", regex="^(?:steward$|engine:.)"),
        ),
        (
            "no steward has rejected it",
            gx.ExpectColumnValuesToBeInSet(column="rejected", value_set=[0]),
        ),
    ]


def _equal(gx: Any, left: str, right: str) -> Any:
    return gx.ExpectColumnPairValuesToBeEqual(
        column_A=left, column_B=right, ignore_row_if="either_value_is_missing"
    )


def _at_least(gx: Any, larger: str, smaller: str, or_equal: bool = True) -> Any:
    return gx.ExpectColumnPairValuesAToBeGreaterThanB(
        column_A=larger,
        column_B=smaller,
        or_equal=or_equal,
        ignore_row_if="either_value_is_missing",
    )


def _gate_frame(gates: Sequence[Gate]) -> pd.DataFrame:
    """One row with the figure of each gate; NaN, which nothing is asked of, where there is none."""
    figures = {gate.name: math.nan if gate.value is None else gate.value for gate in gates}
    return pd.DataFrame([{"release": "this one"} | figures])


def _gate_rules(gates: Sequence[Gate]) -> Sequence[Rule]:
    gx = _gx()

    def expectation(gate: Gate) -> Any:
        if gate.low is None and gate.high is None:  # nothing is asked of it
            return gx.ExpectColumnToExist(column=gate.name)
        return gx.ExpectColumnValuesToBeBetween(
            column=gate.name,
            min_value=gate.low,
            max_value=gate.high,
            severity="warning" if gate.only_warns else "critical",
        )

    return [(gate.rule, expectation(gate)) for gate in gates]
