"""Naming crops against the paper's way: the same model, the same crops, the same replies.

    python -m benchmarks.naming [--images 30] [--batch-sizes 32 64 128] [--times 5] [--threads 1]

The paper's script gives the model the ten largest regions of one image at a time, and calls its
`generate` for each image. Here it does so with the demo's model and its processor, on crops that
are in memory already. Ours are `LocalClassifier.reply` over all crops.

They run in turn in one process. Printed are crops per second, by the clock and of the CPU, of each
one's best run, and the median of the ratios of runs that followed each other, as a machine with
other work is not always equally fast. Replies that differ end the benchmark.

The last lines tell what the time consists of: the processor, the pass over images and prompts,
which both ways have to make for every crop, and the tokens. Were all but that pass for nothing, the
ratio would be the limit that is printed.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image as PilImage
from rich.console import Console
from transformers import AutoModelForImageTextToText, AutoProcessor

from demo.evaluate_models import MODELS, demo_config
from demo.scenes import generate_scene
from lae_tasks.backends.lvlm import LocalClassifier
from lae_tasks.backends.protocols import Image
from lae_tasks.config import ClassifyConfig
from lae_tasks.imagery.crops import crop_region
from lae_tasks.naming.prompt_template import load_template

SEED, SIDE_PX, REGIONS = 1_000_000, 640, 10
TARGET = 2.0
out = Console(highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class Run:
    """Wall and CPU seconds, and what was said."""

    wall_s: float
    cpu_s: float
    texts: list[str] | None


class Paper:
    """The paper's way: one image's crops at a time."""

    def __init__(self, config: ClassifyConfig) -> None:
        load_processor: Any = AutoProcessor.from_pretrained
        self._processor = load_processor(config.model)
        self._processor.tokenizer.padding_side = "left"
        load: Any = AutoModelForImageTextToText.from_pretrained
        self._model = load(config.model, dtype=getattr(torch, config.dtype)).to(config.device)
        self._most_tokens = config.max_new_tokens
        content = [{"type": "image"}, {"type": "text", "text": load_template(config.prompt).text}]
        self._text = self._processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True
        )

    def name(self, images: Sequence[Sequence[Image]]) -> list[str]:
        """The replies to all crops of some images."""
        said = []
        for crops in images:
            inputs = self.inputs(crops)
            tokens = self.generate(inputs, self._most_tokens)[:, inputs["input_ids"].shape[1] :]
            said += self._processor.batch_decode(tokens, skip_special_tokens=True)
        return said

    def inputs(self, crops: Sequence[Image]) -> Any:
        """What the model takes."""
        pictures = [[PilImage.fromarray(crop)] for crop in crops]
        made = self._processor(
            text=[self._text] * len(crops), images=pictures, return_tensors="pt", padding=True
        )
        return made.to(self._model.device, self._model.dtype)

    def generate(self, inputs: Any, most_tokens: int) -> torch.Tensor:
        """The tokens of prompts and replies."""
        tokens: torch.Tensor = self._model.generate(
            **inputs, max_new_tokens=most_tokens, do_sample=False
        )
        return tokens


def largest_crops(count: int, margin: float) -> list[list[Image]]:
    """The ten largest objects of each of some scenes, cut as the engine cuts them."""
    images: list[list[Image]] = []
    seed = SEED
    while len(images) < count:
        scene = generate_scene(seed, SIDE_PX)
        boxes = [item.bbox_xyxy_px for item in scene.objects]
        boxes.sort(key=lambda box: (box[0] - box[2]) * (box[3] - box[1]))
        if len(boxes) >= REGIONS:
            images.append([crop_region(scene.image, box, margin) for box in boxes[:REGIONS]])
        seed += 1
    return images


def timed(work: Callable[[], Any]) -> Run:
    """Runs something once."""
    wall, cpu = time.perf_counter(), time.process_time()
    texts = work()
    return Run(time.perf_counter() - wall, time.process_time() - cpu, texts)


def compare(paper: Paper, config: ClassifyConfig, args: argparse.Namespace) -> Run:
    """Prints both throughputs and their ratio for each batch size; returns the paper's best run."""
    images = largest_crops(args.images, config.crop_margin)
    crops = [crop for of_image in images for crop in of_image]
    template = load_template(config.prompt)
    best: list[Run] = []
    for size in args.batch_sizes:
        ours = LocalClassifier(config.model_copy(update={"batch_size": size}), args.threads)

        def name(ours: LocalClassifier = ours) -> list[str]:
            return [reply.text for reply in ours.reply(crops, template)]

        for warm_up in (lambda: paper.name(images[:2]), name):
            warm_up()
        pairs = [(timed(lambda: paper.name(images)), timed(name)) for _ in range(args.times)]
        if any(theirs.texts != mine.texts for theirs, mine in pairs):
            raise SystemExit("the replies differ")
        theirs, mine = (fastest(runs) for runs in zip(*pairs, strict=True))
        best.append(theirs)
        wall = statistics.median(a.wall_s / b.wall_s for a, b in pairs)
        cpu = statistics.median(a.cpu_s / b.cpu_s for a, b in pairs)
        out.print(
            f"batches of {size:4}: ours {per_second(crops, mine)}, the paper's way "
            f"{per_second(crops, theirs)}; ratio {wall:.2f} (CPU {cpu:.2f}), of the best runs "
            f"{theirs.wall_s / mine.wall_s:.2f} (CPU {theirs.cpu_s / mine.cpu_s:.2f}), "
            f"target >= {TARGET}; all {len(crops)} replies are equal"
        )
    return fastest(best)


def fastest(runs: Sequence[Run]) -> Run:
    """The run that took least, by wall and by CPU."""
    wall_s, cpu_s = min(run.wall_s for run in runs), min(run.cpu_s for run in runs)
    return Run(wall_s, cpu_s, runs[0].texts)


def per_second(crops: Sequence[Image], run: Run) -> str:
    """Throughput by the clock and of the CPU."""
    return f"{len(crops) / run.wall_s:5.0f}/s (CPU {len(crops) / run.cpu_s:5.0f}/s)"


def parts(paper: Paper, config: ClassifyConfig, args: argparse.Namespace, whole: Run) -> None:
    """Prints the milliseconds per crop of the steps, in the paper's batches and in ours."""
    crops = [crop for image in largest_crops(args.images, config.crop_margin) for crop in image]
    for size in (REGIONS, *args.batch_sizes):
        groups = [crops[start : start + size] for start in range(0, len(crops), size)]
        runs = [steps(paper, groups, config.max_new_tokens) for _ in range(args.times)]
        processor, first, reply = (
            1000 * fastest(step).cpu_s / len(crops) for step in zip(*runs, strict=True)
        )
        out.print(
            f"batches of {size:4}: CPU ms per crop: processor {processor:.2f}, images and prompts "
            f"{first:.2f}, tokens {reply - first:.2f}; limit of the ratio "
            f"{1000 * whole.cpu_s / len(crops) / first:.2f}"
        )


def steps(paper: Paper, groups: Sequence[Sequence[Image]], most_tokens: int) -> list[Run]:
    """Runs the processor, then the model for a first token, then for whole replies."""
    inputs: list[Any] = []

    def say(most: int) -> None:
        for each in inputs:
            paper.generate(each, most)

    return [
        timed(lambda: inputs.extend(map(paper.inputs, groups))),
        timed(lambda: say(1)),
        timed(lambda: say(most_tokens)),
    ]


def main() -> None:
    """Runs both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=30)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[32, 64, 128])
    parser.add_argument("--times", type=int, default=5)
    settings = demo_config(MODELS)
    parser.add_argument("--threads", type=int, default=settings.threads)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    paper = Paper(settings.classify)
    whole = compare(paper, settings.classify, args)
    parts(paper, settings.classify, args, whole)


if __name__ == "__main__":
    main()
