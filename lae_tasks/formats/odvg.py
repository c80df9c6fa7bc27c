"""ODVG JSON lines, as Open-GroundingDINO's detection data sets have them (and the LAE paper).

One line per image: `{"filename", "height", "width", "detection": {"instances": [{"bbox": [x0, y0,
x1, y1], "label", "category"}]}}`. Labels count from 0: a label is the COCO category id less one,
and `label_map.json` gives the name of each. File names are relative to the release's root.

`odvg.jsonl` has everything; `odvg_train.jsonl` and its like have the images of one split.
"""

import json
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from lae_tasks.formats.writing import Source
from lae_tasks.releases.dataset import Annotation, ReleaseImage

PATH = "odvg/odvg.jsonl"
LABEL_MAP_PATH = "odvg/label_map.json"

_encode = json.JSONEncoder(sort_keys=True, ensure_ascii=False).encode


class Writer:
    """Writes a line per image, images without objects included."""

    def __init__(self, source: Source, folder: Path) -> None:
        names = {str(each.category_id - 1): each.name for each in source.dataset.categories}
        told = json.dumps(names, indent=1, ensure_ascii=False)
        (folder / "label_map.json").write_text(f"{told}\n", encoding="utf-8")
        self._files = ExitStack()
        splits = sorted({image.split for image in source.dataset.images if image.split})
        self._file_of = {
            split: self._files.enter_context(
                (folder / (f"odvg_{split}.jsonl" if split else "odvg.jsonl")).open(
                    "w", encoding="utf-8", newline="\n"
                )
            )
            for split in (None, *splits)
        }

    def add(self, image: ReleaseImage, annotations: Sequence[Annotation]) -> None:
        """Writes an image's line."""
        instances = [
            {
                "bbox": list(annotation.bbox_xyxy_px),
                "label": annotation.category_id - 1,
                "category": annotation.category,
            }
            for annotation in annotations
        ]
        line = {
            "filename": image.path,
            "height": image.height_px,
            "width": image.width_px,
            "detection": {"instances": instances},
        }
        for split in {None, image.split}:
            self._file_of[split].write(f"{_encode(line)}\n")

    def close(self) -> None:
        """Ends the files."""
        self._files.close()
