"""Classify: a Region gets a Label, by whoever names crops and, beside it, CLIP."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass

import numpy as np

from lae_tasks.accounts import Counted, Done, Rejection
from lae_tasks.backends.protocols import Classifier, Image, Reply
from lae_tasks.config import ClassifyConfig
from lae_tasks.contracts import Embedding, Label, Region, Tile
from lae_tasks.errors import ConfigError
from lae_tasks.imagery.mosaic import Mosaic
from lae_tasks.naming.asking import asked
from lae_tasks.naming.opinion import Opinion, SecondOpinion, Vectors
from lae_tasks.naming.prompt_template import PromptTemplate, load_template
from lae_tasks.naming.replies import (
    ParsedReply,
    UnparsableReplyError,
    parse_reply,
    token_confidence,
)
from lae_tasks.prefetch import prefetch
from lae_tasks.storage import MissingObjectError, Storage

STAGE = "classify"
#: The "model" of a name that came with an imported annotation.
_ANNOTATED = "annotation"
#: If none of so many first replies is understood, or none of a few that are enough to tell, prompt
#: or model is wrong: the night would end without a name, and be released.
_FIRST_REPLIES, _ENOUGH_REPLIES = 32, 8
#: Crops that are cut, and seen by CLIP, at a time; two such batches wait while a model works.
_CROPS_AT_ONCE, _CROP_BYTES_AT_ONCE, _BATCHES_AHEAD = 64, 64 << 20, 2


@dataclass
class _Cut:
    """A region with its crop, until it has its label.

    Attributes:
        shown: What the namer is shown; None where there is nothing to ask.
        problem: Why it cannot be named.
        vector: CLIP's.
    """

    region: Region
    shown: Image | None = None
    crop_std: float = 0.0
    nodata_share: float = 0.0
    problem: str = ""
    vector: Vectors | None = None


def run(
    regions: Sequence[Region],
    tiles: Mapping[str, Tile],
    store: Storage,
    classifier: Classifier,
    second: SecondOpinion | None,
    config: ClassifyConfig,
) -> Iterator[Done | Rejection | Counted]:
    """Names regions. Crops are cut in memory from the tiles' renditions, while the models run.

    Args:
        regions: What to name; the regions of a tile stand together.
        tiles: The tiles of their scenes, by id.
        store: Where the renditions lie.
        classifier: Who names them.
        second: CLIP as a second opinion; None leaves its columns empty.
        config: The stage's settings.

    Yields:
        One Done for each region, with its Label and, of CLIP, its Embedding; or a Rejection where
        there is no reply or none that can be understood, and what such a reply took.

    Raises:
        ConfigError: If none of the first replies can be understood.
    """
    template = load_template(config.prompt)
    labeller = _Labeller(classifier, second, template)
    batches = prefetch(_cut(regions, Mosaic(tiles.values(), store), second, config), _BATCHES_AHEAD)
    cuts = (cut for batch in batches for cut in _embedded(batch, second))
    replies = asked(cuts, _to_ask, lambda crops: classifier.reply(crops, template))
    # Whatever happens here, nobody is asked on.
    with closing(replies):
        yield from _results(replies, labeller, config.prompt)


def _results(
    replies: Iterable[tuple[_Cut, Reply | None]], labeller: "_Labeller", prompt: str
) -> Iterator[Done | Rejection | Counted]:
    said: list[str] = []  # the replies, as long as none is understood
    understood = False
    for cut, reply in replies:
        result = labeller.label(cut, reply)
        yield result
        if reply and reply.counts and isinstance(result, Rejection):
            yield Counted(reply.counts)
        if reply and not reply.problem and not understood:
            said.append(reply.text)
            understood = isinstance(result, Done)
            if not understood and len(said) == _FIRST_REPLIES:
                raise _none_understood(said, prompt)
    if not understood and len(said) >= _ENOUGH_REPLIES:
        raise _none_understood(said, prompt)


def _none_understood(said: Sequence[str], prompt: str) -> ConfigError:
    return ConfigError(
        f"classify.prompt {prompt!r}: none of the first {len(said)} replies of the shard can be "
        f"understood: {said[-1][:200]!r}; ask for a name in quotes or for JSON, as lae_paper and "
        "json do, whichever the model knows"
    )


def _cut(
    regions: Sequence[Region], mosaic: Mosaic, second: SecondOpinion | None, config: ClassifyConfig
) -> Iterator[list[tuple[_Cut, Image | None]]]:
    """The regions with their crops, some at a time."""
    batch: list[tuple[_Cut, Image | None]] = []
    size_bytes = 0
    for region in regions:
        try:
            crop = mosaic.crop(region, config.crop_margin)
            nodata_share = mosaic.nodata_share(region)
        except MissingObjectError as error:
            batch.append((_Cut(region, problem=str(error)), None))
            continue
        cut = _Cut(
            region,
            crop_std=round(float(np.asarray(crop, dtype=np.float64).mean(axis=2).std()), 3),
            nodata_share=nodata_share,
        )
        # What its data set has a name for need not be asked.
        if not region.prompt_category:
            outlined = config.context == "outline"
            cut.shown = mosaic.outlined(region, config.crop_margin) if outlined else crop
        batch.append((cut, crop if second else None))
        size_bytes += crop.nbytes
        if len(batch) == _CROPS_AT_ONCE or size_bytes >= _CROP_BYTES_AT_ONCE:
            yield batch
            batch, size_bytes = [], 0
    if batch:
        yield batch


def _embedded(
    batch: Sequence[tuple[_Cut, Image | None]], second: SecondOpinion | None
) -> Iterable[_Cut]:
    """A batch with CLIP's vectors."""
    seen = [(cut, crop) for cut, crop in batch if crop is not None]
    if second and seen:
        vectors = second.embed([crop for _, crop in seen])
        for (cut, _), vector in zip(seen, vectors, strict=True):
            cut.vector = vector
    return [cut for cut, _ in batch]


def _to_ask(cut: _Cut) -> Image | None:
    """The crop that is asked about; it does not stay in memory until its reply is there."""
    shown, cut.shown = cut.shown, None
    return shown


class _Labeller:
    def __init__(
        self, classifier: Classifier, second: SecondOpinion | None, template: PromptTemplate
    ) -> None:
        self._second = second
        self._template = template
        revisions = [classifier.revision, *([second.revision] if second else [])]
        self._revision = "+".join(revisions)

    def label(self, cut: _Cut, reply: Reply | None) -> Done | Rejection:
        """The label by a reply; by the name that the region came with where nothing was asked."""
        region = cut.region
        if cut.problem:
            return _rejected(region, "image gone", cut.problem)
        if reply and reply.problem:
            return _rejected(region, "no reply", reply.problem)
        try:
            named = ParsedReply(region.prompt_category, None, None)
            parsed = parse_reply(reply.text) if reply else named
        except UnparsableReplyError as error:
            return _rejected(region, "reply not understood", str(error))
        names, scores = _alternatives(parsed, reply)
        label = Label(
            region_id=region.region_id,
            model_revision=self._revision if reply else _ANNOTATED,
            prompt_sha256=self._template.sha256 if reply else "",
            category_said=parsed.category,
            likelihood_said=parsed.likelihood,
            token_confidence=_confidence(parsed, reply),
            alternatives=names,
            alternative_scores=scores,
            **asdict(self._opinion(cut, parsed.category)),
            crop_std=cut.crop_std,
            nodata_share=cut.nodata_share,
            reply=reply.text if reply else "",
        )
        outputs: list[Label | Embedding] = [label]
        if self._second and cut.vector is not None:
            vector = tuple(cut.vector.tolist())
            embedding = Embedding(
                region_id=region.region_id,
                model_revision=self._second.revision,
                vector=vector,
            )
            outputs.append(embedding)
        return Done(region.region_id, outputs, reply.counts if reply else {})

    def _opinion(self, cut: _Cut, said: str | None) -> Opinion:
        if self._second is None or cut.vector is None:
            return Opinion()
        return self._second.of(cut.vector, said)


def _rejected(region: Region, reason: str, detail: str) -> Rejection:
    return Rejection(rejected_id=region.region_id, stage=STAGE, reason=reason, detail=detail)


def _confidence(parsed: ParsedReply, reply: Reply | None) -> float | None:
    """The probability of the name's tokens; None where the model told none."""
    if reply is None or parsed.span is None or not reply.token_ends:
        return None
    return round(min(token_confidence(reply, parsed.span), 1.0), 4)


def _alternatives(
    parsed: ParsedReply, reply: Reply | None
) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """Other names: what the model says in its reply, else what it might have said instead."""
    found: dict[str, float | None] = {}
    if parsed.alternatives:
        found = dict(parsed.alternatives)
    elif reply:
        for other in reply.others:
            try:
                its = parse_reply(other.text)
            except UnparsableReplyError:
                continue
            if its.category:
                found.setdefault(its.category, _confidence(its, other))
    found.pop(parsed.category or "", None)
    scores = tuple(score for score in found.values() if score is not None)
    return tuple(found), scores if len(scores) == len(found) else ()
