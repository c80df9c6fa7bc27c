"""What a release holds, before it is written in any format."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from lae_tasks.contracts import BoxPx, WindowPx
from lae_tasks.imagery.georeference import Georeference

STEWARD = "steward"
"""Source of an annotation that a steward decided."""


@dataclass(frozen=True, slots=True)
class Category:
    """A name with the number it has in every version of the dataset, from 1 on.

    Attributes:
        parent: The wider category that the vocabulary puts it in; empty without one.
    """

    category_id: int
    name: str
    parent: str = ""


@dataclass(frozen=True, slots=True)
class ReleaseImage:
    """A tile as an image of the release.

    Attributes:
        image_id: Consecutive from 1.
        scene_key: The scene's key below the raw prefix.
        window_px: (x, y, width, height) in scene pixels.
        key: Key of the PNG in the store.
        sha256: Digest of that PNG.
        place: Where the image lies on the ground; None where that is not known.
    """

    image_id: int
    tile_id: str
    scene_id: str
    scene_key: str
    window_px: WindowPx
    key: str
    sha256: str
    place: Georeference | None = None

    @property
    def path(self) -> str:
        """Where the image lies in the release."""
        return f"images/{self.tile_id}.png"

    @property
    def width_px(self) -> int:
        """Width of the image."""
        return self.window_px[2]

    @property
    def height_px(self) -> int:
        """Height of the image."""
        return self.window_px[3]


@dataclass(frozen=True, slots=True)
class Object:
    """A thing on the ground; `mask_rle` is of the size of its box in scene pixels."""

    region_id: str
    scene_id: str
    category: str
    bbox_xyxy_px: BoxPx
    mask_rle: str
    area_px: int
    score: float
    source: str

    @property
    def is_rectangle(self) -> bool:
        """Whether the mask fills its box."""
        x0, y0, x1, y1 = self.bbox_xyxy_px
        return self.area_px == (x1 - x0) * (y1 - y0)


@dataclass(frozen=True, slots=True)
class Annotation:
    """An object as it shows on one image. An object on two tiles has two annotations.

    Attributes:
        annotation_id: Consecutive from 1.
        bbox_xyxy_px: Box in the image's pixels, half open.
        mask_rle: COCO compressed RLE of the size of the image.
        area_px: Pixels of the mask on this image.
        bbox_scene_xyxy_px: Box of the whole object, in scene pixels.
        area_m2: Ground that the whole object covers; None where the scene has no place.
        lon_lat: WGS 84 longitude and latitude of the middle of its box, in degrees; None likewise.
        score: Confidence; 1.0 for what a steward decided.
        source: `engine:<rule>` or `steward`.
    """

    annotation_id: int
    image_id: int
    region_id: str
    category_id: int
    category: str
    bbox_xyxy_px: BoxPx
    mask_rle: str
    area_px: int
    bbox_scene_xyxy_px: BoxPx
    score: float
    source: str
    area_m2: float | None = None
    lon_lat: tuple[float, float] | None = None


@dataclass(frozen=True)
class Dataset:
    """The current truth, ready to be validated and written.

    Attributes:
        left_out: Regions and verdicts that are not in, by reason.
    """

    images: tuple[ReleaseImage, ...]
    annotations: tuple[Annotation, ...]
    categories: tuple[Category, ...]
    left_out: Mapping[str, int] = field(default_factory=dict)

    def counts(self) -> dict[str, int]:
        """How much of each there is; an object on several tiles is one object."""
        return {
            "scenes": len({image.scene_id for image in self.images}),
            "images": len(self.images),
            "objects": len({annotation.region_id for annotation in self.annotations}),
            "annotations": len(self.annotations),
            "categories": len(self.categories),
        }

    def objects_by_category(self, scenes: Collection[str] | None = None) -> dict[str, int]:
        """Objects of each category, in the categories' order; of all scenes, or of these."""
        images = {
            image.image_id for image in self.images if scenes is None or image.scene_id in scenes
        }
        of = {each.region_id: each.category for each in self.annotations if each.image_id in images}
        counted = Counter(of.values())
        return {category.name: counted[category.name] for category in self.categories}
