"""Trains a small detector on a pulled release, from nothing, in minutes on two cores.

lae pull latest my-dataset --format coco
python docs/train_detector.py my-dataset

It learns from the release's `train` split, tells the AP on `val` after some epochs, and at the end
on `test`, as far as a small release has them. Only torch, torchvision and pycocotools are needed: a
pulled release is plain files.
"""

import argparse
import contextlib
import io
import sys
import time
from collections import OrderedDict
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.fcos import FCOS, FCOSHead
from torchvision.ops import FeaturePyramidNetwork

Target = dict[str, Tensor]


class Split(Dataset[tuple[Tensor, Target]]):
    """The images of one split with their boxes.

    Attributes:
        coco: What the release says of the split.
        class_of: The detector's class of each category id: consecutive from 0.
    """

    def __init__(self, release: Path, name: str, augment: bool = False) -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            self.coco = COCO(release / "coco" / f"instances_{name}.json")
        self.image_ids = sorted(self.coco.imgs)
        self.class_of = {each: number for number, each in enumerate(sorted(self.coco.cats))}
        self._release = release
        self._augment = augment

    def __len__(self) -> int:
        return len(self.image_ids)

    def __getitem__(self, index: int) -> tuple[Tensor, Target]:
        image_id = self.image_ids[index]
        path = self._release / self.coco.imgs[image_id]["file_name"]
        with Image.open(path) as file:
            image = torch.from_numpy(np.array(file.convert("RGB"))).permute(2, 0, 1) / 255
        things = self.coco.imgToAnns[image_id]
        boxes = torch.tensor([thing["bbox"] for thing in things], dtype=torch.float32)
        boxes = boxes.reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        if self._augment:
            image, boxes = turned(image, boxes)
        labels = [self.class_of[thing["category_id"]] for thing in things]
        return image, {"boxes": boxes, "labels": torch.tensor(labels, dtype=torch.int64)}


def splits_of(release: Path) -> dict[str, Split]:
    """The splits that the release has; ends the program if there is nothing to learn from."""
    if not (release / "coco").is_dir() or not (release / "images").is_dir():
        sys.exit(f"{release} lacks coco/ or images/: lae pull latest {release} --format coco")
    splits = {
        name: Split(release, name, augment=name == "train")
        for name in ("train", "val", "test")
        if (release / "coco" / f"instances_{name}.json").exists()
    }
    if "train" not in splits or not splits["train"].coco.anns:
        sys.exit(f"{release} has no object in its split train: there is nothing to learn from")
    return splits


def turned(image: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """One of the eight ways to lay an image down: from above, each is as likely."""
    if torch.rand(()) < 0.5:
        image, boxes = image.transpose(1, 2), boxes[:, [1, 0, 3, 2]]
    for axis, size in ((0, image.shape[2]), (1, image.shape[1])):
        if torch.rand(()) < 0.5:
            image, boxes = image.flip(2 - axis), boxes.clone()
            boxes[:, [axis, axis + 2]] = size - boxes[:, [axis + 2, axis]]
    return image, boxes


def convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """A 3 x 3 convolution with all that belongs to it."""
    layer = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class Residual(nn.Module):
    """Two convolutions, and a way around them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(convolution(channels, channels), convolution(channels, channels))

    def forward(self, features: Tensor) -> Tensor:
        """Keeps the shape."""
        return features + self.body(features)


class Backbone(nn.Module):
    """Features at an eighth, a sixteenth and a thirty-second of the image's size."""

    out_channels = 64

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(convolution(3, 16, 2), convolution(16, 32, 2), Residual(32))
        widths = (32, 64, 96, 128)
        self.stages = nn.ModuleList(
            nn.Sequential(convolution(inputs, outputs, 2), Residual(outputs), Residual(outputs))
            for inputs, outputs in pairwise(widths)
        )
        self.pyramid = FeaturePyramidNetwork(list(widths[1:]), self.out_channels)

    def forward(self, images: Tensor) -> "OrderedDict[str, Tensor]":
        """The levels by name, the finest first."""
        levels, features = OrderedDict(), self.stem(images)
        for number, stage in enumerate(self.stages):
            levels[str(number)] = features = stage(features)
        return self.pyramid(levels)


def detector(classes: int, side_px: int) -> FCOS:
    """A detector for objects of some 15 px and more, which looks at images of `side_px`."""
    backbone = Backbone()
    head = FCOSHead(backbone.out_channels, num_anchors=1, num_classes=classes, num_convs=2)
    return FCOS(
        backbone,
        classes,
        anchor_generator=AnchorGenerator(((8,), (16,), (32,)), ((1.0,),) * 3),
        head=head,
        min_size=side_px,
        max_size=2 * side_px,
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.25, 0.25, 0.25],
        score_thresh=0.05,
        detections_per_img=100,
    )


@torch.inference_mode()
def precision(model: FCOS, split: Split, device: torch.device) -> tuple[float, float]:
    """AP over IoU 0.5 to 0.95, and AP at IoU 0.5, as COCO has them."""
    model.eval()
    category_of = {number: each for each, number in split.class_of.items()}
    found = []
    for index, image_id in enumerate(split.image_ids):
        image, _ = split[index]
        (said,) = model([image.to(device)])
        boxes = said["boxes"].cpu()
        boxes[:, 2:] -= boxes[:, :2]
        found += [
            {"image_id": image_id, "category_id": category_of[label], "bbox": box, "score": score}
            for box, label, score in zip(
                boxes.tolist(), said["labels"].tolist(), said["scores"].tolist(), strict=True
            )
        ]
    if not found:
        return 0.0, 0.0
    with contextlib.redirect_stdout(io.StringIO()):
        measured = COCOeval(split.coco, split.coco.loadRes(found), "bbox")
        measured.evaluate()
        measured.accumulate()
        measured.summarize()
    return float(measured.stats[0]), float(measured.stats[1])


def train(
    model: FCOS, splits: dict[str, Split], epochs: int, batch: int, device: torch.device
) -> None:
    """Trains the model, and tells how it goes."""
    split = splits["train"]
    batch = min(batch, len(split))
    loader = DataLoader(
        split, batch, shuffle=True, drop_last=True, collate_fn=lambda rows: list(rows)
    )
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=1e-4)
    steps = epochs * len(loader)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    started = time.monotonic()
    for epoch in range(1, epochs + 1):
        model.train()
        total = 0.0
        for rows in loader:
            images = [image.to(device) for image, _ in rows]
            targets = [{k: v.to(device) for k, v in target.items()} for _, target in rows]
            loss = torch.stack(list(model(images, targets).values())).sum()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
            schedule.step()
            total += loss.item()
        minutes = (time.monotonic() - started) / 60
        told = f"epoch {epoch:2} of {epochs}  loss {total / len(loader):.3f}  {minutes:.1f} min"
        if epoch % 5 == 0 and "val" in splits:
            ap, ap50 = precision(model, splits["val"], device)
            told += f"  val AP {ap:.3f}  AP50 {ap50:.3f}"
        print(told, flush=True)


def main() -> None:
    """Trains on a folder that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("release", type=Path, help="folder of a pulled release")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--side", type=int, default=256, help="pixels that images are scaled to")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", type=Path, help="where the weights go")
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    splits = splits_of(options.release)
    model = detector(len(splits["train"].class_of), options.side).to(device)
    for name in ("train", "val", "test"):
        count = len(splits.get(name, ()))
        print(f"{count} images in {name}" if count else f"no image in {name}: no AP of it")
    train(model, splits, options.epochs, options.batch, device)
    for name, split in splits.items():
        if name != "train":
            ap, ap50 = precision(model, split, device)
            print(f"{name}: AP {ap:.3f}, AP50 {ap50:.3f}")
    if options.save:
        torch.save(model.state_dict(), options.save)


if __name__ == "__main__":
    main()
