"""A steward's annotation becomes verdicts, by comparing it with what was sent.

Label Studio's own marks (`origin`, `parent_prediction`) are not trusted: only values count.

* A box that was sent and is gone was deleted: reject.
* A box nobody sent was drawn by the steward: add. (Read-only outlines and grey boxes are skipped.)
* `unsure` on a box, and "not checked" for the unmarked boxes, decide nothing.
* A typed name outranks one searched, which outranks the box's own label.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lae_tasks.contracts import BoxPx, Rejection, ReviewItem, Tile, Verdict, VerdictAction
from lae_tasks.names import canonical_form
from lae_tasks.review.boxes import from_percent
from lae_tasks.review.label_config import (
    ACCEPT,
    BOX,
    NEW_NAME,
    OTHER,
    REJECT,
    REST,
    REST_ACCEPT,
    UNSURE,
    VERDICT,
)
from lae_tasks.review.label_studio import Annotation
from lae_tasks.review.tasks import CONTEXT_PREFIX, MASK_PREFIX

STAGE = "collect"

#: What a steward decided: the action, the category and the box from now on.
_Decided = tuple[VerdictAction, str | None, BoxPx]


def read_verdicts(
    annotation: Annotation, items: Sequence[ReviewItem], tile: Tile
) -> list[Verdict] | Rejection:
    """What a steward decided of each box of a task.

    Args:
        annotation: The steward's work.
        items: The boxes as they were sent with that task; at least one.
        tile: The tile that they lie in.

    Returns:
        At most one verdict per box, in the items' order, then the added ones; or a Rejection of
        the annotation if it does not come from what was sent, so that missing boxes say nothing.
    """
    if annotation.skipped:
        return []
    by_id: dict[str, dict[str, Any]] = {}
    for result in annotation.result:
        if _malformed(result):
            return _rejected(annotation, "malformed result", f"cannot be read: {result}"[:500])
        by_id.setdefault(str(result["id"]), {})[result["from_name"]] = result["value"]
    sent = {item.region_id for item in items}
    if not any(_sent_id(result_id) in sent for result_id in by_id):
        return _rejected(
            annotation,
            "blank annotation",
            f"none of the {len(sent)} boxes that were sent is in it, nor their outlines: it was "
            "not made from the engine's boxes; delete it, and open the task by Label All Tasks",
        )
    rest = any(_choice(parts, REST) == REST_ACCEPT for parts in by_id.values())
    verdicts = []
    for item in items:
        outline = by_id.get(MASK_PREFIX + item.region_id, {})
        decided = _of_item(by_id.get(item.region_id, {}), outline, item, tile, rest)
        if decided:
            verdicts.append(_verdict(annotation, item.region_id, item.task_key, tile, decided))
    added = {}
    for result_id, parts in by_id.items():
        ours = result_id in sent or result_id.startswith((MASK_PREFIX, CONTEXT_PREFIX))
        decided = None if ours else _added(parts, tile)
        if decided:
            region_id = added_region_id(tile.tile_id, decided[2], decided[1] or "")
            added[region_id] = _verdict(annotation, region_id, items[0].task_key, tile, decided)
    return [*verdicts, *added.values()]


def _rejected(annotation: Annotation, reason: str, detail: str) -> Rejection:
    return Rejection(
        rejected_id=str(annotation.annotation_id),
        stage=STAGE,
        reason=reason,
        detail=f"annotation of task {annotation.task_id}: {detail}",
    )


def _malformed(result: Mapping[str, Any]) -> bool:
    """Whether a result lacks what Label Studio's own page always sends; an API call may."""
    value = result.get("value")
    if not isinstance(value, Mapping) or "id" not in result or "from_name" not in result:
        return True
    numbers = [value.get(name) for name in ("x", "y", "width", "height")]
    return result["from_name"] == BOX and not all(isinstance(n, int | float) for n in numbers)


def _sent_id(result_id: str) -> str:
    return result_id.removeprefix(MASK_PREFIX)


def _of_item(
    parts: Mapping[str, Any],
    outline: Mapping[str, Any],
    item: ReviewItem,
    tile: Tile,
    rest_accepted: bool,
) -> _Decided | None:
    """What was decided of a box that was sent, from its parts by control; None if nothing."""
    box = from_percent(parts[BOX], tile) if BOX in parts else None
    said = _choice(parts, VERDICT)
    if box is None or said == REJECT:
        return VerdictAction.REJECT, None, item.bbox_xyxy_px
    # A key pressed while the outline was selected marks that instead: meant for this box, but
    # not to be trusted. At least the box is not one of those without a mark.
    if said == UNSURE or (said is None and _choice(outline, VERDICT)):
        return None
    category = _category(parts) or item.category
    if category != item.category:
        return VerdictAction.RELABEL, category, box
    if box != item.bbox_xyxy_px:
        return VerdictAction.ADJUST, category, box
    if said == ACCEPT or rest_accepted:
        return VerdictAction.ACCEPT, category, box
    return None


def _added(parts: Mapping[str, Any], tile: Tile) -> _Decided | None:
    """The object that a steward drew; None if the id is of something else, or was withdrawn."""
    box = from_percent(parts[BOX], tile) if BOX in parts else None
    category = _category(parts)
    if box is None or category is None or _choice(parts, VERDICT) in (REJECT, UNSURE):
        return None
    return VerdictAction.ADD, category, box


def _category(parts: Mapping[str, Any]) -> str | None:
    """The name that the steward gave last in rank: typed, else searched, else the box's label."""
    typed = parts.get(NEW_NAME, {}).get("text") or ()
    typed = [canonical_form(name) for name in ([typed] if isinstance(typed, str) else typed)]
    # A taxonomy's value is a list of paths, each from the root to the leaf.
    searched = [path[-1] for path in parts.get(OTHER, {}).get("taxonomy") or () if path]
    labelled = parts.get(BOX, {}).get("rectanglelabels") or ()
    for name in (*typed, *searched, *labelled):
        if name:
            return str(name)
    return None


def _choice(parts: Mapping[str, Any], name: str) -> str | None:
    chosen = parts.get(name, {}).get("choices") or (None,)
    return None if chosen[0] is None else str(chosen[0])


def added_region_id(tile_id: str, bbox_xyxy_px: BoxPx, category: str) -> str:
    """The id of an object that a steward drew: the same drawing has the same id."""
    return _digest(tile_id, bbox_xyxy_px, category)


def _verdict(
    annotation: Annotation, region_id: str, task_key: str, tile: Tile, decided: _Decided
) -> Verdict:
    action, category, box = decided
    return Verdict(
        verdict_id=_digest(annotation.annotation_id, annotation.updated_at, region_id),
        region_id=region_id,
        tile_id=tile.tile_id,
        scene_id=tile.scene_id,
        task_key=task_key,
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


def fold_verdicts(verdicts: Iterable[Verdict]) -> dict[str, Verdict]:
    """The verdict that holds for each region, from the full history in any order.

    An annotation is replaced whole when its steward edits it: of each annotation only the latest
    version counts, so a box that was drawn and then moved is not there twice. Of each annotator's
    verdicts on a region the latest counts, and of those the latest of all: two stewards who
    differ are not weighed against each other yet. Ties are broken by the verdict's id.

    Returns:
        Verdicts by region id, in the order of the ids.
    """
    every = list(verdicts)
    newest: dict[int, str] = {}
    for verdict in every:
        seen = newest.get(verdict.annotation_id, "")
        newest[verdict.annotation_id] = max(seen, verdict.decided_at)
    current = [verdict for verdict in every if verdict.decided_at == newest[verdict.annotation_id]]
    folded: dict[str, Verdict] = {}
    for verdict in sorted(current, key=lambda v: (v.decided_at, v.verdict_id)):
        folded[verdict.region_id] = verdict
    return dict(sorted(folded.items()))
