"""The ledger as it is shown."""

import io
from pathlib import Path

from rich.console import Console

from lae_tasks.contracts import Merge
from lae_tasks.naming.ledger import as_table, read_ledger
from lae_tasks.storage import LocalStorage


def merge(name: str, canonical: str, rule: str, count: int, **more: object) -> Merge:
    values = {"similarity": None, "by": "engine"} | more
    return Merge.model_validate(
        {"name": name, "canonical": canonical, "rule": rule, "count": count, **values}
    )


def test_what_became_another_name_is_shown_by_category() -> None:
    lines = [
        merge("Boats", "boat", "canonical form", 2),
        merge("jet", "airplane", "synonym", 3, by="anna@example.org"),
        merge("plane", "airplane", "similar", 9, similarity=0.95123),
        merge("ship", "ship", "same", 50),
    ]
    out = io.StringIO()
    Console(file=out, width=100).print(as_table(lines))
    text = out.getvalue()
    assert text.index("plane") < text.index("jet") < text.index("Boats")
    assert "0.951" in text
    assert "anna@example.org" in text
    assert "ship" not in text


def test_an_empty_store_has_an_empty_ledger(tmp_path: Path) -> None:
    assert read_ledger(LocalStorage(tmp_path)) == []
