"""Validate: Great Expectations over what a release would hold, before it has a name.

The report (Data Docs) is kept whatever the outcome, below `validation/<digest>/`. Its pages are
made by Great Expectations' own renderers; scripts and styles that they would load from other
hosts are replaced by a small style sheet, so the report can be read without a network and tells
nobody that it was read.
"""

import hashlib
import logging
import math
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import pandas as pd
from PIL import Image, UnidentifiedImageError

from lae_tasks.errors import LaeError
from lae_tasks.formats.data_docs import index_page, own_style
from lae_tasks.releases.dataset import Dataset
from lae_tasks.releases.gates import Gate
from lae_tasks.storage import MissingObjectError, Storage

logger = logging.getLogger(__name__)

STAGE = "validate"

_GATES = "gates"
_THREADS = 8
_SHOWN = 20

ANNOTATION_COLUMNS = (
    "annotation_id",
    "image_id",
    "region_id",
    "category",
    "x0",
    "y0",
    "x1",
    "y1",
    "area_px",
    "box_area_px",
    "score",
    "source",
    "image_width",
    "image_height",
)
IMAGE_COLUMNS = (
    "image_id",
    "path",
    "scene_key",
    "width",
    "height",
    "sha256",
    "stored_sha256",
    "stored_width",
    "stored_height",
)


class ValidationFailedError(LaeError):
    """What would be released breaks its rules. The report says which; nothing was published."""


@dataclass(frozen=True)
class Check:
    """The outcome of one expectation; `detail` says what broke it and how often."""

    table: str
    rule: str
    passed: bool
    detail: str


@dataclass(frozen=True)
class ValidationReport:
    """The outcome of all of them.

    Attributes:
        key: The Data Docs' index in the store.
        image_bytes: Size of each image that was found, by its key.
    """

    digest: str
    checks: tuple[Check, ...]
    key: str
    image_bytes: Mapping[str, int]

    @property
    def passed(self) -> bool:
        """Whether every expectation is met."""
        return all(check.passed for check in self.checks)

    def require(self) -> None:
        """Raises ValidationFailedError unless everything passed."""
        failed = [check for check in self.checks if not check.passed]
        if failed:
            lines = "\n".join(f"  {c.table}: {c.rule}: {c.detail}" for c in failed)
            raise ValidationFailedError(
                f"{len(failed)} of {len(self.checks)} expectations fail, so no version was made; "
                f"the report is {self.key} in the store:\n{lines}"
            )


def docs_folder(digest: str) -> str:
    """Where the Data Docs of a dataset lie, with a slash at the end."""
    return f"validation/{digest}/"


def validate(
    dataset: Dataset, store: Storage, digest: str, gates: Sequence[Gate] = ()
) -> ValidationReport:
    """Checks a dataset and writes the report.

    Args:
        dataset: What would be released.
        store: Where its images are, and where the report goes.
        digest: The digest that the release would have; it names the report.
        gates: What is asked of the figures that it states of itself.

    Returns:
        The outcome; `require()` raises if something failed.
    """
    stored = inspect_images(dataset, store)
    tables = {
        "images": (image_frame(dataset, stored), _image_rules()),
        "annotations": (annotation_frame(dataset), _annotation_rules(dataset)),
    }
    if gates:
        tables[_GATES] = (_gate_frame(gates), _gate_rules(gates))
    results = _run(tables)
    says = {gate.rule: gate.says for gate in gates}
    checks = tuple(
        Check(table, rule, bool(result.success), says.get(rule) or _detail(result))
        for table, outcome in results.items()
        for result in sorted(outcome.results, key=lambda r: r.expectation_config.meta["number"])
        for rule in [result.expectation_config.meta["rule"]]
    )
    sizes = {key: image.size_bytes for key, image in stored.items()}
    report = ValidationReport(digest, checks, f"{docs_folder(digest)}index.html", sizes)
    _write_docs(store, report, results)
    logger.info("validated %s: %s", digest[:12], "passed" if report.passed else "FAILED")
    return report


def annotation_frame(dataset: Dataset) -> pd.DataFrame:
    """The annotations as a table, with the size of the image that each is on (NaN if none)."""
    size_of = {image.image_id: (image.width_px, image.height_px) for image in dataset.images}
    rows = []
    for each in dataset.annotations:
        x0, y0, x1, y1 = each.bbox_xyxy_px
        width, height = size_of.get(each.image_id, (None, None))
        identity = (each.annotation_id, each.image_id, each.region_id, each.category)
        areas = (each.area_px, (x1 - x0) * (y1 - y0))
        rows.append((*identity, x0, y0, x1, y1, *areas, each.score, each.source, width, height))
    return pd.DataFrame(rows, columns=list(ANNOTATION_COLUMNS))


@dataclass(frozen=True)
class StoredImage:
    """An image as it was found in the store; no size in pixels if it cannot be read as one."""

    sha256: str
    size_bytes: int
    width_px: int | None
    height_px: int | None


def inspect_images(dataset: Dataset, store: Storage) -> dict[str, StoredImage]:
    """Reads and hashes the images of a dataset; by key, without those that are not there."""
    keys = sorted({image.key for image in dataset.images})
    with ThreadPoolExecutor(_THREADS) as pool:
        found = zip(keys, pool.map(lambda key: _inspect(store, key), keys), strict=True)
        return {key: image for key, image in found if image}


def _inspect(store: Storage, key: str) -> StoredImage | None:
    try:
        data = store.read(key)
    except MissingObjectError:
        return None
    digest = hashlib.sha256(data).hexdigest()
    try:
        with Image.open(BytesIO(data)) as image:
            return StoredImage(digest, len(data), image.width, image.height)
    except UnidentifiedImageError:
        return StoredImage(digest, len(data), None, None)


def image_frame(dataset: Dataset, stored: Mapping[str, StoredImage]) -> pd.DataFrame:
    """The images as a table, beside what was found in the store (None where nothing was)."""
    rows = []
    for image in dataset.images:
        expected = (image.width_px, image.height_px, image.sha256)
        found = stored.get(image.key)
        seen = (found.sha256, found.width_px, found.height_px) if found else (None, None, None)
        rows.append((image.image_id, image.path, image.scene_key, *expected, *seen))
    return pd.DataFrame(rows, columns=list(IMAGE_COLUMNS))


def _expectations() -> Any:
    """Great Expectations' expectations. It is imported late, as that takes seconds."""
    os.environ["GX_ANALYTICS_ENABLED"] = "False"
    from great_expectations import expectations

    return expectations


def _image_rules() -> Sequence[tuple[str, Any]]:
    gx = _expectations()
    return [
        ("its columns", gx.ExpectTableColumnsToMatchOrderedList(column_list=[*IMAGE_COLUMNS])),
        ("there are images", gx.ExpectTableRowCountToBeBetween(min_value=1)),
        ("ids are unique", gx.ExpectColumnValuesToBeUnique(column="image_id")),
        ("paths are unique", gx.ExpectColumnValuesToBeUnique(column="path")),
        ("is in the store", gx.ExpectColumnValuesToNotBeNull(column="stored_sha256")),
        ("has the right checksum", _equal(gx, "sha256", "stored_sha256")),
        ("has its tile's width", _equal(gx, "width", "stored_width")),
        ("has its tile's height", _equal(gx, "height", "stored_height")),
    ]


def _equal(gx: Any, left: str, right: str) -> Any:
    return gx.ExpectColumnPairValuesToBeEqual(
        column_A=left, column_B=right, ignore_row_if="either_value_is_missing"
    )


def _annotation_rules(dataset: Dataset) -> Sequence[tuple[str, Any]]:
    gx = _expectations()
    images = [image.image_id for image in dataset.images]
    names = [category.name for category in dataset.categories]

    def at_least(larger: str, smaller: str, or_equal: bool = True) -> Any:
        return gx.ExpectColumnPairValuesAToBeGreaterThanB(
            column_A=larger,
            column_B=smaller,
            or_equal=or_equal,
            ignore_row_if="either_value_is_missing",
        )

    return [
        ("its columns", gx.ExpectTableColumnsToMatchOrderedList(column_list=[*ANNOTATION_COLUMNS])),
        ("ids are unique", gx.ExpectColumnValuesToBeUnique(column="annotation_id")),
        (
            "an object is on an image once",
            gx.ExpectCompoundColumnsToBeUnique(column_list=["image_id", "region_id"]),
        ),
        ("has its image", gx.ExpectColumnValuesToBeInSet(column="image_id", value_set=images)),
        ("has its region", gx.ExpectColumnValuesToNotBeNull(column="region_id")),
        ("is named", gx.ExpectColumnValuesToNotBeNull(column="category")),
        (
            "is in the vocabulary",
            gx.ExpectColumnValuesToBeInSet(column="category", value_set=names),
        ),
        ("box begins inside: x", gx.ExpectColumnValuesToBeBetween(column="x0", min_value=0)),
        ("box begins inside: y", gx.ExpectColumnValuesToBeBetween(column="y0", min_value=0)),
        ("box has a width", at_least("x1", "x0", or_equal=False)),
        ("box has a height", at_least("y1", "y0", or_equal=False)),
        ("box ends inside: x", at_least("image_width", "x1")),
        ("box ends inside: y", at_least("image_height", "y1")),
        ("mask has an area", gx.ExpectColumnValuesToBeBetween(column="area_px", min_value=1)),
        ("mask fits its box", at_least("box_area_px", "area_px")),
        ("is scored", gx.ExpectColumnValuesToNotBeNull(column="score")),
        (
            "score is in [0, 1]",
            gx.ExpectColumnValuesToBeBetween(column="score", min_value=0, max_value=1),
        ),
        (
            "names its source",
            gx.ExpectColumnValuesToMatchRegex(column="source", regex="^(?:steward$|engine:.)"),
        ),
    ]


def _gate_frame(gates: Sequence[Gate]) -> pd.DataFrame:
    """One row with the figure of each gate; NaN, which nothing is asked of, where there is none."""
    figures = {gate.name: math.nan if gate.value is None else gate.value for gate in gates}
    return pd.DataFrame([{"release": "this one"} | figures])


def _gate_rules(gates: Sequence[Gate]) -> Sequence[tuple[str, Any]]:
    gx = _expectations()

    def expectation(gate: Gate) -> Any:
        if gate.low is None and gate.high is None:  # nothing is asked of it
            return gx.ExpectColumnToExist(column=gate.name)
        return gx.ExpectColumnValuesToBeBetween(
            column=gate.name, min_value=gate.low, max_value=gate.high
        )

    return [(gate.rule, expectation(gate)) for gate in gates]


def _run(tables: Mapping[str, tuple[pd.DataFrame, Sequence[tuple[str, Any]]]]) -> dict[str, Any]:
    """Validates each table by its rules, in a context that lives in memory only."""
    _expectations()
    import great_expectations as gx
    from great_expectations.data_context.types.base import (
        DataContextConfig,
        InMemoryStoreBackendDefaults,
        ProgressBarsConfig,
    )

    settings = DataContextConfig(
        store_backend_defaults=InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
        progress_bars=ProgressBarsConfig(globally=False),
        analytics_enabled=False,
    )
    source = gx.get_context(project_config=settings, mode="ephemeral").data_sources.add_pandas(
        "release"
    )
    results = {}
    for table, (frame, rules) in tables.items():
        whole = source.add_dataframe_asset(table).add_batch_definition_whole_dataframe("all")
        suite = gx.ExpectationSuite(table)
        for number, (rule, expectation) in enumerate(rules):
            # The results come in another order; this tells which is which.
            expectation.meta = {"rule": rule, "number": number}
            suite.add_expectation(expectation)
        row_id = {"images": "path", "annotations": "annotation_id", _GATES: "release"}[table]
        results[table] = whole.get_batch({"dataframe": frame}).validate(
            suite,
            result_format={
                "result_format": "SUMMARY",
                "unexpected_index_column_names": [row_id],
                "partial_unexpected_count": _SHOWN,
            },
        )
    return results


def _detail(result: Any) -> str:
    """What an expectation found, in a few words."""
    if result.success:
        return "met"
    if exception := result.exception_info:
        messages = [
            str(info.get("exception_message"))
            for info in ([exception] if "raised_exception" in exception else exception.values())
            if info.get("raised_exception")
        ]
        if messages:
            return f"could not be checked: {messages[0]}"
    found = result.result
    if "unexpected_count" not in found:
        return f"found {found.get('observed_value')}"
    rows = found.get("partial_unexpected_index_list") or found.get("partial_unexpected_list") or []
    return f"{found['unexpected_count']} of {found['element_count']} rows: {str(rows[:3])[1:-1]}"


def _write_docs(store: Storage, report: ValidationReport, results: Mapping[str, Any]) -> None:
    from great_expectations.render.renderer.page_renderer import ValidationResultsPageRenderer
    from great_expectations.render.view.view import DefaultJinjaPageView

    folder = docs_folder(report.digest)
    view: Any = DefaultJinjaPageView()
    for table, result in results.items():
        document = ValidationResultsPageRenderer().render(result)
        page = own_style(view.render(document))
        store.write(f"{folder}{table}.html", page.encode())
    rows = [(c.table, c.rule, c.passed, c.detail) for c in report.checks]
    store.write(report.key, index_page(report.digest, rows).encode())
