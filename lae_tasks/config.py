"""The engine's settings, a section for each stage; `config_file.py` reads them.

Secrets never stand here: credentials come from the environment or from Airflow connections.
"""

import hashlib
import json
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from lae_tasks.naming.vocabulary import OPEN, Vocabulary
from lae_tasks.routing.rules import CAUTIOUS, NamedRule

#: Label Studio takes no longer title of a project.
TITLE_LENGTH = 50

Measure = Literal["iou", "containment", "mask_iou", "mask_containment"]
FormatName = Literal[
    "coco", "odvg", "yolo", "dota", "geoparquet", "geojson", "hugging_face", "webdataset"
]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(gt=0)]


class Section(BaseModel):
    """Base of the config's sections."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    #: Where things lie or run, which must not change a stage's fingerprint. Of models and prompts
    #: the content counts.
    places: ClassVar[frozenset[str]] = frozenset()

    def fingerprint(self) -> str:
        """Digest of every setting that can change what the stage computes."""
        within = {name: value for name, value in self if isinstance(value, Section)}
        values = self.model_dump(mode="json", exclude={*self.places, *within})
        values |= {name: section.fingerprint() for name, section in within.items()}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


class IngestConfig(Section):
    """Which objects below `raw` are scenes."""

    suffixes: tuple[str, ...] = (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".jp2")
    shard_scenes: Positive = Field(
        4, description="Scenes in a shard, the unit of work of one Airflow task"
    )
    max_pixels: Positive = Field(
        4_000_000_000, description="Larger scenes are rejected as decompression bombs"
    )


class TileConfig(Section):
    """How a scene is cut and rendered."""

    size_px: Positive = Field(
        1024, le=13_377, description="Pillow opens no larger square: a decompression bomb, it says"
    )
    overlap_px: Count = 128
    bands: tuple[Positive, ...] | None = Field(
        None, description="1-based bands shown as R, G, B; by default from the file's own tags"
    )
    stretch_percentiles: tuple[Annotated[float, Field(ge=0, le=100)], ...] = (2.0, 98.0)
    min_valid_fraction: Share = 0.05

    @field_validator("overlap_px")
    @classmethod
    def _overlap_leaves_a_step(cls, value: int, info: ValidationInfo) -> int:
        if value >= info.data.get("size_px", value + 1):
            raise ValueError("overlap_px must be smaller than size_px")
        return value

    @field_validator("stretch_percentiles")
    @classmethod
    def _two_rising(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if len(value) != 2 or value[0] >= value[1]:
            raise ValueError("give two rising percentiles such as [2, 98]")
        return value

    @field_validator("bands")
    @classmethod
    def _one_or_three(cls, value: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if value is not None and len(value) not in (1, 3):
            raise ValueError("give one band (grey) or three (R, G, B)")
        return value


class AnnotationSource(Section):
    """Boxes or points that scenes come with: each becomes a prompt for a mask."""

    format: Literal["coco", "dota", "fair1m", "hrsc", "nwpu", "voc", "xview", "yolo"]
    location: str = Field(description="Below raw: the folder of label files, or coco's or xview's")
    images: str = Field("", description="Below raw: the folder of its scenes; empty: all")

    @field_validator("location", "images")
    @classmethod
    def _without_slashes_around(cls, value: str) -> str:
        return value.strip("/")

    @field_validator("location")
    @classmethod
    def _one_file_has_a_key(cls, value: str, info: ValidationInfo) -> str:
        if not value and info.data.get("format") in ("coco", "xview"):
            raise ValueError(f"{info.data['format']} is one file: give the file's key")
        return value


class SegmentConfig(Section):
    """SAM's masks, which of them are regions, and how the tiles' are joined.

    Names and defaults up to `min_mask_region_area` as in segment_anything.
    """

    places: ClassVar[frozenset[str]] = frozenset({"checkpoint", "device"})

    model_type: Literal["vit_b", "vit_l", "vit_h", "small", "sam2", "sam3_tracker"] = Field(
        "vit_h", description="SAM's ViTs, the demo's small one, SAM 2 or 2.1, or SAM 3's tracker"
    )
    checkpoint: Path | None = Field(
        None,
        description="Weights: .pth, for small .safetensors; for sam2 and sam3_tracker a folder of "
        "transformers, or a name on the hub",
    )
    device: str = "auto"
    points_per_side: Positive = 32
    points_per_batch: Positive = Field(64, description="At most; on a CPU fewer are faster")
    pred_iou_thresh: Share = 0.86
    stability_score_thresh: Share = 0.92
    stability_score_offset: float = 1.0
    box_nms_thresh: Share = 0.7
    crop_n_layers: Count = 1
    crop_nms_thresh: Share = 0.7
    crop_n_points_downscale_factor: Positive = Field(2, validate_default=True)
    min_mask_region_area: Count = 0
    largest_part_only: bool = Field(
        False, description="Keep only the largest connected part of a mask"
    )
    duplicate_iou: Share = Field(
        0.8, description="Masks of a tile that overlap so far are one thing; the better one stays"
    )
    nested_share: Share = Field(
        0.5, description="So is a mask within another that fills more than this share of it"
    )
    join_iou: Share = Field(
        0.5, description="Masks of two tiles are one thing if they agree so far where both look"
    )
    max_regions: Positive = Field(10, description="Regions of a tile that are kept")
    choice: Literal["stratified", "largest"] = Field(
        "stratified", description="Which are kept: the best of each size class, or the largest"
    )
    grid_beside_prompts: bool = Field(
        False, description="Look for more in scenes that came with boxes or points"
    )

    @field_validator("crop_n_points_downscale_factor")
    @classmethod
    def _a_point_in_each_crop(cls, value: int, info: ValidationInfo) -> int:
        points, layers = info.data.get("points_per_side"), info.data.get("crop_n_layers", 0)
        if points and points < value**layers:
            raise ValueError(
                f"points_per_side {points} leaves crops of layer {layers} without a point; give at "
                f"least {value**layers}, or fewer crop_n_layers"
            )
        return value

    @property
    def checkpoint_is_folder(self) -> bool:
        """Whether the checkpoint is a folder, or a name on the hub, rather than a file."""
        return self.model_type in ("sam2", "sam3_tracker")


class RemoteConfig(Section):
    """A server that speaks OpenAI's protocol, such as vLLM's; the key is in OPENAI_API_KEY.

    Its `model_revision` tells two models of the same name apart: the server does not.
    """

    places: ClassVar[frozenset[str]] = frozenset(
        {
            "base_url",
            "max_in_flight",
            "timeout_s",
            "deadline_s",
            "usd_per_million_prompt_tokens",
            "usd_per_million_completion_tokens",
            "budget_usd",
        }
    )

    base_url: str = Field(description="Such as http://localhost:8000/v1")
    model_revision: str = Field("", description="Change it when the server's model changes")
    max_in_flight: Positive = Field(64, description="Requests at a time")
    timeout_s: Annotated[float, Field(gt=0)] = Field(60.0, description="Of one attempt")
    deadline_s: Annotated[float, Field(gt=0)] = Field(
        600.0, description="Of a crop, all attempts together"
    )
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.0
    logprobs: bool = Field(True, description="Ask for the tokens' probabilities")
    json_schema: bool = Field(True, description="Hold the reply to the template's schema, if any")
    usd_per_million_prompt_tokens: Annotated[float, Field(ge=0)] = 0.0
    usd_per_million_completion_tokens: Annotated[float, Field(ge=0)] = 0.0
    budget_usd: Annotated[float, Field(gt=0)] | None = Field(
        None, description="Of a night: each shard may spend its share, by the area of its scenes"
    )


class ClassifyConfig(Section):
    """Who names crops: a vision-language model, here or on a server, or CLIP alone."""

    places: ClassVar[frozenset[str]] = frozenset({"model", "clip_model", "device", "prompt"})

    namer: Literal["local", "remote", "clip"] = "local"
    model: str | None = Field(
        None, description="Folder or hub name of an image-text-to-text model; the server's name"
    )
    clip_model: str | None = Field(
        None, description="open_clip folder (local-dir:…) or `architecture/pretrained tag`"
    )
    clip_background: tuple[str, ...] = Field(
        (), description="What CLIP as the namer takes for nothing: a crop that is likest to these"
    )
    prompt: str = Field("lae_paper", description="A template of naming/prompts, or a file")
    context: Literal["crop", "outline"] = Field(
        "crop", description="outline: the box is drawn in the crop; give it a crop_margin"
    )
    crop_margin: Annotated[float, Field(ge=0, le=2)] = 0.0
    trust_remote_code: Literal["never", "run the code that comes with the model"] = "never"
    device: str = "auto"
    dtype: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    batch_size: Positive = 16
    max_new_tokens: Positive = 128
    alternatives: Count = Field(0, description="Other names to ask the model for, at most")
    remote: RemoteConfig | None = None

    @model_validator(mode="after")
    def _namer_has_what_it_needs(self) -> "ClassifyConfig":
        if self.namer == "remote" and self.remote is None:
            raise ValueError("the namer is remote: add `remote` with the server's base_url")
        if self.namer == "clip" and self.clip_model is None:
            raise ValueError("the namer is clip: add clip_model")
        return self


class RouteConfig(Section):
    """Rules, names, duplicates, and who decides."""

    score: Literal["likelihood_said", "token_confidence"] = Field(
        "likelihood_said", description="What a decision's confidence is, and what ranks duplicates"
    )
    rules: tuple[NamedRule, ...] = Field(
        CAUTIOUS,
        description="The first that holds decides; what none takes is accepted. A name alone "
        "stands for the rule with its defaults",
    )
    merge_similarity: Share = 0.92
    nms_iou: Share = Field(0.5, description="More overlap than this, by nms_measure: a duplicate")
    nms_measure: Measure = Field(
        "iou",
        description="containment: intersection over the smaller, so parts go too; mask_…: of the "
        "masks, so neighbours that stand slantwise stay",
    )
    max_candidates: Count = 5
    target_precision: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.95, description="Of what the rule `uncertain` lets through, once verdicts tell"
    )
    target_confidence: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.9, description="With which target_precision is reached"
    )
    audit_share: Share = Field(
        0.1, description="Share of what is not rejected that is drawn and reviewed in any case"
    )
    learn_share: Share = Field(0.15, description="The same, until there is a calibration")
    audit_seed: int = 0
    refit_after: Positive = Field(50, description="New verdicts that make a new calibration")

    @field_validator("rules")
    @classmethod
    def _what_has_no_name_is_rejected(cls, rules: tuple[NamedRule, ...]) -> tuple[NamedRule, ...]:
        if not any(rule.rule == "unrecognized" for rule in rules):
            raise ValueError("add unrecognized, or what has no name would be accepted")
        return rules


class ReviewConfig(Section):
    """The Label Studio project of this dataset."""

    places: ClassVar[frozenset[str]] = frozenset({"guide_url"})

    project: str = Field(
        "", max_length=TITLE_LENGTH, description="Its title; empty: `LAE review: ` and the dataset"
    )
    batch_size: Positive = 500
    looks_per_night: Positive | None = Field(
        None, description="Looks at boxes that a night's push may ask for, over all; None: any"
    )
    second_look_share: Share = Field(
        0.15, description="Share of the tasks of what is drawn at random that two stewards get"
    )
    check_share: Share = Field(
        0.02, description="Share of a night's tiles that are looked over for what is missing"
    )
    guide_url: str = Field(
        "",
        pattern=r"^(https?://\S+)?$",
        description="Where stewards find docs/stewards.md; the project links to it",
    )


class ReleaseConfig(Section):
    """What a release says of itself, and what it must reach to get a version."""

    title: str = "LAE dataset"
    description: str = ""
    licence: str = "unknown"
    formats: tuple[FormatName, ...] = Field(
        ("coco", "odvg", "geoparquet"), description="What a release is written in"
    )
    val_share: Share = Field(0.1, description="Share of the images that validation gets")
    test_share: Share = Field(0.1, description="Share of the images that the test gets")
    min_object_share: Share = Field(
        0.5, description="An object belongs to each tile that shows at least this share of it"
    )
    min_precision_low: Share | None = Field(
        None,
        description="The lower end of the interval of the precision of all objects must reach it; "
        "unmeasured is 0",
    )
    min_agreement: Annotated[float, Field(ge=-1, le=1)] | None = Field(
        None,
        description="Krippendorff's alpha must reach it, once two stewards have decided 30 regions "
        "that were planned for two",
    )
    max_class_shift: Share | None = Field(
        0.25,
        description="The mix of categories on new scenes may differ so much from the parent's, "
        "from 200 objects on: half the sum of the differences of shares, less what chance makes",
    )
    refuse_drift: bool = Field(
        True,
        description="Whether objects that were drawn and looked at since the parent may not be "
        "worse than both what the parent states and route.target_precision",
    )
    max_removed: Share | None = Field(
        0.5, description="Of the parent's objects so large a share may be gone"
    )
    only_warn: tuple[
        Literal["precision_low", "agreement", "class_shift", "drift", "removed"], ...
    ] = Field((), description="Of these gates a failure is told, and holds no release up")

    @model_validator(mode="after")
    def _splits_leave_something_to_train_on(self) -> "ReleaseConfig":
        if self.val_share + self.test_share >= 1:
            raise ValueError("val_share and test_share leave nothing to train on")
        return self


class Config(Section):
    """The whole of the settings; `lae config` prints it resolved."""

    preset: str
    dataset: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")] = "lae"
    raw: str
    store: str
    vocabulary: Vocabulary = Field(
        OPEN,
        description="A list of names, a vocabulary, or the file that holds one; by the rule "
        "new_category only its names are accepted unseen, or every name if it is empty",
    )
    annotations: tuple[AnnotationSource, ...] = Field(
        (), description="Existing annotations below raw, such as a data set's boxes"
    )
    threads: Positive = Field(1, description="CPU threads of a model; part of what is reproducible")
    ingest: IngestConfig = IngestConfig()
    tile: TileConfig = TileConfig()
    segment: SegmentConfig = SegmentConfig()
    classify: ClassifyConfig = ClassifyConfig()
    route: RouteConfig = RouteConfig()
    review: ReviewConfig = Field(ReviewConfig(), validate_default=True)
    release: ReleaseConfig = ReleaseConfig()

    @field_validator("classify")
    @classmethod
    def _clip_has_names_to_choose_from(
        cls, value: ClassifyConfig, info: ValidationInfo
    ) -> ClassifyConfig:
        vocabulary = info.data.get("vocabulary")  # missing where it is wrong itself
        if value.namer == "clip" and vocabulary and not vocabulary.names:
            raise ValueError("the namer is clip: it chooses from the vocabulary; add `vocabulary`")
        return value

    @field_validator("review")
    @classmethod
    def _each_dataset_has_its_project(
        cls, value: ReviewConfig, info: ValidationInfo
    ) -> ReviewConfig:
        # Of two datasets whose titles are cut to the same one, push refuses the second.
        title = f"LAE review: {info.data.get('dataset')}"[:TITLE_LENGTH]
        return value if value.project else value.model_copy(update={"project": title})

    @field_validator("route")
    @classmethod
    def _what_is_blocked_has_its_rule(cls, value: RouteConfig, info: ValidationInfo) -> RouteConfig:
        vocabulary = info.data.get("vocabulary")
        has_rule = any(rule.rule == "blocked" for rule in value.rules)
        if vocabulary and vocabulary.blocked and not has_rule:
            raise ValueError(
                f"the vocabulary blocks {vocabulary.blocked[0]!r}: add the rule `blocked` to rules"
            )
        return value
