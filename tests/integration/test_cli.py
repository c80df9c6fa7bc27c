"""The command line as a user meets it: a night on a folder, its release pulled and measured."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from demo.stack.settings import REPO

CONFIG = REPO / "demo" / "lae.yaml"


def lae(*arguments: str, cwd: Path, code: int = 0) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("LAE_", "LABEL_"))}
    done = subprocess.run(
        [sys.executable, "-m", "lae_tasks", *arguments],
        cwd=cwd,
        env=environment | {"COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout if code == 0 else done.stderr


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two small scenes, the night run over them, and one broken file."""
    folder = tmp_path_factory.mktemp("world")
    lae("synth", "scenes", "--scenes", "2", "--size", "512", "--seed", "990000", cwd=folder)
    (folder / "scenes" / "broken.tif").write_text("no picture")
    run(folder)
    return folder


def run(folder: Path, night: str = "2026-11-22") -> dict[str, object]:
    places = ("--config", str(CONFIG), "--raw", str(folder / "scenes"))
    store = ("--store", str(folder / "store"))
    lae("run", *places, *store, "--night", night, cwd=folder)
    status = lae("status", "--config", str(CONFIG), *store, "--json", cwd=folder)
    found: dict[str, object] = json.loads(status)
    return found


@pytest.mark.timeout(900)
def test_a_night_accounts_for_everything(world: Path) -> None:
    status = run(world)
    assert (status["scenes"], status["tiles"]) == (2, 2)
    rejected = status["rejected"]
    assert isinstance(rejected, dict)
    assert rejected["ingest: unreadable"] == 1
    assert rejected["ingest: unsupported"] == 1  # truth.json
    routed = sum(count for reason, count in rejected.items() if reason.startswith("route: "))
    assert status["named"] == status["accepted"] + status["review"] + routed  # type: ignore[operator]
    lost = rejected.get("classify: reply not understood", 0)
    assert status["regions"] == status["named"] + lost
    assert status["accepted"]


def test_the_rules_are_tried_on_a_night_that_is_over(world: Path) -> None:
    status = run(world)
    store = ("--config", str(CONFIG), "--store", str(world / "store"))
    tried = json.loads(lae("rules", *store, "--night", "2026-11-22", "--json", cwd=world))
    for outcome, name in (("accept", "accepted"), ("review", "review")):
        assert sum(each["in_order"] for each in tried if each["then"] == outcome) == status[name]
    assert "monochrome" in lae("rules", *store, "--night", "2026-11-22", cwd=world)
    assert run(world) == status


def test_the_same_night_again_is_no_new_version(world: Path) -> None:
    first = run(world)["release"]
    assert run(world)["release"] == first
    listed = json.loads(
        lae("releases", "-c", str(CONFIG), "--store", str(world / "store"), "--json", cwd=world)
    )
    assert [r["version"] for r in listed] == ["v1.0.0"]


def test_a_night_on_another_day_gives_the_same_digest(world: Path, tmp_path: Path) -> None:
    (tmp_path / "scenes").symlink_to(world / "scenes")
    again = run(tmp_path, "2026-12-31")["release"]
    first = run(world)["release"]
    assert isinstance(again, dict)
    assert isinstance(first, dict)
    assert again["digest"] == first["digest"]


def test_a_release_is_pulled_verified_and_measured(world: Path) -> None:
    store = ("-c", str(CONFIG), "--store", str(world / "store"))
    lae("pull", "latest", "data", *store, cwd=world)
    lae("verify", "data", cwd=world)
    measured = json.loads(
        lae(
            "evaluate",
            "data/coco/instances.json",
            "--truth",
            "scenes/truth.json",
            "--json",
            cwd=world,
        )
    )
    assert measured
    picture = next((world / "data" / "images").iterdir())
    picture.write_bytes(picture.read_bytes()[:-1] + b"x")
    lae("verify", "data", cwd=world, code=1)


def test_errors_are_one_message_without_a_traceback(tmp_path: Path) -> None:
    message = lae("status", cwd=tmp_path, code=1)
    assert "lae.yaml" in message
    assert "--config" in message
    assert "Traceback" not in message
    (tmp_path / "lae.yaml").write_text("preset: demo\nraw: a\nstore: b\ntile: {size: 3}\n")
    message = lae("config", cwd=tmp_path, code=1)
    assert "lae.yaml:4: tile.size: unknown key; did you mean size_px?" in message


@pytest.mark.timeout(600)
def test_a_data_set_with_boxes_gets_masks_and_keeps_its_names(tmp_path: Path) -> None:
    lae("synth", "scenes", "--scenes", "1", "--size", "768", "--seed", "990001", cwd=tmp_path)
    truth = json.loads((tmp_path / "scenes" / "truth.json").read_text())
    (image,) = truth["images"]
    names = {category["id"]: category["name"] for category in truth["categories"]}
    lines = []
    for item in truth["annotations"]:
        x, y, width, height = item["bbox"]
        corners = [x, y, x + width, y, x + width, y + height, x, y + height]
        name = names[item["category_id"]].replace(" ", "-")  # as DOTA spells them
        lines.append(f"{' '.join(map(str, corners))} {name} 0")
    labels = tmp_path / "scenes" / "labelTxt"
    labels.mkdir()
    (labels / f"{Path(image['file_name']).stem}.txt").write_text("\n".join(lines))
    settings = CONFIG.read_text().replace(": models/", f": {CONFIG.parent}/models/")
    settings = settings.replace("local-dir:models", f"local-dir:{CONFIG.parent}/models")
    settings += "annotations:\n  - format: dota\n    location: labelTxt\n"
    config = tmp_path / "lae.yaml"
    config.write_text(settings)
    places = ("--config", str(config), "--raw", "scenes", "--store", "store")
    lae("run", *places, "--night", "2026-11-22", cwd=tmp_path)
    store = ("--config", str(config), "--store", "store")
    status = json.loads(lae("status", *store, "--json", cwd=tmp_path))
    # The small SAM misses the box of some, and these go to a steward.
    assert status["accepted"] + status["review"] == len(truth["annotations"])
    assert status["accepted"] > 0.6 * len(truth["annotations"])
    assert status["rejected"]["ingest: annotation"] == 1
    listed = lae("rejects", *store, cwd=tmp_path)
    assert "labelTxt" not in listed
    assert "1 more: read with the scenes" in listed
    lae("pull", "latest", "pulled", *store, cwd=tmp_path)
    found = json.loads(
        lae(
            "evaluate",
            "pulled/coco/instances.json",
            "--truth",
            "scenes/truth.json",
            "--json",
            cwd=tmp_path,
        )
    )
    overall = found["segm"]["overall"]
    # Every name is the data set's.
    assert overall["recall"] > 0.5, found
    assert set(found["segm"]["by_category"]) <= set(names.values())
