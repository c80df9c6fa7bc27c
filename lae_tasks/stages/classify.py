"""Classify: a Region gets a Label, by a vision-language model and, beside it, CLIP."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path

import numpy as np

from lae_tasks.backends.protocols import Classifier, Image, Reply, TextEmbedder
from lae_tasks.config import ClassifyConfig
from lae_tasks.contracts import Done, Label, Region, Rejection, Tile
from lae_tasks.crops import crop_region
from lae_tasks.errors import ConfigError
from lae_tasks.replies import UnparsableReplyError, parse_reply, token_confidence
from lae_tasks.stages.tile import load_image
from lae_tasks.storage import MissingObjectError, Storage

STAGE = "classify"
#: Crops in memory at a time; batches of the model are formed inside, across images.
_CROPS_AT_ONCE = 512


def load_prompt(name: str) -> str:
    """A prompt template of the package, or of a file. Raises ConfigError if there is none."""
    own = resources.files("lae_tasks") / "prompts" / f"{name}.txt"
    try:
        text = own.read_text() if own.is_file() else Path(name).read_text()
    except OSError as error:
        raise ConfigError(f"classify.prompt {name!r}: no such template or file") from error
    return text.strip()


def run(
    regions: Sequence[Region],
    tiles: Mapping[str, Tile],
    store: Storage,
    classifier: Classifier,
    embedder: TextEmbedder | None,
    vocabulary: Sequence[str],
    config: ClassifyConfig,
) -> Iterator[Done | Rejection]:
    """Names regions. Crops are cut in memory from the tiles' renditions.

    Args:
        regions: What to name; the regions of a tile stand together.
        tiles: The tiles of these regions, by id.
        store: Where the renditions lie.
        classifier: The vision-language model.
        embedder: CLIP as a second opinion; None leaves its columns empty.
        vocabulary: The names that CLIP chooses from.
        config: The stage's settings.

    Yields:
        One Done (a Label) for each region, or a Rejection where the reply cannot be understood.
    """
    prompt = load_prompt(config.prompt)
    namer = _Namer(classifier, embedder, vocabulary, prompt)
    for start in range(0, len(regions), _CROPS_AT_ONCE):
        chunk = regions[start : start + _CROPS_AT_ONCE]
        crops, missing = _crops(chunk, tiles, store, config.crop_margin)
        yield from missing
        yield from namer.name([r for r in chunk if r.region_id in crops], crops)


class _Namer:
    def __init__(
        self,
        classifier: Classifier,
        embedder: TextEmbedder | None,
        vocabulary: Sequence[str],
        prompt: str,
    ) -> None:
        self._classifier = classifier
        self._embedder = embedder if vocabulary else None
        self._vocabulary = vocabulary
        self._prompt = prompt
        self._prompt_sha256 = hashlib.sha256(prompt.encode()).hexdigest()
        revisions = [classifier.revision, *([self._embedder.revision] if self._embedder else [])]
        self._revision = "+".join(revisions)

    def name(
        self, regions: Sequence[Region], crops: Mapping[str, Image]
    ) -> Iterator[Done | Rejection]:
        if not regions:
            return
        images = [crops[region.region_id] for region in regions]
        replies = self._classifier.reply(images, self._prompt)
        second = self._second_opinion(images)
        for region, image, reply, opinion in zip(regions, images, replies, second, strict=True):
            yield self._label(region, image, reply, opinion)

    def _second_opinion(self, images: Sequence[Image]) -> list[tuple[str | None, float | None]]:
        if self._embedder is None:
            return [(None, None)] * len(images)
        shares = self._embedder.probabilities(images, self._vocabulary)
        best = shares.argmax(axis=1)
        return [
            (self._vocabulary[index], round(float(row[index]), 4))
            for index, row in zip(best, shares, strict=True)
        ]

    def _label(
        self, region: Region, image: Image, reply: Reply, opinion: tuple[str | None, float | None]
    ) -> Done | Rejection:
        try:
            parsed = parse_reply(reply.text)
        except UnparsableReplyError as error:
            return Rejection(
                rejected_id=region.region_id,
                stage=STAGE,
                reason="reply not understood",
                detail=str(error),
            )
        confidence = token_confidence(reply, parsed.span) if parsed.span else None
        label = Label(
            region_id=region.region_id,
            model_revision=self._revision,
            prompt_sha256=self._prompt_sha256,
            category_said=parsed.category,
            likelihood_said=parsed.likelihood,
            token_confidence=None if confidence is None else round(min(confidence, 1.0), 4),
            clip_category=opinion[0],
            clip_score=opinion[1],
            crop_std=round(float(np.asarray(image, dtype=np.float64).mean(axis=2).std()), 3),
            reply=reply.text,
        )
        return Done(region.region_id, (label,))


def _crops(
    regions: Sequence[Region], tiles: Mapping[str, Tile], store: Storage, margin: float
) -> tuple[dict[str, Image], list[Rejection]]:
    """The crop of each region, by its id; and what has no picture any more."""
    crops: dict[str, Image] = {}
    missing: list[Rejection] = []
    by_tile: dict[str, list[Region]] = {}
    for region in regions:
        by_tile.setdefault(region.tile_id, []).append(region)
    for tile_id, members in by_tile.items():
        tile = tiles[tile_id]
        try:
            image = load_image(tile, store)
        except MissingObjectError as error:
            missing += [
                Rejection(
                    rejected_id=r.region_id, stage=STAGE, reason="image gone", detail=str(error)
                )
                for r in members
            ]
            continue
        x, y = tile.window_px[:2]
        for region in members:
            x0, y0, x1, y1 = region.bbox_xyxy_px
            crops[region.region_id] = crop_region(image, (x0 - x, y0 - y, x1 - x, y1 - y), margin)
    return crops, missing
