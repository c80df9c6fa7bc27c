"""A steward's annotation becomes verdicts, by comparing it with what was sent.

Label Studio's own marks (`origin`, `parent_prediction`) are not trusted: only values count.

* A box that was sent and is gone was deleted: reject.
* A box nobody sent was drawn by the steward: add. (Read-only outlines and grey boxes are skipped.)
* `unsure` on a box, and "not checked" for the unmarked boxes, decide nothing.
* What an annotation decided once and no longer does is withdrawn, so is what a deleted one decided.
* A typed name outranks one searched, which outranks the box's own label.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lae_tasks.accounts import Rejection
from lae_tasks.contracts import BoxPx, ReviewItem, Verdict, VerdictAction, WindowPx
from lae_tasks.naming.names import canonical_form
from lae_tasks.naming.vocabulary import OPEN, Vocabulary
from lae_tasks.review.boxes import from_percent
from lae_tasks.review.label_config import (
    ACCEPT,
    BOX,
    CONTEXT_PREFIX,
    MASK_PREFIX,
    NEW_NAME,
    OTHER,
    REJECT,
    REST,
    REST_ACCEPT,
    UNSURE,
    VERDICT,
)

if TYPE_CHECKING:  # the client takes seconds to import, and folding verdicts needs none
    from lae_tasks.review.label_studio import Annotation, ChangedTask

STAGE = "collect"
BLANK = "blank annotation"


#: Percent of a tile, or degrees: a box that is far beyond its tile was not drawn on a page.
_Number = Annotated[float, Field(ge=-1000, le=1000)]


class _Value(BaseModel):
    """What is read of a result's value, in the types that Label Studio's own page sends."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    x: _Number = 0
    y: _Number = 0
    width: _Number = 0
    height: _Number = 0
    rotation: _Number | None = None
    rectanglelabels: list[str] = []
    choices: list[str] = []
    text: str | list[str] = []
    taxonomy: list[list[str]] = []

    @model_validator(mode="after")
    def _box_is_whole(self) -> Self:
        given = self.model_fields_set & {"x", "y", "width", "height"}
        if given and len(given) < 4:
            raise ValueError("a box needs x, y, width and height")
        return self


class _Result(BaseModel):
    model_config = ConfigDict(strict=True)

    id: str
    from_name: str
    value: _Value


#: What a steward decided: the action, the category and the box from now on.
_Decided = tuple[VerdictAction, str | None, BoxPx]


def read_verdicts(
    annotation: "Annotation", items: Sequence[ReviewItem], vocabulary: Vocabulary = OPEN
) -> list[Verdict] | Rejection:
    """What a steward decided of each box of a task.

    Args:
        annotation: The steward's work.
        items: The boxes as they were sent with that task; at least one.
        vocabulary: The dataset's own names: a typed one is spelled as there.

    Returns:
        At most one verdict per box, in the items' order, then the added ones; or a Rejection of
        the annotation if it does not come from what was sent, so that missing boxes say nothing.
    """
    if annotation.skipped:
        return []
    by_id: dict[str, dict[str, Any]] = {}
    for result in annotation.result:
        if result.get("type") == "relation":
            continue  # an arrow between two boxes says nothing of either
        if _malformed(result):
            return _rejected(annotation, "malformed result", f"cannot be read: {result}"[:500])
        by_id.setdefault(str(result["id"]), {})[result["from_name"]] = result["value"]
    sent = {item.region_id for item in items}
    if not any(_sent_id(result_id) in sent for result_id in by_id):
        return _rejected(
            annotation,
            BLANK,
            f"none of the {len(sent)} boxes that were sent is in it, nor their outlines: it was "
            "not made from the engine's boxes; delete it, and open the task by Label All Tasks",
        )
    rest = any(_choice(parts, REST) == REST_ACCEPT for parts in by_id.values())
    window_px = items[0].window_px
    verdicts = []
    for item in items:
        outline = by_id.get(MASK_PREFIX + item.region_id, {})
        decided = _of_item(by_id.get(item.region_id, {}), outline, item, rest, vocabulary)
        if decided:
            verdicts.append(_verdict(annotation, item.region_id, item, decided))
    added = {}
    for result_id, parts in by_id.items():
        ours = result_id in sent or result_id.startswith((MASK_PREFIX, CONTEXT_PREFIX))
        decided = None if ours else _added(parts, window_px, vocabulary)
        if decided:
            region_id = added_region_id(items[0].tile_id, decided[2], decided[1] or "")
            added[region_id] = _verdict(annotation, region_id, items[0], decided)
    return [*verdicts, *added.values()]


def _rejected(annotation: "Annotation", reason: str, detail: str) -> Rejection:
    return Rejection(
        rejected_id=annotation.version_id,
        stage=STAGE,
        reason=reason,
        detail=f"annotation of task {annotation.task_id}: {detail}",
    )


def _malformed(result: Mapping[str, Any]) -> bool:
    """Whether a result lacks what Label Studio's own page always sends; an API call may."""
    try:
        _Result.model_validate(result)
    except ValidationError:
        return True
    return result["from_name"] == BOX and "x" not in result["value"]


def _sent_id(result_id: str) -> str:
    return result_id.removeprefix(MASK_PREFIX)


def _of_item(
    parts: Mapping[str, Any],
    outline: Mapping[str, Any],
    item: ReviewItem,
    rest_accepted: bool,
    vocabulary: Vocabulary,
) -> _Decided | None:
    """What was decided of a box that was sent, from its parts by control; None if nothing."""
    box = from_percent(parts[BOX], item.window_px) if BOX in parts else None
    said = _choice(parts, VERDICT)
    if box is None or said == REJECT:
        return VerdictAction.REJECT, None, item.bbox_xyxy_px
    # A key pressed while the outline was selected marks that instead: meant for this box, but
    # not to be trusted. At least the box is not one of those without a mark.
    if said == UNSURE or (said is None and _choice(outline, VERDICT)):
        return None
    own = vocabulary.spelled(item.category)  # the vocabulary may be spelled anew since
    category = _category(parts, vocabulary) or own
    if category != own:
        return VerdictAction.RELABEL, category, box
    if box != item.bbox_xyxy_px:
        return VerdictAction.ADJUST, category, box
    if said == ACCEPT or rest_accepted:
        return VerdictAction.ACCEPT, category, box
    return None


def _added(
    parts: Mapping[str, Any], window_px: WindowPx, vocabulary: Vocabulary
) -> _Decided | None:
    """The object that a steward drew; None if the id is of something else, or they gave it up."""
    box = from_percent(parts[BOX], window_px) if BOX in parts else None
    category = _category(parts, vocabulary)
    if box is None or category is None or _choice(parts, VERDICT) in (REJECT, UNSURE):
        return None
    return VerdictAction.ADD, category, box


def _category(parts: Mapping[str, Any], vocabulary: Vocabulary) -> str | None:
    """The name that the steward gave last in rank: typed, else searched, else the box's label."""
    typed = parts.get(NEW_NAME, {}).get("text") or ()
    typed = [canonical_form(name) for name in ([typed] if isinstance(typed, str) else typed)]
    # A taxonomy's value is a list of paths, each from the root to the leaf.
    searched = [path[-1] for path in parts.get(OTHER, {}).get("taxonomy") or () if path]
    labelled = parts.get(BOX, {}).get("rectanglelabels") or ()
    for name in (*typed, *searched, *labelled):
        if name:
            return vocabulary.spelled(name)
    return None


def _choice(parts: Mapping[str, Any], name: str) -> str | None:
    chosen = parts.get(name, {}).get("choices") or (None,)
    return None if chosen[0] is None else str(chosen[0])


def added_region_id(tile_id: str, bbox_xyxy_px: BoxPx, category: str) -> str:
    """The id of an object that a steward drew: the same drawing has the same id."""
    return _digest(tile_id, bbox_xyxy_px, category)


def _verdict(
    annotation: "Annotation", region_id: str, item: ReviewItem, decided: _Decided
) -> Verdict:
    action, category, box = decided
    return Verdict(
        verdict_id=_digest(
            item.task_key,
            annotation.task_created_at,
            annotation.annotation_id,
            annotation.updated_at,
            region_id,
        ),
        region_id=region_id,
        tile_id=item.tile_id,
        scene_id=item.scene_id,
        task_key=item.task_key,
        task_created_at=annotation.task_created_at,
        annotation_id=annotation.annotation_id,
        annotator=annotation.annotator,
        decided_at=annotation.updated_at,
        action=action,
        category=category,
        bbox_xyxy_px=box,
        seconds=annotation.seconds,
    )


def _digest(*parts: object) -> str:
    return hashlib.sha256("|".join(map(str, parts)).encode()).hexdigest()[:16]


def withdrawn(held: Iterable[Verdict], still_there: Collection[str], at: str) -> list[Verdict]:
    """Takes back what an annotation decided before.

    Args:
        held: The verdicts of its version before.
        still_there: Ids of the regions that its new version decides.
        at: When it changed, ISO 8601.
    """
    return [
        verdict.model_copy(
            update={
                "verdict_id": _digest(verdict.verdict_id, at),
                "decided_at": at,
                "action": VerdictAction.WITHDRAW,
                "category": None,
                "seconds": None,
            }
        )
        for verdict in held
        if verdict.region_id not in still_there
    ]


def deleted_annotations(task: "ChangedTask", held: Iterable[Verdict]) -> dict[int, list[Verdict]]:
    """The verdicts of a task's annotations that a steward deleted, by annotation.

    Args:
        task: The task as it is now.
        held: Verdicts that came from it. Those that are newer than its last change stay: Label
            Studio was set back to an older state, nobody deleted anything.
    """
    there = {annotation.annotation_id for annotation in task.annotations}
    gone: defaultdict[int, list[Verdict]] = defaultdict(list)
    for verdict in held:
        if verdict.annotation_id not in there and verdict.decided_at < task.updated_at:
            gone[verdict.annotation_id].append(verdict)
    return dict(gone)


def current_verdicts(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """The verdicts of the latest version of each annotation, without those that were withdrawn.

    An annotation is replaced whole when its steward edits it, so a box that was drawn and then
    moved is not there twice.
    """
    every = list(verdicts)
    newest: dict[tuple[str, str, int], str] = {}
    for verdict in every:
        annotation = _annotation_of(verdict)
        newest[annotation] = max(newest.get(annotation, ""), verdict.decided_at)
    return [
        verdict
        for verdict in every
        if verdict.decided_at == newest[_annotation_of(verdict)]
        and verdict.action is not VerdictAction.WITHDRAW
    ]


def _annotation_of(verdict: Verdict) -> tuple[str, str, int]:
    return verdict.task_key, verdict.task_created_at, verdict.annotation_id


def fold_verdicts(verdicts: Iterable[Verdict]) -> dict[str, Verdict]:
    """The verdict that holds for each region, from the full history in any order.

    Of each annotation the latest version counts, of each steward the latest word, and of several
    stewards what most say; where as many say one thing as another, the latest. Ties in time are
    broken by the verdict's id.

    Returns:
        Verdicts by region id, in the order of the ids.
    """
    last_words: defaultdict[str, dict[str, Verdict]] = defaultdict(dict)
    for verdict in sorted(current_verdicts(verdicts), key=lambda v: (v.decided_at, v.verdict_id)):
        words = last_words[verdict.region_id]
        words.pop(verdict.annotator, None)  # so that the order is that of the last words
        words[verdict.annotator] = verdict
    return {region: _held(list(words.values())) for region, words in sorted(last_words.items())}


def _held(words: Sequence[Verdict]) -> Verdict:
    """Of the last words of stewards, by time, the one that holds."""
    counts = Counter(verdict.category for verdict in words)
    return max(enumerate(words), key=lambda item: (counts[item[1].category], item[0]))[1]
