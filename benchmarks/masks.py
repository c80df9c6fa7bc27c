"""Automatic masks against peers: the same masks, in less time.

    python -m benchmarks.masks stock [--model small|vit_b|vit_l|vit_h] [--points N]
    python -m benchmarks.masks transformers [--model vit_b|vit_l|vit_h] [--points N]
    python -m benchmarks.masks parts [--model small|vit_b|vit_l|vit_h] [--points N]

`stock` is segment_anything's `SamAutomaticMaskGenerator`, `transformers` its pipeline
`mask-generation`: the same weights, thresholds and synthetic image, in one process, in turn. Each
prints the best seconds of both, by the clock and of the CPU, their ratio, and the share of the
peer's masks that ours match at IoU >= 0.95. `parts` prints what each of our gains is worth: the
seconds with it switched off.

The small model has the demo's weights and the settings of its preset, at 512 and at 1,024 px;
transformers cannot load it. The others have random weights, which take as long as trained ones, and
32 points per side. Random weights would keep all masks or none: `pred_iou_thresh` is where as large
a share of masks stays as the demo model keeps of its own, and nothing is dropped for stability or
as a duplicate. Their masks are noise all over the image: no window of it is left out. With trained
weights (`--checkpoint`) the thresholds are the paper's. One crop layer, as in the paper, is
`--crop-layers 1`; a GPU `--device cuda`.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image as PillowImage
from pycocotools import mask as coco_mask
from rich.console import Console
from segment_anything import SamAutomaticMaskGenerator, sam_model_registry
from segment_anything.modeling import Sam
from transformers import SamImageProcessor, SamModel, pipeline

from benchmarks.sam_weights import random_sam, transformers_sam
from demo.masks import full_rle, mask_settings
from demo.metrics import mask_overlaps
from demo.scenes import generate_scene
from lae_tasks.backends.automatic_masks import automatic_masks
from lae_tasks.backends.point_decoder import PointDecoder
from lae_tasks.backends.protocols import EmbeddedImage, Floats, Image, MaskProposal
from lae_tasks.backends.sam import SegmentAnything
from lae_tasks.backends.small_sam import load_small_sam
from lae_tasks.config import SegmentConfig
from lae_tasks.geometry import mask_bbox

SMALL = Path("demo/models/sam/model.safetensors")
SEED = 1_000_000
MATCH_IOU = 0.95
Rle = dict[str, Any]
out = Console(highlight=False, soft_wrap=True)


class StockDecoder:
    """segment_anything's decoder in the place of PointDecoder."""

    def __init__(self, sam: Sam, embedding: torch.Tensor) -> None:
        self._sam, self._embedding = sam, embedding

    def decode(self, prompts: torch.Tensor, min_quality: float) -> tuple[torch.Tensor, ...]:
        """As PointDecoder's."""
        encoder = self._sam.prompt_encoder
        no_mask = encoder.no_mask_embed.weight.reshape(1, -1, 1, 1)
        masks, quality = self._sam.mask_decoder(
            image_embeddings=self._embedding,
            image_pe=encoder.get_dense_pe(),
            sparse_prompt_embeddings=prompts,
            dense_prompt_embeddings=no_mask.expand(len(prompts), *self._embedding.shape[1:]),
            multimask_output=True,
        )
        prompt, output = torch.nonzero(quality > min_quality, as_tuple=True)
        return prompt, quality[prompt, output], masks[prompt, output]


class LateFilter(PointDecoder):
    """A PointDecoder that makes all masks before it drops those of low predicted IoU."""

    def decode(self, prompts: torch.Tensor, min_quality: float) -> tuple[torch.Tensor, ...]:
        """As PointDecoder's."""
        prompt, quality, masks = super().decode(prompts, -np.inf)
        good = quality > min_quality
        return prompt[good], quality[good], masks[good]


class WholeUpscaler:
    """An Upscaler that brings every mask to the size of the image."""

    def __init__(self, image: EmbeddedImage) -> None:
        self._rows, self._columns = image.rows, image.columns

    def mask(self, logits: Floats, predicted_iou: float, offset: float) -> MaskProposal | None:
        """As Upscaler's."""
        values = self._rows @ logits @ self._columns.T
        mask = values > 0
        if not mask.any():
            return None
        stability = np.count_nonzero(values > offset) / np.count_nonzero(values > -offset)
        x0, y0, x1, y1 = mask_bbox(mask)
        return MaskProposal((x0, y0, x1, y1), mask[y0:y1, x0:x1], float(predicted_iou), stability)


#: What is switched off, by what takes its place where.
PARTS: tuple[tuple[str, str, Any], ...] = (
    ("stock attention of the encoder", "lae_tasks.backends.sam.attend_by_rows", lambda sam: sam),
    ("stock decoder", "lae_tasks.backends.sam.PointDecoder", StockDecoder),
    ("filter after the decoder", "lae_tasks.backends.sam.PointDecoder", LateFilter),
    ("64 points at a time", "lae_tasks.backends.sam._CACHE_BYTES", 2**62),
    ("masks of the image's size", "lae_tasks.backends.automatic_masks.Upscaler", WholeUpscaler),
)


class Bench:
    """One model with its settings, and an image."""

    def __init__(self, args: argparse.Namespace, checkpoint: Path, size_px: int) -> None:
        self.image = generate_scene(SEED, size_px).image
        self._args, self._checkpoint = args, checkpoint
        self.config = self._settings()

    def _settings(self) -> SegmentConfig:
        args, changes = self._args, {"device": self._args.device}
        if args.points:
            changes["points_per_side"] = args.points
        if args.model == "small":
            return mask_settings(self._checkpoint, **changes)
        paper = SegmentConfig(
            model_type=args.model, checkpoint=self._checkpoint, crop_n_layers=args.crop_layers
        ).model_copy(update=changes)
        if args.checkpoint:
            return paper
        share = kept_share(args.threads)
        threshold = float(np.quantile(predicted_ious(paper, self.image, args.threads), 1 - share))
        out.print(
            f"Random weights: of the demo model's masks {share:.1%} have a good predicted IoU; "
            f"pred_iou_thresh {threshold:.4f} leaves as many. Stability and duplicates: all stay."
        )
        off = {"pred_iou_thresh": threshold, "stability_score_thresh": 0.0}
        return paper.model_copy(update={**off, "box_nms_thresh": 1.0, "crop_nms_thresh": 1.0})

    def ours(self) -> Callable[[], list[Rle]]:
        """Our generator, as a function that makes the masks of the image."""
        model = SegmentAnything(self.config, self._args.threads)
        return lambda: [
            full_rle(mask, self.image) for mask in automatic_masks(model, self.image, self.config)
        ]

    def stock(self) -> Callable[[], list[Rle]]:
        """segment_anything's."""
        names = SegmentConfig.model_fields
        shared = [name for name in names if name.startswith(("points", "pred", "stab", "box_"))]
        shared += ["crop_n_layers", "crop_nms_thresh", "crop_n_points_downscale_factor"]
        settings = {name: getattr(self.config, name) for name in shared}
        settings["min_mask_region_area"] = self.config.min_mask_region_area
        generator = SamAutomaticMaskGenerator(self._sam(), output_mode="coco_rle", **settings)
        return lambda: [made["segmentation"] for made in generator.generate(self.image)]

    def transformers(self) -> Callable[[], list[Rle]]:
        """The pipeline of transformers, after a check that it has the same weights."""
        sam, config = self._sam(), self.config
        model = transformers_sam(sam, config.model_type).to(self._args.device)
        print_difference(sam, model, self.image)
        generator = pipeline(
            "mask-generation",
            model=model,
            image_processor=SamImageProcessor(),
            device=torch.device(self._args.device),
        )
        settings = {
            "points_per_crop": config.points_per_side,
            "points_per_batch": config.points_per_batch,
            "pred_iou_thresh": config.pred_iou_thresh,
            "stability_score_thresh": config.stability_score_thresh,
            "stability_score_offset": config.stability_score_offset,
            "crops_n_layers": config.crop_n_layers,
            "crop_n_points_downscale_factor": config.crop_n_points_downscale_factor,
            "crops_nms_thresh": config.box_nms_thresh,
        }
        picture = PillowImage.fromarray(self.image)
        return lambda: [encoded(mask) for mask in generator(picture, **settings)["masks"]]

    def _sam(self) -> Sam:
        if self._args.model == "small":
            sam = load_small_sam(self._checkpoint)
        else:
            sam = sam_model_registry[self._args.model](checkpoint=self._checkpoint).eval()
        return sam.to(self._args.device)


def predicted_ious(config: SegmentConfig, image: Image, threads: int) -> Floats:
    """What a model thinks of all its masks of 10 x 10 points."""
    embedded = SegmentAnything(config, threads).embed(image)
    steps = (np.arange(10, dtype=np.float32) + 0.5) / 10
    grid = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    points = grid * np.array([image.shape[1], image.shape[0]], dtype=np.float32)
    return np.concatenate([some.predicted_iou for some in embedded.at_points(points, -np.inf)])


def kept_share(threads: int) -> float:
    """The share of the demo model's masks that its threshold of the predicted IoU leaves."""
    config = mask_settings(SMALL)
    found = predicted_ious(config, generate_scene(SEED, 512).image, threads)
    return float((found > config.pred_iou_thresh).mean())


def encoded(mask: Any) -> Rle:
    """A mask of the image's size in COCO's run-length encoding."""
    return coco_mask.encode(np.asfortranarray(np.asarray(mask), dtype=np.uint8))


@torch.inference_mode()
def print_difference(sam: Sam, model: SamModel, image: Image) -> None:
    """Compares embeddings and the masks of one point, and refuses models that are not the same."""
    size = torch.tensor(image.shape[:2])
    tensor = torch.as_tensor(image).permute(2, 0, 1)[None].to(sam.device)
    pixels = sam.preprocess(tensor.float())
    point = (size.flip(0) / 2).to(pixels)[None, None]
    label = torch.ones(1, 1, dtype=torch.int, device=sam.device)
    embedding = sam.image_encoder(pixels)
    sparse, dense = sam.prompt_encoder((point, label), None, None)
    masks, _ = sam.mask_decoder(
        image_embeddings=embedding,
        image_pe=sam.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=True,
    )
    theirs = model.get_image_embeddings(pixels)
    answer = model(image_embeddings=theirs, input_points=point[None], input_labels=label[None])
    off = (embedding - theirs).abs().max().item()
    masks_off = (masks - answer.pred_masks[0]).abs().max().item()
    out.print(f"The same weights: embeddings differ by {off:.1e}, logits of masks {masks_off:.1e}")
    if max(off, masks_off) > 1e-3:
        raise SystemExit("the models are not the same")


@dataclass(frozen=True)
class Run:
    """One run of a generator: wall and CPU seconds, and its masks."""

    wall_s: float
    cpu_s: float
    masks: list[Rle]

    def __str__(self) -> str:
        return f"{self.wall_s:.2f} s (CPU {self.cpu_s:.2f} s)"


def timed(generate: Callable[[], list[Rle]], device: str) -> Run:
    """Runs a generator once."""
    wall, cpu = time.perf_counter(), time.process_time()
    masks = generate()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return Run(time.perf_counter() - wall, time.process_time() - cpu, masks)


def fastest(runs: Sequence[Run]) -> Run:
    """The run that took least, by wall and by CPU."""
    wall_s, cpu_s = min(run.wall_s for run in runs), min(run.cpu_s for run in runs)
    return Run(wall_s, cpu_s, runs[0].masks)


def matched_share(ours: Sequence[Rle], peers: Sequence[Rle]) -> float:
    """The share of a peer's masks that some mask of ours matches; 1 if there is none."""
    best = mask_overlaps(list(ours), list(peers)).max(axis=0, initial=0)
    return float((best >= MATCH_IOU).mean()) if len(peers) else 1.0


def compare(bench: Bench, peer: str, args: argparse.Namespace) -> None:
    """Prints the times of both, their ratio and the share of the peer's masks that ours match."""
    generators = bench.ours(), getattr(bench, peer)()
    runs = [[timed(each, args.device) for each in generators] for _ in range(args.times)]
    ours, theirs = (fastest(each) for each in zip(*runs, strict=True))
    out.print(
        f"{args.model} {len(bench.image)} px, {bench.config.points_per_side} points per side: "
        f"ours {ours}, {peer} {theirs}, ratio {theirs.wall_s / ours.wall_s:.2f} "
        f"(CPU {theirs.cpu_s / ours.cpu_s:.2f}); {len(ours.masks)} masks, {peer} "
        f"{len(theirs.masks)}, of which {matched_share(ours.masks, theirs.masks):.1%} match"
    )


def parts(bench: Bench, args: argparse.Namespace) -> None:
    """Prints the seconds with each gain switched off, against those with all of them."""
    names = ["all", *(name for name, _, _ in PARTS)]
    runs: dict[str, list[Run]] = {name: [] for name in names}
    for _ in range(args.times):
        for name in names:
            with patched(name):
                generate = bench.ours()  # loads the model, as the gain may lie there
                runs[name].append(timed(generate, args.device))
    best = {name: fastest(runs[name]) for name in names}
    every = best["all"]
    out.print(f"{args.model} {len(bench.image)} px, {len(every.masks)} masks; switched off:")
    for name, run in best.items():
        out.print(
            f"{name:32} {run}  x {run.wall_s / every.wall_s:.2f} (CPU x "
            f"{run.cpu_s / every.cpu_s:.2f}), {matched_share(every.masks, run.masks):.1%} match"
        )


def patched(name: str) -> ExitStack:
    """Switches a gain off as long as the context lasts."""
    stack = ExitStack()
    for part, target, replacement in PARTS:
        if part == name:
            stack.enter_context(patch(target, replacement))
    return stack


def main() -> None:
    """Runs one case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("case", choices=["stock", "transformers", "parts"])
    parser.add_argument("--model", choices=["small", "vit_b", "vit_l", "vit_h"])
    parser.add_argument("--checkpoint", type=Path, help="trained weights of --model")
    parser.add_argument("--points", type=int, help="points per side")
    parser.add_argument("--sizes", type=int, nargs="+", help="sides of the image in pixels")
    parser.add_argument("--crop-layers", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--times", type=int, default=3, help="the best of so many runs counts")
    args = parser.parse_args()
    args.model = args.model or ("vit_b" if args.case == "transformers" else "small")
    if args.case == "transformers" and args.model == "small":
        parser.error("transformers cannot load the small model: its patch embedding is not stock")
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = SMALL if args.model == "small" else args.checkpoint
        if not checkpoint:
            checkpoint = Path(folder) / "random.pth"
            torch.save(random_sam(args.model).state_dict(), checkpoint)
        for size_px in args.sizes or ([512, 1024] if args.model == "small" else [1024]):
            bench = Bench(args, checkpoint, size_px)
            if args.case == "parts":
                parts(bench, args)
            else:
                compare(bench, args.case, args)


if __name__ == "__main__":
    main()
