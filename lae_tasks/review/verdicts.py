"""A steward's annotation becomes verdicts, by comparing it with what was sent.

Label Studio's own marks (`origin`, `parent_prediction`) are not trusted: only values count.

* A box that was sent and is gone was deleted: reject.
* A box nobody sent was drawn by the steward: add. (Read-only outlines and grey boxes are skipped.)
* A tile that was sent to be checked is checked where the answer for the unmarked boxes is that they
  are right: nothing is missing on it now.
* `unsure` on a box, and "not checked" for the unmarked boxes, leave them undecided.
* What an annotation decided once and no longer does is withdrawn, so is what a deleted one decided.
* A typed name outranks one searched, which outranks the box's own label.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lae_tasks.accounts import Rejection
from lae_tasks.contracts import BoxPx, ReviewItem, TileCheck, Verdict, VerdictAction, WindowPx
from lae_tasks.naming.names import canonical_form
from lae_tasks.naming.vocabulary import OPEN, Vocabulary
from lae_tasks.review.annotation import Annotation, ChangedTask
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

COLLECT = "collect"
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
    annotation: Annotation,
    items: Sequence[ReviewItem],
    vocabulary: Vocabulary = OPEN,
    check: TileCheck | None = None,
) -> list[Verdict] | Rejection:
    """What a steward decided of each box of a task.

    Args:
        annotation: The steward's work.
        items: The boxes as they were sent with that task; at least one, but for a check.
        vocabulary: The dataset's own names: a typed one is spelled as there.
        check: The tile that the task asked to look over, if it did.

    Returns:
        One verdict per box, in the items' order, then the added ones, then that on the tile, if it
        was checked; none if the task was skipped; or a Rejection of the annotation if it does not
        come from what was sent, so that missing boxes say nothing.
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
    if sent and not any(_sent_id(result_id) in sent for result_id in by_id):
        return _rejected(
            annotation,
            BLANK,
            f"none of the {len(sent)} boxes that were sent is in it, nor their outlines: it was "
            "not made from the engine's boxes; delete it, and open the task by Label All Tasks",
        )
    rest = any(_choice(parts, REST) == REST_ACCEPT for parts in by_id.values())
    place = check or items[0]
    verdicts = []
    for item in items:
        outline = by_id.get(MASK_PREFIX + item.region_id, {})
        decided = _of_item(by_id.get(item.region_id, {}), outline, item, rest, vocabulary)
        verdicts.append(_verdict(annotation, item.region_id, item, decided))
    added = {}
    for result_id, parts in by_id.items():
        ours = result_id in sent or result_id.startswith((MASK_PREFIX, CONTEXT_PREFIX))
        drawn = None if ours else _added(parts, place.window_px, vocabulary)
        if drawn:
            region_id = added_region_id(place.tile_id, drawn[2], drawn[1] or "")
            added[region_id] = _verdict(annotation, region_id, place, drawn)
    verdicts += added.values()
    if check and rest:
        x, y, width, height = check.window_px
        window: _Decided = VerdictAction.CHECK, None, (x, y, x + width, y + height)
        verdicts.append(_verdict(annotation, check.tile_id, check, window))
    return verdicts


def _rejected(annotation: Annotation, reason: str, detail: str) -> Rejection:
    return Rejection(
        rejected_id=annotation.version_id,
        stage=COLLECT,
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
) -> _Decided:
    """What was decided of a box that was sent, from its parts by control."""
    box = from_percent(parts[BOX], item.window_px) if BOX in parts else None
    said = _choice(parts, VERDICT)
    if box is None or said == REJECT:
        return VerdictAction.REJECT, None, item.bbox_xyxy_px
    # A key pressed while the outline was selected marks that instead: meant for this box, but
    # not to be trusted. At least the box is not one of those without a mark.
    if said == UNSURE or (said is None and _choice(outline, VERDICT)):
        return VerdictAction.UNDECIDED, None, item.bbox_xyxy_px
    own = vocabulary.spelled(item.category)  # the vocabulary may be spelled anew since
    category = _category(parts, vocabulary) or own
    if category != own:
        return VerdictAction.RELABEL, category, box
    if box != item.bbox_xyxy_px:
        return VerdictAction.ADJUST, category, box
    if said == ACCEPT or rest_accepted:
        return VerdictAction.ACCEPT, category, box
    return VerdictAction.UNDECIDED, None, item.bbox_xyxy_px


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
    annotation: Annotation, region_id: str, sent: ReviewItem | TileCheck, decided: _Decided
) -> Verdict:
    action, category, box = decided
    return Verdict(
        verdict_id=_digest(
            sent.task_key,
            annotation.task_created_at,
            annotation.annotation_id,
            annotation.updated_at,
            region_id,
        ),
        region_id=region_id,
        tile_id=sent.tile_id,
        scene_id=sent.scene_id,
        task_key=sent.task_key,
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


def deleted_annotations(task: ChangedTask, held: Iterable[Verdict]) -> dict[int, list[Verdict]]:
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


def respelled(verdicts: Iterable[Verdict], spelled: Callable[[str], str]) -> list[Verdict]:
    """Verdicts with their categories as the vocabulary spells them now.

    Else two stewards who said the same, before and after it was spelled anew, would contradict each
    other.
    """
    return [
        verdict.model_copy(update={"category": spelled(verdict.category)})
        if verdict.category and spelled(verdict.category) != verdict.category
        else verdict
        for verdict in verdicts
    ]


def last_words(verdicts: Iterable[Verdict]) -> dict[str, dict[str, Verdict]]:
    """The latest verdict of each steward on each region, in the order of these; not on tiles.

    Who has become undecided in a task takes back what they said there, but not what they said of
    the same region in another task: boxes come again where a whole tile is checked.

    Args:
        verdicts: The full history, in any order.

    Returns:
        By region id, then by steward.
    """
    found: defaultdict[str, dict[str, Verdict]] = defaultdict(dict)
    for verdict in sorted(current_verdicts(verdicts), key=lambda v: (v.decided_at, v.verdict_id)):
        words, who = found[verdict.region_id], verdict.annotator
        if verdict.action is VerdictAction.UNDECIDED:
            if who in words and words[who].task_key == verdict.task_key:
                del words[who]
        elif verdict.action is not VerdictAction.CHECK:
            words.pop(who, None)  # so that the order is that of the last words
            words[who] = verdict
    return {region_id: words for region_id, words in sorted(found.items()) if words}


def fold_verdicts(verdicts: Iterable[Verdict]) -> dict[str, Verdict]:
    """The verdict that holds for each region, from the full history in any order.

    Of each annotation the latest version counts, of each steward the last word, and of several
    stewards what most say; where as many say one thing as another, the latest. Ties in time are
    broken by the verdict's id.

    Returns:
        Verdicts by region id, in the order of the ids.
    """
    return {key: _held(list(words.values())) for key, words in last_words(verdicts).items()}


def _held(words: Sequence[Verdict]) -> Verdict:
    """Of the last words of stewards, by time, the one that holds."""
    counts = Counter(verdict.category for verdict in words)
    return max(enumerate(words), key=lambda item: (counts[item[1].category], item[0]))[1]
