"""Croissant 1.1: what data set hubs and loaders read to know what is in a release.

The file describes a pulled release: paths are relative to it. Records are those of the tables, and
the images, each with its row.
"""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from lae_tasks.config import ReleaseConfig
from lae_tasks.formats import tables
from lae_tasks.releases.dataset import ANNOTATION_SCHEMA, SPLITS, Category
from lae_tasks.releases.manifest import ReleaseManifest
from lae_tasks.schema import dataclass_schema
from lae_tasks.tables import sha256_of

PATH = "croissant.json"

_CONFORMS_TO = "http://mlcommons.org/croissant/1.1"
_IMAGES = "image-files"
#: The record sets of the tables: file, columns, key, and what a record is.
_TABLES = {
    "categories": (
        tables.CATEGORIES_PATH,
        dataclass_schema(Category),
        "category_id",
        "The categories, with numbers that hold in every version.",
    ),
    "images": (
        tables.IMAGES_PATH,
        dataclass_schema(tables.ImageRow),
        "image_id",
        "The images: where each is cut from, where it lies on the ground, and its split.",
    ),
    "annotations": (
        tables.ANNOTATIONS_PATH,
        ANNOTATION_SCHEMA,
        "annotation_id",
        "The objects as they show on each image; an object on several images has several.",
    ),
}
#: Columns of other tables that columns refer to. By their tables: mlcroissant 1.1.1 cannot join by
#: fields of record sets that come from files.
_REFERENCES = {
    ("annotations", "image_id"): ("images", "image_id"),
    ("annotations", "category_id"): ("categories", "category_id"),
    ("pixels", "path"): ("images", "path"),
}
#: Terms of 1.1 that mlcroissant reads, but leaves out of the context that it writes.
_TERMS = {
    "arrayShape": "cr:arrayShape",
    "containedIn": "cr:containedIn",
    "description": {"@container": "@language"},
    "isArray": "cr:isArray",
    "name": {"@container": "@language"},
}
_TOLD = {
    "annotation_id": "Counts from 1.",
    "area_m2": "Ground that the whole object covers, m2.",
    "area_px": "Pixels of the mask on this image.",
    "bbox_scene_xyxy_px": "Box of the whole object in scene pixels: x0, y0, x1, y1, half open.",
    "bbox_xyxy_px": "Box in the image's pixels: x0, y0, x1, y1, half open.",
    "category": "Name of the category.",
    "category_id": "Number of the category, from 1 on, the same in every version.",
    "crs": "Of the image's place on the ground: EPSG code or WKT.",
    "image_id": "Counts from 1.",
    "lon_lat": "WGS 84 longitude and latitude of the middle of the whole object's box, degrees.",
    "mask_rle": "COCO compressed run-length encoding, of the size of the image.",
    "name": "Name of the category.",
    "parent": "The wider category; empty without one.",
    "path": "Where the image lies in the release.",
    "region_id": "The object, on whatever image and in whatever version.",
    "scene_id": "The scene that it is cut from: a digest of its file.",
    "scene_key": "Path of that scene's file.",
    "score": "Confidence; 1 for what a steward decided.",
    "sha256": "Digest of the PNG.",
    "source": "engine:<rule>, or steward.",
    "split": "train, val or test; none for what is in no split. Splits share no scene.",
    "tile_id": "The image, in whatever version.",
    "transform": "From the image's pixels to the CRS: six coefficients as rasterio has them.",
    "window_px": "x, y, width and height in scene pixels.",
}
_SPLIT_URLS = {"train": "TrainingSplit", "val": "ValidationSplit", "test": "TestSplit"}


def write(root: Path, manifest: ReleaseManifest, config: ReleaseConfig) -> None:
    """Writes the description beside the tables.

    Args:
        root: A release's folder, with its tables.
        manifest: The release's manifest; its list of files need not be complete yet.
        config: The release's settings.
    """
    values = describe(root, manifest, config)
    text = json.dumps(values, indent=1, ensure_ascii=False)
    (root / PATH).write_text(f"{text}\n", encoding="utf-8")


def describe(root: Path, manifest: ReleaseManifest, config: ReleaseConfig) -> dict[str, Any]:
    """The description as JSON-LD; raises mlcroissant.ValidationError if it is none."""
    import mlcroissant as mlc  # its import takes seconds

    terms = mlc.Rdf().context | _TERMS
    context = mlc.Context(conforms_to=_CONFORMS_TO, rdf=mlc.Rdf(dict(sorted(terms.items()))))
    counts = manifest.counts
    metadata = mlc.Metadata(
        ctx=context,
        name=manifest.title,
        description=config.description
        or f"{counts['objects']} objects of {counts['categories']} categories on "
        f"{counts['images']} images of {counts['scenes']} scenes.",
        version=manifest.version.removeprefix("v"),
        license=[manifest.licence],
        date_published=datetime.fromisoformat(manifest.created_at),
        keywords=["remote sensing", *(each.name for each in manifest.categories if each.objects)],
        cite_as=_citation(manifest),
        distribution=_files(root, context),
        record_sets=_record_sets(context),
        machine_annotation_tools=sorted(
            {name for names in manifest.model_revisions.values() for name in names}
        )
        or None,
        data_limitations=[
            "Not everything on an image is annotated: what waits for a steward or was rejected "
            "is not in. README.md says how precise and how complete the labels are."
        ],
    )
    found: dict[str, Any] = metadata.to_json()
    return found


def _citation(manifest: ReleaseManifest) -> str:
    key = f"{manifest.dataset}_{manifest.version}".replace(".", "_").replace("-", "_")
    title = manifest.title.replace("{", "").replace("}", "")
    return (
        f"@misc{{{key}, title = {{{title}}}, version = {{{manifest.version}}}, "
        f"year = {{{manifest.created_at[:4]}}}, note = {{digest {manifest.digest}}}}}"
    )


def _files(root: Path, context: Any) -> list[Any]:
    import mlcroissant as mlc

    files: list[Any] = [
        mlc.FileObject(
            ctx=context,
            id=f"{name}-table",
            name=f"{name}.parquet",
            content_url=path,
            content_size=f"{(root / path).stat().st_size} B",
            encoding_formats=["application/x-parquet"],
            sha256=sha256_of(root / path),
        )
        for name, (path, *_) in _TABLES.items()
    ]
    images = mlc.FileSet(
        ctx=context,
        id=_IMAGES,
        name="images",
        description="8-bit RGB; the sha256 of each is in the record set images.",
        encoding_formats=["image/png"],
        includes=["images/*.png"],
    )
    return [*files, images]


def _record_sets(context: Any) -> list[Any]:
    import mlcroissant as mlc

    sets = [_splits(context)]
    for name, (_, schema, key, told) in _TABLES.items():
        sets.append(
            mlc.RecordSet(
                ctx=context,
                id=name,
                name=name,
                description=told,
                key=f"{name}/{key}",
                fields=[_field(context, name, column) for column in schema],
            )
        )
    return [*sets, _pictures(context)]


def _splits(context: Any) -> Any:
    import mlcroissant as mlc

    fields = [
        mlc.Field(ctx=context, id=f"splits/{name}", name=name, data_types=[kind])
        for name, kind in (("name", mlc.DataType.TEXT), ("url", mlc.DataType.URL))
    ]
    return mlc.RecordSet(
        ctx=context,
        id="splits",
        name="splits",
        data_types=[mlc.DataType.SPLIT],
        key="splits/name",
        fields=fields,
        data=[
            {"splits/name": split, "splits/url": f"http://mlcommons.org/croissant/{url}"}
            for split, url in ((split, _SPLIT_URLS[split]) for split in SPLITS)
        ],
    )


def _field(context: Any, table: str, column: pa.Field) -> Any:
    """A column as a field, by its type."""
    import mlcroissant as mlc

    kind, more = column.type, dict[str, Any]()
    if pa.types.is_fixed_size_list(kind):
        more = {"is_array": True, "array_shape": str(kind.list_size)}
        kind = kind.value_type
    if pa.types.is_integer(kind):
        data_type = mlc.DataType.INTEGER
    elif pa.types.is_floating(kind):
        data_type = mlc.DataType.FLOAT
    else:
        data_type = mlc.DataType.TEXT
    if column.name == "split":
        more["references"] = mlc.Source(ctx=context, field="splits/name")
    elif (table, column.name) in _REFERENCES:
        more["references"] = _column(context, *_REFERENCES[table, column.name])
    return mlc.Field(
        ctx=context,
        id=f"{table}/{column.name}",
        name=column.name,
        description=_TOLD[column.name],
        data_types=[data_type],
        source=_column(context, table, column.name),
        **more,
    )


def _column(context: Any, table: str, column: str) -> Any:
    import mlcroissant as mlc

    return mlc.Source(
        ctx=context,
        file_object=f"{table}-table",
        extract=mlc.Extract(ctx=context, column=column),
    )


def _pictures(context: Any) -> Any:
    """The images' pixels."""
    import mlcroissant as mlc

    def field(name: str, kind: Any, told: str, source: str, **more: Any) -> Any:
        return mlc.Field(
            ctx=context,
            id=f"pixels/{name}",
            name=name,
            description=told,
            data_types=[kind],
            source=mlc.Source(
                ctx=context,
                file_set=_IMAGES,
                extract=mlc.Extract(ctx=context, file_property=source),
            ),
            **more,
        )

    path = field(
        "path",
        mlc.DataType.TEXT,
        _TOLD["path"],
        "fullpath",
        references=_column(context, *_REFERENCES["pixels", "path"]),
    )
    pixels = field("image", mlc.DataType.IMAGE_OBJECT, "RGB.", "content")
    return mlc.RecordSet(
        ctx=context,
        id="pixels",
        name="pixels",
        description="The images themselves; path leads to their row in images.",
        key="pixels/path",
        fields=[path, pixels],
    )
