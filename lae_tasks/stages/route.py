"""Route: every Label becomes a Decision: accept, review or reject, with the rule's name.

All of it is done on whole columns: a night may have millions of labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import pyarrow as pa

from lae_tasks.backends.protocols import TextEmbedder
from lae_tasks.config import RouteConfig
from lae_tasks.contracts import Decision, Merge, Outcome
from lae_tasks.naming.merging import merge_names
from lae_tasks.naming.names import canonical_form
from lae_tasks.naming.phrases import is_name
from lae_tasks.naming.vocabulary import Vocabulary
from lae_tasks.regions.duplicates import Shapes, duplicates
from lae_tasks.routing import looks
from lae_tasks.routing.labelled import Candidates, Flags, Index, LabelledRegions, Names
from lae_tasks.runner import Columns
from lae_tasks.schema import arrow_schema
from lae_tasks.trust.calibration import probabilities
from lae_tasks.trust.features import READS, features
from lae_tasks.trust.records import Calibration

STAGE = "route"


def run(
    rows: LabelledRegions,
    embedder: TextEmbedder | None,
    vocabulary: Vocabulary,
    config: RouteConfig,
    calibration: Calibration | None = None,
) -> Columns:
    """Decides every label of a night.

    Names are merged over the whole night first, then the rules look at each region, and last,
    per scene and category, duplicates are suppressed (in scene pixels, so the same object seen in
    two tiles counts once).

    Args:
        rows: The labels with their regions.
        embedder: CLIP, which tells near-synonyms; None merges names by their form only.
        vocabulary: The data set's names.
        config: The stage's settings.
        calibration: What was learned from verdicts on what the same models made; None if too few.

    Returns:
        A Decision for each label, in their order; a Merge for each name that was said; a counter
        for each outcome and rule, such as `reject duplicate`.
    """
    ledger = merged_names(rows, embedder, vocabulary, config)
    seen = candidates(rows, ledger, vocabulary, config, calibration)
    decided = decide(seen, config)
    merges = [merge.model_dump(mode="json") for merge in ledger]
    tables = (
        _decisions(seen, decided, ledger, config),
        pa.Table.from_pylist(merges, schema=arrow_schema(Merge)),
    )
    return Columns(rows.region_id, tables, decided.counts())


def columns(config: RouteConfig, calibration: Calibration | None = None) -> set[str]:
    """The columns of labels and regions that are looked at."""
    needed = {config.score, *looks.READS}.union(*(rule.reads for rule in config.rules))
    if calibration:
        needed.update(READS)
    return needed | {"area_px", "mask_rle"} if _compares_masks(config) else needed


def _compares_masks(config: RouteConfig) -> bool:
    return config.nms_measure.startswith("mask_")


def merged_names(
    rows: LabelledRegions,
    embedder: TextEmbedder | None,
    vocabulary: Vocabulary,
    config: RouteConfig,
) -> list[Merge]:
    """The ledger of the names that were said."""
    said = rows.names("category_said")
    imported = Names(said.distinct, np.where(rows.imported, said.index, np.int32(-1))).counts()
    embed = embedder.embed_names if embedder else None
    return merge_names(said.counts(), vocabulary, imported, embed, config.merge_similarity)


def candidates(
    rows: LabelledRegions,
    ledger: Sequence[Merge],
    vocabulary: Vocabulary,
    config: RouteConfig,
    calibration: Calibration | None = None,
) -> Candidates:
    """The rows with what the rules look at beside their columns."""
    canonical = {merge.name: merge.canonical for merge in ledger}
    category = rows.names("category_said").mapped(lambda name: canonical.get(name, name))
    if calibration:
        confidence = probabilities(calibration, features(rows), category, vocabulary.spelled).round(
            4
        )
    else:
        confidence = rows.numbers(config.score)
    return Candidates(
        rows=rows,
        category=category,
        confidence=np.where(rows.imported, 1.0, confidence),
        vocabulary=vocabulary,
        calibration=calibration,
    )


@dataclass(frozen=True)
class Decided:
    """Which rule decided each row.

    Attributes:
        rules: Of each rule its name, outcome and reason: those of the config in their order, then
            `confident`, for what no rule took, and `duplicate`.
        taken: Of each row the number of its rule.
    """

    rules: tuple[tuple[str, Outcome, str], ...]
    taken: Index

    def counts(self) -> dict[str, int]:
        """How many rows each outcome and rule has, such as `reject duplicate`."""
        found: dict[str, int] = {}
        for (name, outcome, _), count in zip(self.rules, self.rows_of_rule(), strict=True):
            if count:
                key = f"{outcome.value} {name}"
                found[key] = found.get(key, 0) + count
        return found

    def rows_of_rule(self) -> list[int]:
        """How many rows each rule took."""
        counted: list[int] = np.bincount(self.taken, minlength=len(self.rules)).tolist()
        return counted

    def where(self, outcome: Outcome) -> Flags:
        """The rows with this outcome."""
        return np.array([its is outcome for _, its, _ in self.rules])[self.taken]

    def column(self, place: int) -> pa.DictionaryArray:
        """Names, outcomes or reasons of all rows: 0, 1 or 2."""
        return pa.DictionaryArray.from_arrays(self.taken, [str(rule[place]) for rule in self.rules])


def decide(seen: Candidates, config: RouteConfig) -> Decided:
    """The first rule that holds decides; then duplicates of what was not rejected go."""
    confident, duplicate = len(config.rules), len(config.rules) + 1
    overlap = f"a better one of its category overlaps it by more than {config.nms_iou:g}"
    rules = (
        *((rule.rule, rule.then, rule.reason) for rule in config.rules),
        ("confident", Outcome.ACCEPT, "no rule took it"),
        ("duplicate", Outcome.REJECT, f"{overlap} ({config.nms_measure})"),
    )
    taken = np.full(len(seen.rows), confident, dtype=np.int32)
    for number in reversed(range(len(config.rules))):
        rule = config.rules[number]
        if not (seen.calibration and rule.until_calibrated):
            taken[rule.holds(seen)] = number
    taken[_duplicates(seen, Decided(rules, taken), config)] = duplicate
    return Decided(rules, taken)


def _duplicates(seen: Candidates, decided: Decided, config: RouteConfig) -> Flags:
    """What a better one of the same scene and category makes superfluous."""
    accepted = decided.where(Outcome.ACCEPT)
    kept = np.flatnonzero(~decided.where(Outcome.REJECT))
    # What is accepted outranks what is not; then the confidence counts.
    scores = 2.0 * accepted[kept] + np.nan_to_num(seen.confidence[kept])
    scenes = seen.rows.names("scene_id")
    groups = scenes.index[kept] * np.int64(len(seen.category.distinct) + 1)
    groups += seen.category.index[kept]
    shapes = Shapes(seen.rows.boxes_xyxy_px[kept])
    if _compares_masks(config):
        areas = seen.rows.numbers("area_px")[kept].astype(np.int64)
        rles = seen.rows.mask_rle
        shapes = Shapes(shapes.boxes_xyxy_px, lambda n: rles[int(kept[n])].as_py(), areas)
    found = np.zeros(len(seen.rows), dtype=bool)
    # A data set has each object once, however closely they stand.
    imported = seen.rows.imported[kept]
    found[kept] = duplicates(shapes, scores, config.nms_iou, config.nms_measure, groups, imported)
    return found


def _decisions(
    seen: Candidates, decided: Decided, ledger: Sequence[Merge], config: RouteConfig
) -> pa.Table:
    rows = seen.rows
    accepted, doubtful = decided.where(Outcome.ACCEPT), decided.where(Outcome.REVIEW)
    share = config.audit_share if seen.calibration else max(config.audit_share, config.learn_share)
    strata = looks.strata(seen, accepted, doubtful)
    known = seen.calibration.calibration_id if seen.calibration else f"none:{config.score}"
    columns = {
        "region_id": rows.region_id,
        "tile_id": _strings(rows.names("tile_id")),
        "scene_id": _strings(rows.names("scene_id")),
        "outcome": decided.column(1),
        "rule": decided.column(0),
        "reason": decided.column(2),
        "category": _strings(seen.category),
        "confidence": np.nan_to_num(seen.confidence),
        "calibration": pa.DictionaryArray.from_arrays(
            rows.imported.astype(np.int8), [known, "imported"]
        ),
        "candidates": _offered(seen, ledger, config.max_candidates),
        "drawn": looks.drawn(rows.region_id, strata, share, config.audit_seed),
        "priority": looks.worth(seen, accepted),
    }
    return pa.table({name: columns[name] for name in Decision.model_fields})


def _strings(names: Names) -> pa.DictionaryArray:
    index = pa.array(names.index, mask=names.index < 0)
    return pa.DictionaryArray.from_arrays(index, pa.array(names.distinct, type=pa.string()))


def _offered(seen: Candidates, ledger: Sequence[Merge], limit: int) -> pa.ListArray:
    """The names to offer to a steward: the category, the model's other names, then CLIP's.

    Each once, as the category that it counts as; what is no name, or is blocked, is left out.
    """
    canonical = {merge.name: merge.canonical for merge in ledger}
    number_of = {name: number for number, name in enumerate(seen.category.distinct)}

    def may_be_offered(name: str) -> bool:
        return is_name(name) and not seen.vocabulary.blocks(name)

    @cache
    def numbered(name: str) -> int:
        if not may_be_offered(name):
            return -1
        name = canonical.get(name) or seen.vocabulary.spelled(canonical_form(name))
        return number_of.setdefault(name, len(number_of))

    columns = [np.where(seen.category.where(may_be_offered), seen.category.index, -1)]
    for name in ("alternatives", "clip_categories"):
        lists = seen.rows.name_lists(name)
        numbers = np.array([*map(numbered, lists.names.distinct), -1], dtype=np.int32)
        # Of each list no more than are offered in all.
        places = range(min(lists.longest(), limit))
        columns += [numbers[lists.at(place).index] for place in places]
    for place, column in enumerate(columns):
        for earlier in columns[:place]:
            column[column == earlier] = -1
    offered = np.stack(columns, axis=1)
    there = offered >= 0
    there &= np.cumsum(there, axis=1, dtype=np.int16) <= limit
    start = np.concatenate([[0], np.cumsum(there.sum(axis=1))]).astype(np.int32)
    names = pa.array(list(number_of), type=pa.string())
    return pa.ListArray.from_arrays(pa.array(start), names.take(pa.array(offered[there])))
