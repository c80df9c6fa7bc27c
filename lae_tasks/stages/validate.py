"""Validate: Great Expectations over what a release would hold, before it has a name.

The report (Data Docs) is kept whatever the outcome, below `validation/<digest>/`. Its pages are
made by Great Expectations' own renderers; scripts and styles that they would load from other
hosts are replaced by a small style sheet, so the report can be read without a network and tells
nobody that it was read.
"""

import hashlib
import logging
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from types import MappingProxyType
from typing import Any

import pandas as pd
from PIL import Image, UnidentifiedImageError

from lae_tasks.errors import LaeError
from lae_tasks.formats.data_docs import index_page, own_style
from lae_tasks.releases.dataset import Dataset
from lae_tasks.releases.expectations import Rule, StoredImage, Subject, tables
from lae_tasks.releases.gates import Gate
from lae_tasks.storage import MissingObjectError, Storage

logger = logging.getLogger(__name__)

STAGE = "validate"

_THREADS = 8
_SHOWN = 20


class ValidationFailedError(LaeError):
    """What would be released breaks its rules. The report says which; nothing was published."""


@dataclass(frozen=True)
class Check:
    """The outcome of one expectation.

    Attributes:
        detail: What broke it and how often.
        only_warns: It holds no release up.
    """

    table: str
    rule: str
    passed: bool
    detail: str
    only_warns: bool = False


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
        """Whether every expectation is met that is no mere warning."""
        return all(check.passed or check.only_warns for check in self.checks)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What failed and holds nobody up."""
        return tuple(
            f"{check.table}: {check.rule}: {check.detail}"
            for check in self.checks
            if check.only_warns and not check.passed
        )

    def require(self) -> None:
        """Raises ValidationFailedError unless everything passed."""
        failed = [check for check in self.checks if not (check.passed or check.only_warns)]
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
    dataset: Dataset,
    store: Storage,
    digest: str,
    gates: Sequence[Gate] = (),
    before: Dataset | None = None,
    rejected: Collection[str] = (),
    checked: Mapping[str, StoredImage] = MappingProxyType({}),
) -> ValidationReport:
    """Checks a dataset and writes the report.

    Args:
        dataset: What would be released.
        store: Where its images are, and where the report goes.
        digest: The digest that the release would have; it names the report.
        gates: What is asked of the figures that it states of itself.
        before: The release before; None for the first.
        rejected: Ids of the regions that stewards have rejected.
        checked: Images that were read for the release before, by key.

    Returns:
        The outcome; `require()` raises if something failed that is no mere warning.
    """
    stored = inspect_images(dataset, store, checked)
    found = tables(Subject(dataset, before, rejected, stored, gates))
    results = _run(found)
    says = {gate.rule: gate.says for gate in gates}
    checks = tuple(
        Check(
            table=name,
            rule=rule,
            passed=bool(result.success),
            detail=says.get(rule) or _detail(result),
            only_warns=result.expectation_config.severity == "warning",
        )
        for name, outcome in results.items()
        for result in sorted(outcome.results, key=lambda r: r.expectation_config.meta["number"])
        for rule in [result.expectation_config.meta["rule"]]
    )
    sizes = {key: image.size_bytes for key, image in stored.items()}
    report = ValidationReport(digest, checks, f"{docs_folder(digest)}index.html", sizes)
    _write_docs(store, report, results)
    logger.info("validated %s: %s", digest[:12], "passed" if report.passed else "FAILED")
    return report


def inspect_images(
    dataset: Dataset, store: Storage, checked: Mapping[str, StoredImage]
) -> dict[str, StoredImage]:
    """Reads and hashes the images of a dataset; by key, without those that are not there.

    Args:
        dataset: Whose images.
        store: Where they are.
        checked: Those that were read for the release before: of these only the size is looked at.
    """
    keys = sorted({image.key for image in dataset.images})
    there = {info.key: info.size_bytes for info in store.list("images/")} if checked else {}
    found = {
        key: checked[key]
        for key in keys
        if key in checked and there.get(key) == checked[key].size_bytes
    }
    new = [key for key in keys if key not in found]
    with ThreadPoolExecutor(_THREADS) as pool:
        read = zip(new, pool.map(lambda key: _inspect(store, key), new), strict=True)
        return found | {key: image for key, image in read if image}


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


def _run(found: Mapping[str, tuple[pd.DataFrame, Sequence[Rule], str]]) -> dict[str, Any]:
    """Validates each table by its rules, in a context that lives in memory only."""
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
    for table, (frame, rules, row_id) in found.items():
        whole = source.add_dataframe_asset(table).add_batch_definition_whole_dataframe("all")
        suite = gx.ExpectationSuite(table)
        for number, (rule, expectation) in enumerate(rules):
            # The results come in another order; this tells which is which.
            expectation.meta = {"rule": rule, "number": number}
            suite.add_expectation(expectation)
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
    rows = [(c.table, c.rule, c.passed, c.detail, c.only_warns) for c in report.checks]
    store.write(report.key, index_page(report.digest, rows).encode())
