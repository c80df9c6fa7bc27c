"""The engine's settings: one YAML file over a named preset, validated before anything runs.

A wrong key or value raises a ConfigError that names the line, the key and the remedy. Paths in
the file are relative to the file. Secrets never stand here: S3 and Label Studio credentials come
from the environment or from Airflow connections.
"""

import difflib
import hashlib
import json
import os
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from lae_tasks.errors import ConfigError
from lae_tasks.names import same_spelling

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
        values = self.model_dump(mode="json", exclude=set(self.places))
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


class ClassifyConfig(Section):
    """The vision-language model that names crops, and CLIP beside it."""

    places: ClassVar[frozenset[str]] = frozenset({"model", "clip_model", "device", "prompt"})

    model: str | None = Field(None, description="Folder or hub name of an image-text-to-text model")
    clip_model: str | None = Field(
        None, description="open_clip folder (local-dir:…) or `architecture/pretrained tag`"
    )
    prompt: str = Field("lae_paper", description="A template in lae_tasks/prompts, or a file")
    device: str = "auto"
    dtype: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    batch_size: Positive = 16
    max_new_tokens: Positive = 128
    crop_margin: Annotated[float, Field(ge=0, le=2)] = 0.0


class RouteConfig(Section):
    """Rules, names, duplicates, and who decides."""

    score: Literal["likelihood_said", "token_confidence"] = "likelihood_said"
    accept_at: Share = Field(0.9, description="Accept from this confidence on")
    reject_below: Share = Field(0.0, description="Below it a region is not worth a steward's look")
    min_area_px: Count = 0
    max_aspect: Annotated[float, Field(ge=1)] = 50.0
    min_crop_std: Annotated[float, Field(ge=0)] = Field(
        2.0, description="Grey values of a crop spread less than this: monochrome"
    )
    merge_similarity: Share = 0.92
    nms_iou: Share = 0.5
    nms_measure: Literal["iou", "containment"] = Field(
        "iou", description="containment: intersection over the smaller box, so parts go too"
    )
    min_prompt_iou: Share = Field(
        0.5, description="An imported box's mask that fits it worse than this goes to review"
    )
    review_seen_in_part: bool = Field(
        True, description="An object that was seen in part only goes to review"
    )
    max_candidates: Count = 5
    audit_share: Share = Field(0.05, description="Share of the accepted that is reviewed unmarked")
    audit_seed: int = 0


class ReviewConfig(Section):
    """The Label Studio project of this dataset."""

    project: str = "LAE review"
    batch_size: Positive = 500


class ReleaseConfig(Section):
    """What a release says of itself."""

    title: str = "LAE dataset"
    description: str = ""
    licence: str = "unknown"
    min_object_share: Share = Field(
        0.5, description="An object belongs to each tile that shows at least this share of it"
    )


class Config(Section):
    """The whole of the settings; `lae config` prints it resolved."""

    preset: str
    dataset: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")] = "lae"
    raw: str
    store: str
    vocabulary: tuple[str, ...] = Field(
        (), description="Names that may be accepted unseen; empty: every name"
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
    review: ReviewConfig = ReviewConfig()
    release: ReleaseConfig = ReleaseConfig()

    @field_validator("vocabulary")
    @classmethod
    def _each_name_once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        seen: dict[str, str] = {}
        for name in names:
            form = same_spelling(name)
            if not form:
                raise ValueError(f"{name!r} is no name")
            if form in seen:
                raise ValueError(f"{seen[form]!r} and {name!r} are the same name; leave one out")
            seen[form] = name
        return names


def default_path() -> Path:
    """The config file that is used when none is named: `$LAE_CONFIG`, else `lae.yaml`."""
    return Path(os.environ.get("LAE_CONFIG", "lae.yaml"))


def load_config(path: Path | None = None, **overrides: str | None) -> Config:
    """Reads and validates a config file.

    Args:
        path: The YAML file; by default `$LAE_CONFIG` or `lae.yaml`.
        overrides: `raw` or `store`, which win over the file's where not None; as they come from a
            command line, their paths are relative to the working directory.

    Raises:
        ConfigError: It names the line, the key, and what would be right.
    """
    path = path or default_path()
    try:
        text = path.read_text(encoding="utf-8")
        node = yaml.compose(text)
        own = yaml.safe_load(text) or {}
    except OSError as error:
        raise ConfigError(
            f"config {path}: {error.strerror}; name one by --config or $LAE_CONFIG"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"config {path}: not UTF-8; save it as UTF-8") from error
    except yaml.YAMLError as error:
        raise ConfigError(_explain_yaml(error, path)) from error
    if not isinstance(own, dict):
        raise ConfigError(f"config {path}: expected keys and values, got {type(own).__name__}")
    for key, uri in overrides.items():
        if uri is not None:
            own[key] = uri if "://" in uri else str(Path(uri).absolute())
    merged = _merge(_preset(own, path, node), own)
    try:
        config = Config.model_validate(merged)
    except ValidationError as error:
        raise ConfigError(_explain(error, path, node)) from error
    return _with_absolute_paths(config, path.resolve().parent)


def preset_names() -> list[str]:
    """The presets that come with the package."""
    folder = resources.files("lae_tasks") / "presets"
    return sorted(f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name[-5:] == ".yaml")


def _preset(own: dict[str, Any], path: Path, node: yaml.Node | None) -> dict[str, Any]:
    choices = ", ".join(preset_names())
    if "preset" not in own:
        raise ConfigError(f"{path}: preset is missing; add one of: {choices}")
    name = own["preset"]
    if name not in preset_names():
        close = difflib.get_close_matches(str(name), preset_names(), 1)
        hint = f"; did you mean {close[0]}?" if close else ""
        line = _line(node, ["preset"])
        raise ConfigError(f"{path}:{line}: preset: {name!r} is not one of: {choices}{hint}")
    text = (resources.files("lae_tasks") / "presets" / f"{name}.yaml").read_text()
    values: dict[str, Any] = yaml.safe_load(text)
    return values


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _explain_yaml(error: yaml.YAMLError, path: Path) -> str:
    mark = getattr(error, "problem_mark", None)
    line = f":{mark.line + 1}" if mark else ""
    return f"{path}{line}: not valid YAML: {getattr(error, 'problem', None) or error}"


def _explain(error: ValidationError, path: Path, node: yaml.Node | None) -> str:
    problems = []
    for item in error.errors():
        where = [str(part) for part in item["loc"]]
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            close = difflib.get_close_matches(where[-1], _known_keys(where[:-1]), 1)
            hint = f"did you mean {close[0]}?" if close else "`lae config --schema` lists the keys"
            message = f"unknown key; {hint}"
        elif item["type"] == "missing":
            message = "is missing; add it"
        else:
            message = f"{message} (got {item['input']!r})"
        problems.append((_line(node, where), f"{'.'.join(where)}: {message}"))
    return "\n".join(f"{path}:{line}: {problem}" for line, problem in sorted(problems))


def _known_keys(section: list[str]) -> list[str]:
    """The keys of a section, or of an item of a list; none where they cannot be told."""
    kind: Any = Config
    for part in section:
        fields = getattr(kind, "model_fields", {})
        if part in fields:
            kind = fields[part].annotation
        elif part.isdigit() and get_args(kind):
            kind = get_args(kind)[0]
        else:
            return []
    return list(getattr(kind, "model_fields", ()))


def _line(node: yaml.Node | None, where: list[str]) -> int:
    """The line of a key in the file; that of its nearest parent where it is not there."""
    line = 1
    for part in where:
        if isinstance(node, yaml.SequenceNode) and part.isdigit() and int(part) < len(node.value):
            node = node.value[int(part)]
            line = node.start_mark.line + 1
            continue
        if not isinstance(node, yaml.MappingNode):
            break
        pairs = {key.value: (key, value) for key, value in node.value}
        if part not in pairs:
            break
        key, node = pairs[part]
        line = key.start_mark.line + 1
    return line


def _with_absolute_paths(config: Config, folder: Path) -> Config:
    """Resolves relative paths against the config file's folder."""

    def absolute(value: str | None) -> str | None:
        """A path that exists below the folder becomes absolute; other names stay."""
        if value is None:
            return None
        kind, colon, rest = value.rpartition(":")
        local = folder / rest
        return f"{kind}{colon}{local}" if local.exists() else value

    checkpoint = config.segment.checkpoint
    if checkpoint and config.segment.checkpoint_is_folder:
        checkpoint = Path(absolute(str(checkpoint)) or checkpoint)
    elif checkpoint:
        checkpoint = folder / checkpoint
    classify = {
        "model": absolute(config.classify.model),
        "clip_model": absolute(config.classify.clip_model),
        "prompt": absolute(config.classify.prompt),
    }
    storage = {
        name: uri if "://" in uri else str(folder / uri)
        for name, uri in (("raw", config.raw), ("store", config.store))
    }
    return config.model_copy(
        update={
            **storage,
            "segment": config.segment.model_copy(update={"checkpoint": checkpoint}),
            "classify": config.classify.model_copy(update=classify),
        }
    )
