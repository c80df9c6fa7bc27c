"""The commands on releases, in this process: what they print, and what they refuse."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from lae_tasks.cli import common, history, pulling, releases
from lae_tasks.contracts import VerdictAction
from lae_tasks.errors import ConfigError
from lae_tasks.releases.history import UnknownRegionError
from lae_tasks.storage import open_storage
from tests.release_world import World, publish_world

pytestmark = [
    # Great Expectations 1.24 imports names that Python 3.11 calls deprecated.
    pytest.mark.filterwarnings("ignore:module 'sre_:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Two versions: in the second one an object is rejected and a scene is added."""
    world = World(open_storage(str(tmp_path_factory.mktemp("store"))))
    world.add_scene(3)
    publish_world(world)
    world.judge(world.region_ids()[0], VerdictAction.REJECT)
    world.add_scene(4)
    publish_world(world)
    return world


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Consoles that do not wrap, and write where the test looks."""
    from rich.console import Console

    monkeypatch.setenv("COLUMNS", "250")
    for module in (common, history, pulling, releases):
        for name, to_stderr in (("out", False), ("err", True)):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, Console(stderr=to_stderr, width=250))


def lae(*arguments: str) -> Any:
    return CliRunner().invoke(common.app, arguments, catch_exceptions=False)


def as_json(*arguments: str) -> Any:
    return json.loads(lae(*arguments, "--json").stdout)


def test_a_difference_is_shown_by_category_and_object(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "_FIRST_ROWS", 2)
    store = ("--store", world.store.uri)
    told = as_json("diff", "v1.0.0", "latest", *store)
    assert (told["from"], told["to"]) == ("v1.0.0", "v1.1.0")
    count = told["counts"]["added"]
    assert count > 2
    shown = lae("diff", "v1.0.0", *store).stdout
    assert f"v1.0.0 → v1.1.0: {count} added, 1 removed; scenes +1 −0" in shown
    assert "reject by a steward" in shown
    assert "rule sure, 0.95 by" in shown
    assert f"… and {count - 2} more; --all shows them" in shown
    every = lae("diff", "v1.0.0", "latest", *store, "--all").stdout
    assert "--all shows" not in every
    assert all(entry["region_id"] in every for entry in told["added"])
    assert "no object differs" in lae("diff", "latest", "latest", *store).stdout


def test_a_region_is_told_from_scene_to_version(world: World) -> None:
    store = ("--store", world.store.uri)
    region_id = as_json("diff", "v1.0.0", "latest", *store)["removed"][0]["region_id"]
    shown = lae("why", region_id, *store).stdout
    assert "v1.0.0: " in shown
    assert "its night ran again" in shown  # this world has no nights
    assert [each["version"] for each in as_json("why", region_id, *store)["versions"]] == ["v1.0.0"]
    with pytest.raises(UnknownRegionError, match="knows no region"):
        lae("why", "nothing", *store)


def test_versions_are_listed_marked_and_rolled_back(world: World) -> None:
    store = ("--store", world.store.uri)
    shown = lae("releases", *store).stdout
    assert "precision" in shown
    assert "latest" in shown
    assert "latest is v1.0.0; it was v1.1.0" in lae("rollback", "v1.0.0", *store).stdout
    assert [each["latest"] for each in as_json("releases", *store)] == [True, False]
    lae("rollback", "v1.1.0", *store)
    assert "v1.1.0 is yanked; latest is v1.0.0" in (
        lae("yank", "v1.1.0", "--reason", "wrong [masks]", *store).stdout
    )
    assert [each["yanked"] for each in as_json("releases", *store)] == [None, "wrong [masks]"]
    shown = lae("releases", *store).stdout
    assert "wrong [masks]" in shown
    with pytest.raises(ConfigError, match="is the only release that is not yanked"):
        lae("yank", "v1.0.0", "--reason", "x", *store)


def test_one_format_is_pulled_with_a_warning_of_a_yanked_version(
    world: World, tmp_path: Any
) -> None:
    store = ("--store", world.store.uri)
    lae("yank", "v1.1.0", "--reason", "wrong [masks]", *store)
    dest = str(tmp_path / "d")
    result = lae("pull", "v1.1.0", dest, *store, "--format", "coco", "--no-images")
    assert "; coco, without images" in result.stdout
    assert "v1.1.0 was yanked at" in result.stderr
    assert "wrong [masks]" in result.stderr
    assert not (tmp_path / "d" / "odvg").exists()
    assert "every file is as its manifest says" in lae("verify", dest).stdout
    with pytest.raises(ConfigError, match="not written in yolo; choose of: coco, odvg"):
        lae("pull", "v1.1.0", dest, *store, "--format", "yolo")


def test_a_folder_that_was_pulled_is_no_store(world: World, tmp_path: Path) -> None:
    dest = str(tmp_path / "pulled")
    lae("pull", "latest", dest, "--format", "coco", "--store", world.store.uri)
    with pytest.raises(ConfigError, match="is a pulled release; give the store"):
        lae("releases", "--store", dest)
