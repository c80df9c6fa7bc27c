"""Route: every Label becomes a Decision: accept, review or reject, with the rule's name."""

import hashlib
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from lae_tasks.backends.protocols import TextEmbedder
from lae_tasks.config import RouteConfig
from lae_tasks.contracts import BoxPx, Decision, Done, Label, Merge, Outcome, Region
from lae_tasks.geometry import suppress_duplicates
from lae_tasks.merging import merge_names
from lae_tasks.names import canonical_form
from lae_tasks.vocabulary import Vocabulary

STAGE = "route"


@dataclass(frozen=True)
class Candidate:
    """A labelled region with all that the rules look at.

    Attributes:
        category: Its canonical name; None if it was not recognized.
        confidence: The score that the config names; None where it is not known, 1 for a name that
            was imported.
    """

    label: Label
    region: Region
    category: str | None
    confidence: float | None


def run(
    rows: Iterable[tuple[Label, Region]],
    embedder: TextEmbedder | None,
    vocabulary: Vocabulary,
    config: RouteConfig,
) -> Iterator[Done]:
    """Decides every label of a night.

    Names are merged over the whole night first, then the rules look at each region, and last,
    per scene and category, duplicates are suppressed (boxes in scene pixels, so the same object
    seen in two tiles counts once).

    Args:
        rows: The labels with their regions. They are gone through three times, and never held:
            a night may have more of them than memory.
        embedder: CLIP, which tells near-synonyms; None merges names by their form only.
        vocabulary: The names that may be accepted unseen; if empty, all.
        config: The stage's settings.

    Yields:
        One Done for each label: its Decision, and a Merge where it is the first of its name; a
        counter for each outcome and rule, such as `reject duplicate`.
    """
    ledger = _ledger(rows, vocabulary, embedder, config)
    duplicates = _duplicates(_candidates(rows, ledger, config), vocabulary, config)
    unlisted = dict(ledger)
    for number, candidate in enumerate(_candidates(rows, ledger, config)):
        outcome, rule = _rule(candidate, vocabulary, config)
        # A data set has each object once, however closely they stand.
        if number in duplicates and not _is_imported(candidate.region):
            outcome, rule = Outcome.REJECT, "duplicate"
        decision = _decision(candidate, outcome, rule, config)
        merge = unlisted.pop(candidate.label.category_said or "", None)
        outputs = (decision, merge) if merge else (decision,)
        yield Done(candidate.region.region_id, outputs, {f"{outcome.value} {rule}": 1})


def _ledger(
    rows: Iterable[tuple[Label, Region]],
    vocabulary: Vocabulary,
    embedder: TextEmbedder | None,
    config: RouteConfig,
) -> dict[str, Merge]:
    counts: Counter[str] = Counter()
    imported: set[str] = set()
    for label, region in rows:
        if label.category_said:
            counts[label.category_said] += 1
            if _is_imported(region):
                imported.add(label.category_said)
    embed = embedder.embed_names if embedder else None
    merges = merge_names(counts, vocabulary, imported, embed, config.merge_similarity)
    return {merge.name: merge for merge in merges}


def _candidates(
    rows: Iterable[tuple[Label, Region]], ledger: Mapping[str, Merge], config: RouteConfig
) -> Iterator[Candidate]:
    for label, region in rows:
        said = label.category_said
        yield Candidate(
            label=label,
            region=region,
            category=ledger[said].canonical if said else None,
            confidence=1.0 if _is_imported(region) else getattr(label, config.score),
        )


Rule = Callable[[Candidate, Vocabulary, RouteConfig], bool]

#: The rules in their order; the first that holds decides.
RULES: tuple[tuple[str, Outcome, Rule], ...] = (
    ("unrecognized", Outcome.REJECT, lambda c, _v, _cfg: c.category is None),
    ("mask_disagrees", Outcome.REVIEW, lambda c, _v, cfg: _is_poor_answer(c.region, cfg)),
    ("imported", Outcome.ACCEPT, lambda c, _v, _cfg: _is_imported(c.region)),
    ("too_small", Outcome.REJECT, lambda c, _v, cfg: c.region.area_px < cfg.min_area_px),
    ("too_long", Outcome.REJECT, lambda c, _v, cfg: _aspect(c.region) > cfg.max_aspect),
    ("monochrome", Outcome.REJECT, lambda c, _v, cfg: c.label.crop_std < cfg.min_crop_std),
    ("no_confidence", Outcome.REVIEW, lambda c, _v, _cfg: c.confidence is None),
    ("low_confidence", Outcome.REJECT, lambda c, _v, cfg: (c.confidence or 0) < cfg.reject_below),
    ("seen_in_part", Outcome.REVIEW, lambda c, _v, cfg: _is_doubtful_part(c.region, cfg)),
    (
        "new_category",
        Outcome.REVIEW,
        lambda c, v, _cfg: _is_new(c, v),
    ),
    ("clip_disagrees", Outcome.REVIEW, lambda c, _v, _cfg: _clip_disagrees(c)),
    ("unsure", Outcome.REVIEW, lambda c, _v, cfg: (c.confidence or 0) < cfg.accept_at),
    ("confident", Outcome.ACCEPT, lambda _c, _v, _cfg: True),
)


def _rule(candidate: Candidate, vocabulary: Vocabulary, config: RouteConfig) -> tuple[Outcome, str]:
    return next(
        (outcome, name) for name, outcome, holds in RULES if holds(candidate, vocabulary, config)
    )


def _is_imported(region: Region) -> bool:
    """Whether the region came with the name that its dataset gave it."""
    return region.prompt_category is not None


def _is_poor_answer(region: Region, config: RouteConfig) -> bool:
    """Whether the mask is not what the prompt was about, as far as box or model tell."""
    if not _is_imported(region):
        return False
    fit = region.predicted_iou if region.prompt_iou is None else region.prompt_iou
    return fit < config.min_prompt_iou


def _is_doubtful_part(region: Region, config: RouteConfig) -> bool:
    return config.review_seen_in_part and region.seen_in_part


def _aspect(region: Region) -> float:
    x0, y0, x1, y1 = region.bbox_xyxy_px
    return max(x1 - x0, y1 - y0) / min(x1 - x0, y1 - y0)


def _is_new(candidate: Candidate, vocabulary: Vocabulary) -> bool:
    return bool(vocabulary.names) and candidate.category not in vocabulary.names


def _clip_disagrees(candidate: Candidate) -> bool:
    second = candidate.label.clip_categories[:1]
    same = [canonical_form(name) == canonical_form(candidate.category or "") for name in second]
    return same == [False]


class _Group:
    """What may be duplicates of each other, as plain numbers: a scene may have very many."""

    def __init__(self) -> None:
        self.numbers, self.boxes, self.scores = array("q"), array("q"), array("d")

    def add(self, number: int, bbox_xyxy_px: BoxPx, score: float) -> None:
        self.numbers.append(number)
        self.boxes.extend(bbox_xyxy_px)
        self.scores.append(score)


def _duplicates(
    candidates: Iterable[Candidate], vocabulary: Vocabulary, config: RouteConfig
) -> set[int]:
    """Numbers of the candidates that a better one of the same scene and category makes superfluous.

    They are numbered in their order, from 0.
    """
    groups: defaultdict[tuple[str, str | None], _Group] = defaultdict(_Group)
    for number, candidate in enumerate(candidates):
        outcome, _ = _rule(candidate, vocabulary, config)
        if outcome is not Outcome.REJECT:
            # What is accepted outranks what is not; then the confidence counts.
            score = (outcome is Outcome.ACCEPT) + (candidate.confidence or 0.0)
            group = groups[candidate.region.scene_id, candidate.category]
            group.add(number, candidate.region.bbox_xyxy_px, score)
    duplicates: set[int] = set()
    for group in groups.values():
        boxes = np.asarray(group.boxes).reshape(-1, 4)
        kept = suppress_duplicates(boxes, group.scores, config.nms_iou, config.nms_measure)
        duplicates.update(np.delete(group.numbers, kept).tolist())
    return duplicates


def _decision(candidate: Candidate, outcome: Outcome, rule: str, config: RouteConfig) -> Decision:
    region = candidate.region
    names = [candidate.category, *candidate.label.clip_categories[:1]]
    return Decision(
        region_id=region.region_id,
        tile_id=region.tile_id,
        scene_id=region.scene_id,
        outcome=outcome,
        rule=rule,
        reason=rule,
        category=candidate.category,
        confidence=candidate.confidence or 0.0,
        calibration="imported" if _is_imported(region) else f"none:{config.score}",
        candidates=tuple(dict.fromkeys(n for n in names if n))[: config.max_candidates],
        in_audit=outcome is Outcome.ACCEPT and _drawn(region.region_id, config),
    )


def _drawn(region_id: str, config: RouteConfig) -> bool:
    """A draw that depends on seed and region only, so that a rerun draws the same."""
    digest = hashlib.sha256(f"{config.audit_seed}|{region_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < config.audit_share * 2**64
