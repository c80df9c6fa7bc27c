"""The page for trainers says how to open each format; what it says is run here."""

import gc
import re
import warnings
from pathlib import Path
from typing import get_args

import datasets
import pytest

from lae_tasks.config import FormatName, ReleaseConfig
from lae_tasks.formats.writing import Source, write
from tests.format_world import awkward_dataset, png, pulled

PAGE = (Path(__file__).parents[3] / "docs/formats.md").read_text("utf-8")
SNIPPETS = re.findall(r"^## (.+?)\n.*?^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """A folder with `release/` in it, in all formats."""
    folder = tmp_path_factory.mktemp("pulled")
    dataset = awkward_dataset()
    pulled(dataset, "tables", folder / "release")
    write(Source(dataset, ReleaseConfig(), png), get_args(FormatName), folder / "release")
    return folder


@pytest.mark.parametrize(("title", "code"), SNIPPETS, ids=[title for title, _ in SNIPPETS])
def test_what_the_page_says_works(title, code, release, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(release)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # WebDataset closes no shard that it read
        exec(compile(code, title, "exec"), found)
        found.pop("samples", None)
        gc.collect()
    if title.startswith("GeoParquet"):
        assert len(found["objects"]) == len(found["near"]) == len(found["same"]) > 5
    else:
        read = ("masks", "instances", "corners", "names", "told")
        assert any(found.get(name) for name in read)


def test_the_page_has_every_format_and_its_files(release):
    for name in get_args(FormatName):
        assert f"| `{name}` |" in PAGE
    for place in re.findall(r"release/([\w./-]+\.\w+)", PAGE):
        assert (release / "release" / place).exists(), place
