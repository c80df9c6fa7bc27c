"""ODVG JSON lines, as Open-GroundingDINO's detection data sets have them (and the LAE paper).

One line per image: `{"filename", "height", "width", "detection": {"instances": [{"bbox": [x0, y0,
x1, y1], "label", "category"}]}}`. Labels count from 0: a label is the COCO category id less one,
and `label_map.json` gives the name of each. File names are relative to the release's root.
"""

import json
from collections import defaultdict

from lae_tasks.releases.dataset import Annotation, Dataset

PATH = "odvg/odvg.jsonl"
LABEL_MAP_PATH = "odvg/label_map.json"


def encode(dataset: Dataset) -> bytes:
    """The lines, one per image in the images' order, images without objects included."""
    by_image: defaultdict[int, list[Annotation]] = defaultdict(list)
    for annotation in dataset.annotations:
        by_image[annotation.image_id].append(annotation)
    lines = []
    for image in dataset.images:
        instances = [
            {
                "bbox": list(annotation.bbox_xyxy_px),
                "label": annotation.category_id - 1,
                "category": annotation.category,
            }
            for annotation in by_image[image.image_id]
        ]
        line = {
            "filename": image.path,
            "height": image.height_px,
            "width": image.width_px,
            "detection": {"instances": instances},
        }
        lines.append(json.dumps(line, sort_keys=True, ensure_ascii=False) + "\n")
    return "".join(lines).encode()


def encode_label_map(dataset: Dataset) -> bytes:
    """The map from label to category name."""
    names = {str(category.category_id - 1): category.name for category in dataset.categories}
    return (json.dumps(names, indent=1, ensure_ascii=False) + "\n").encode()
