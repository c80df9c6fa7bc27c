"""From the same decisions the same bytes, in another process with another clock."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

from lae_tasks.config import FormatName

ROOT = Path(__file__).parents[3]
#: What tells when the release was made, and so differs.
TELLS_THE_DAY = {"README.md", "croissant.json", "report.html"}

#: Publishes two versions of a small world; told is which files the second has. By `backwards`
#: what nights and stewards said comes in the opposite order, and it is another day.
SCRIPT = """
import json, sys, time
from dataclasses import fields
from datetime import datetime, timedelta
from lae_tasks.contracts import VerdictAction
from lae_tasks.stages import release as release_stage
from lae_tasks.stages.release import publish
from lae_tasks.state import State
from lae_tasks.storage import open_storage
from tests.release_world import World

store, formats, backwards = sys.argv[1], sys.argv[2].split(","), sys.argv[3] == "backwards"
world = World(open_storage(store))
config = world.config
release = config.release.model_copy(update={"formats": tuple(formats)})
config = config.model_copy(update={"release": release})


def state():
    values = {each.name: getattr(world.state, each.name) for each in fields(State)}
    if backwards:
        values = {
            name: dict(reversed(value.items())) if isinstance(value, dict) else value
            for name, value in values.items()
        }
    return State(**values)


class Later(datetime):
    @classmethod
    def now(cls, tz=None):
        return datetime.now(tz) + timedelta(days=400)


if backwards:
    now = time.time
    time.time = lambda: now() + 400 * 86400
    release_stage.datetime = Later
for seed in (3, 4, 5):
    world.add_scene(seed)
publish(state, config, world.store)
one, other, third, *_ = world.region_ids()
world.judge(one, VerdictAction.REJECT)
world.judge(other, VerdictAction.RELABEL, category="windmill")
world.judge(third, VerdictAction.REJECT)
world.judge(third, VerdictAction.ACCEPT, day="2026-05-02")
manifest = publish(state, config, world.store).manifest
print(json.dumps({"digest": manifest.digest, **{f.path: f.sha256 for f in manifest.files}}))
"""


def publish_elsewhere(store: Path, order: str, **environment: str) -> dict[str, str]:
    """What a process of its own publishes: digests of files by their paths."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(store), ",".join(get_args(FormatName)), order],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        cwd=store.parent,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def test_another_process_time_zone_locale_and_order(tmp_path):
    one = publish_elsewhere(tmp_path / "one", "as they came", PYTHONHASHSEED="1", TZ="UTC")
    elsewhere = {"PYTHONHASHSEED": "2", "TZ": "Asia/Tokyo", "LC_ALL": "C", "OMP_NUM_THREADS": "1"}
    other = publish_elsewhere(tmp_path / "another", "backwards", **elsewhere)
    assert one.keys() == other.keys()
    differ = {path for path in one if one[path] != other[path]}
    assert differ <= TELLS_THE_DAY and one["digest"] == other["digest"]
