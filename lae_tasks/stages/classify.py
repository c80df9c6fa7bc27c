"""Classify: a Region gets a Label, by a vision-language model and, beside it, CLIP."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path

import numpy as np

from lae_tasks.backends.protocols import Classifier, Image, Reply, TextEmbedder
from lae_tasks.config import ClassifyConfig
from lae_tasks.contracts import Done, Label, Region, Rejection, Tile
from lae_tasks.errors import ConfigError
from lae_tasks.mosaic import Mosaic
from lae_tasks.replies import ParsedReply, UnparsableReplyError, parse_reply, token_confidence
from lae_tasks.storage import MissingObjectError, Storage

STAGE = "classify"
#: The "model" of a name that came with an imported annotation.
_ANNOTATED = "annotation"
#: Crops in memory at a time; batches of the model are formed inside, across images.
_CROPS_AT_ONCE, _CROP_BYTES_AT_ONCE = 512, 256 << 20


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
        tiles: The tiles of their scenes, by id.
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
    mosaic = Mosaic(tiles.values(), store)
    waiting: list[tuple[Region, Image]] = []
    waiting_bytes = 0
    for region in regions:
        try:
            crop = mosaic.crop(region, config.crop_margin)
        except MissingObjectError as error:
            yield Rejection(
                rejected_id=region.region_id, stage=STAGE, reason="image gone", detail=str(error)
            )
            continue
        waiting.append((region, crop))
        waiting_bytes += crop.nbytes
        if len(waiting) == _CROPS_AT_ONCE or waiting_bytes >= _CROP_BYTES_AT_ONCE:
            yield from namer.name(waiting)
            waiting, waiting_bytes = [], 0
    yield from namer.name(waiting)


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

    def name(self, crops: Sequence[tuple[Region, Image]]) -> Iterator[Done | Rejection]:
        """Labels regions by their crops."""
        if not crops:
            return
        images = [image for _, image in crops]
        # What its data set has a name for need not be asked.
        unnamed = [image for region, image in crops if not region.prompt_category]
        replies = iter(self._classifier.reply(unnamed, self._prompt) if unnamed else ())
        second = self._second_opinion(images)
        for (region, image), opinion in zip(crops, second, strict=True):
            reply = None if region.prompt_category else next(replies)
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
        self,
        region: Region,
        image: Image,
        reply: Reply | None,
        opinion: tuple[str | None, float | None],
    ) -> Done | Rejection:
        """The label by a reply; by the name that the region came with where nothing was asked."""
        try:
            named = ParsedReply(region.prompt_category, None, None)
            parsed = parse_reply(reply.text) if reply else named
        except UnparsableReplyError as error:
            return Rejection(
                rejected_id=region.region_id,
                stage=STAGE,
                reason="reply not understood",
                detail=str(error),
            )
        confidence = token_confidence(reply, parsed.span) if reply and parsed.span else None
        label = Label(
            region_id=region.region_id,
            model_revision=self._revision if reply else _ANNOTATED,
            prompt_sha256=self._prompt_sha256 if reply else "",
            category_said=parsed.category,
            likelihood_said=parsed.likelihood,
            token_confidence=None if confidence is None else round(min(confidence, 1.0), 4),
            clip_category=opinion[0],
            clip_score=opinion[1],
            crop_std=round(float(np.asarray(image, dtype=np.float64).mean(axis=2).std()), 3),
            reply=reply.text if reply else "",
        )
        return Done(region.region_id, (label,))
