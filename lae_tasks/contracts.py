"""What two stages agree on: small frozen records, from which `schema.py` derives Parquet schemas.

Conventions used by every record:

* Pixel coordinates count from the upper left corner of the *scene*, x to the right, y down.
* A box is `bbox_xyxy_px = (x0, y0, x1, y1)`, half open: x1 and y1 are the first pixels outside.
* A mask is a COCO compressed RLE string of the size of its own box: `(y1 - y0, x1 - x0)`.
  So a record's size does not depend on the size of the scene.
* Scores lie in [0, 1]; None means "not known", never 0.

Ids are derived from content, so that a rerun gives the same ids.
"""

from enum import StrEnum
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

SCHEMA_VERSION: Final = 7

Score = Annotated[float, Field(ge=0.0, le=1.0)]
Float32 = Annotated[float, "float32"]
Name = Annotated[str, Field(min_length=1)]
BoxPx = tuple[int, int, int, int]
WindowPx = tuple[int, int, int, int]


def first_problem(error: ValidationError) -> str:
    """What is wrong with a record, on one line: the first place, and what stands there."""
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}" if where else str(first["msg"])


class Record(BaseModel):
    """Base of the contracts: immutable, no unknown fields, no silent conversion of meaning."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @property
    def record_id(self) -> str:
        """The value that identifies the record among its kind: that of the type's first field."""
        first = next(iter(type(self).model_fields))
        return str(getattr(self, first))


class Scene(Record):
    """A source raster that was read and registered.

    Attributes:
        scene_id: First 16 hex digits of the sha256 of the file's bytes.
        raw_key: The object's key below the raw prefix, such as `2026/harbour.tif`.
        etag: What the storage says of the object's version.
        crs: `EPSG:n` or WKT; None without a georeference.
        transform: Affine coefficients (a, b, c, d, e, f) as rasterio has them; None likewise.
        gsd_m: Ground sampling distance in metres; None where it is not known.
        acquired_at: ISO 8601, from the file's own tags; None where they have none.
    """

    scene_id: str
    raw_key: str
    etag: str
    size_bytes: int
    width_px: int
    height_px: int
    bands: int
    dtype: str
    crs: str | None
    transform: tuple[float, float, float, float, float, float] | None
    gsd_m: float | None
    acquired_at: str | None


class Assignment(Record):
    """The shard in which a night works on a scene."""

    scene_id: str
    shard: str


class Tile(Record):
    """A window cut from a scene, with its 8-bit RGB rendition.

    Attributes:
        window_px: (x, y, width, height) in scene pixels.
        image_key: Key of the PNG rendition in the store, named by its content.
        image_sha256: Digest of that PNG.
        valid_fraction: Share of pixels that hold data.
        valid_key: Key of a one-bit PNG that is white where pixels hold data; None if all do.
    """

    tile_id: str
    scene_id: str
    raw_key: str
    window_px: WindowPx
    image_key: str
    image_sha256: str
    valid_fraction: Score
    valid_key: str | None = None


class PromptType(StrEnum):
    """What made a region."""

    GRID = "grid"
    POINT = "point"
    BOX = "box"


class Prompt(Record):
    """A box or a point that a scene came with, for which a mask is wanted.

    Attributes:
        prompt_id: Digest of the scene, the place, and its number among prompts of the same place.
        prompt_type: Box or point.
        bbox_xyxy_px: In scene pixels, not rounded; of an oriented box the envelope; of a point
            without width and height.
        category: As its data set names it; None where it has no name.
        difficult: Its data set marks it as hard to see, ignored in evaluation, or a crowd.
    """

    prompt_id: str
    scene_id: str
    prompt_type: PromptType
    bbox_xyxy_px: tuple[float, float, float, float]
    category: Name | None
    difficult: bool


class Region(Record):
    """A mask with its box, in scene pixels: one thing, however many tiles show it.

    Attributes:
        tile_id: The tile that shows it whole, the best if several do; else the most of it.
        seen_in_part: It reaches a border of its tiles beyond which the scene goes on, and no tile
            has shown the rest of it.
        prompt_category: The name that a box or point prompt came with; None without one.
        prompt_iou: IoU of its box with the box that it was prompted by; None without one.
    """

    region_id: str
    tile_id: str
    scene_id: str
    bbox_xyxy_px: BoxPx
    mask_rle: str
    area_px: int = Field(gt=0)
    predicted_iou: Score
    stability_score: Score
    prompt_type: PromptType
    seen_in_part: bool = False
    prompt_category: Name | None = None
    prompt_iou: Score | None = None

    @model_validator(mode="after")
    def _box_has_area(self) -> "Region":
        x0, y0, x1, y1 = self.bbox_xyxy_px
        if x1 <= x0 or y1 <= y0:
            raise ValueError(f"bbox_xyxy_px {self.bbox_xyxy_px} has no area")
        return self


class Label(Record):
    """What the models say of one region, or the annotation that it came with.

    Attributes:
        model_revision: `annotation` where an imported annotation had the name: no model was asked.
        prompt_sha256: Digest of the prompt template; empty likewise.
        category_said: The name as the model gave it; None where it said "Unrecognized".
        likelihood_said: The likelihood as the model gave it; None where it gave none.
        token_confidence: Product of the probabilities of the category's tokens.
        alternatives: Other names that the model thought of, best first, as it gave them.
        alternative_scores: The probability of each by its tokens, or as said; empty where the
            model told none.
        clip_categories: The vocabulary's best names by CLIP, best first, with `clip_scores` the
            probability of each among the vocabulary.
        clip_score_said: CLIP's probability of `category_said`, among the vocabulary and it, but
            without what is above or below it there.
        clip_agrees: Whether that is CLIP's best of these, names compared by canonical form.
        crop_std: Standard deviation of the crop's grey values, in [0, 255].
        nodata_share: Share of the region's pixels that hold no data.
        reply: The reply, whole.
    """

    region_id: str
    model_revision: str
    prompt_sha256: str
    category_said: str | None
    likelihood_said: Score | None
    token_confidence: Score | None
    alternatives: tuple[str, ...] = ()
    alternative_scores: tuple[Score, ...] = ()
    clip_categories: tuple[str, ...] = ()
    clip_scores: tuple[Score, ...] = ()
    clip_score_said: Score | None = None
    clip_agrees: bool | None = None
    crop_std: float
    nodata_share: Score = 0.0
    reply: str


class Embedding(Record):
    """Where CLIP sees a region's crop: for search, and for scenes that are nearly the same.

    Attributes:
        model_revision: Only vectors of the same one can be compared.
        vector: Of length 1, float32.
    """

    region_id: str
    model_revision: str
    vector: tuple[Float32, ...]


class Outcome(StrEnum):
    """What becomes of a region."""

    ACCEPT = "accept"
    REVIEW = "review"
    REJECT = "reject"


class Decision(Record):
    """What the engine decided of one region, and by which rule.

    Attributes:
        reason: What the rule says, in words, with its parameters.
        category: Canonical name; None where the model gave none.
        confidence: P(category and box are right) by the calibration; without one, the score that
            the settings name, and 0 where the model gave none. 1 for what was imported.
        calibration: The `calibration_id` of what turned the scores into `confidence`; `none:` and
            the score where there was none, `imported` where nothing did.
        candidates: Names worth offering to a steward, best first. The first is the category, unless
            it is blocked or no name.
        drawn: Not rejected, and drawn at random: it is looked at in any case.
        priority: What a steward's look at it is worth, beside others of its night.
    """

    region_id: str
    tile_id: str
    scene_id: str
    outcome: Outcome
    rule: str
    reason: str
    category: str | None
    confidence: Score
    calibration: str
    candidates: tuple[str, ...]
    drawn: bool
    priority: Score

    @property
    def in_audit(self) -> bool:
        """Accepted, and looked at all the same."""
        return self.drawn and self.outcome is Outcome.ACCEPT


class Merge(Record):
    """One line of the ledger of category names: `name` was taken as `canonical`.

    Attributes:
        name: As the model or the data set said it.
        rule: `same`, `canonical form`, `synonym` or `similar`.
        similarity: Cosine similarity of the two, where that is why.
        count: How many regions bore the name.
        by: Who says so: `engine`, `vocabulary`, or the steward that the vocabulary names.
    """

    name: str
    canonical: str
    rule: str
    similarity: Score | None
    count: int
    by: str


class Purpose(StrEnum):
    """Why a box is with the stewards: in doubt, drawn at random, or its whole tile is checked."""

    DOUBT = "doubt"
    DRAWN = "drawn"
    CHECK = "check"


class ReviewItem(Record):
    """One box that was sent to the stewards, as it was sent.

    Attributes:
        task_key: The task's own key in Label Studio (`data.lae_key`); all boxes of a task have the
            same purpose and looks.
        window_px: The tile's window, (x, y, width, height) in scene pixels.
        bbox_xyxy_px: As sent, in scene pixels.
        looks: By how many stewards, as planned before anybody had looked. More are asked where
            what was said calls for it.
    """

    region_id: str
    task_key: str
    tile_id: str
    scene_id: str
    window_px: WindowPx
    category: str
    bbox_xyxy_px: BoxPx
    purpose: Purpose = Purpose.DOUBT
    looks: int = Field(1, ge=1)

    @property
    def record_id(self) -> str:
        """Task and region: a night that runs again may send a region in another task, too."""
        return review_item_id(self.task_key, self.region_id)


def review_item_id(task_key: str, region_id: str) -> str:
    """The id of the ReviewItem that sent a region with a task."""
    return f"{task_key}/{region_id}"


class TileCheck(Record):
    """A tile that stewards were asked to look over for what is missing on it.

    Attributes:
        task_key: The task's own key in Label Studio; its ReviewItems are the tile's boxes, if any.
        window_px: The tile's window, (x, y, width, height) in scene pixels.
    """

    task_key: str
    tile_id: str
    scene_id: str
    window_px: WindowPx


class VerdictAction(StrEnum):
    """What a steward did to a region.

    `check`: the region is a tile, and nothing is missing on it now. `undecided`: they cannot tell,
    or have not looked.
    """

    ACCEPT = "accept"
    RELABEL = "relabel"
    ADJUST = "adjust"
    REJECT = "reject"
    ADD = "add"
    CHECK = "check"
    UNDECIDED = "undecided"
    WITHDRAW = "withdraw"


class Verdict(Record):
    """What one steward decided of one region at one time. Later verdicts outrank earlier ones.

    `withdraw` says that the annotation's earlier verdict on the region was taken back.

    Attributes:
        verdict_id: Digest of annotation, time and region.
        task_created_at: When the task was made in Label Studio, ISO 8601, UTC: it tells tasks of
            the same key apart, and annotations of the same number on a server set up anew.
        annotator: The steward's e-mail or id in Label Studio.
        decided_at: ISO 8601 with offset, UTC.
        category: The category that holds from now on; None for a region that is rejected, undecided
            or whose verdict is withdrawn, and for a tile.
        bbox_xyxy_px: The box that holds from now on, in scene pixels.
        seconds: Time the steward took for the whole task.
    """

    verdict_id: str
    region_id: str
    tile_id: str
    scene_id: str
    task_key: str
    task_created_at: str
    annotation_id: int
    annotator: str
    decided_at: str
    action: VerdictAction
    category: str | None
    bbox_xyxy_px: BoxPx
    seconds: float | None
