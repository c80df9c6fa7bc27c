"""A night over real aerial and satellite images: every file is accounted for."""

import os
from pathlib import Path

import pytest

from demo.stack.settings import REPO
from lae_tasks.accounts import Rejection
from lae_tasks.config_file import load_config
from lae_tasks.local import open_night, run_night
from lae_tasks.runner import iter_manifests
from lae_tasks.state import load_state
from lae_tasks.status import read_rejections, read_status
from lae_tasks.tables import read_table

IMAGERY = os.environ.get("LAE_IMAGERY")
NIGHT = "2026-11-22"

#: Damage that shows when the pixels are decoded; everything else in the two folders is tiled.
DAMAGED = {"formats/corrupt_tile.tif", "formats/truncated.jpg", "formats/truncated.tif"}
#: It is read with the scene beside it.
MASK = "formats/external_mask.tif.msk"
#: Larger than a unit of this test should be: 62 million pixels of class codes.
HUGE = "formats/palette_landcover_7168x8704.tif"


@pytest.mark.skipif(not IMAGERY, reason="LAE_IMAGERY is not set")
@pytest.mark.timeout(1200)
def test_every_file_is_a_scene_or_a_rejection(tmp_path: Path) -> None:
    source = Path(str(IMAGERY))
    raw = tmp_path / "raw"
    names = [
        f"{folder}/{path.name}"
        for folder in ("images", "formats")
        for path in sorted((source / folder).iterdir())
    ]
    for name in names:
        (raw / name).parent.mkdir(parents=True, exist_ok=True)
        (raw / name).symlink_to((source / name).resolve())
    config = load_config(REPO / "demo" / "lae.yaml", raw=str(raw), store=str(tmp_path / "store"))
    # Few points: this is about files, not about recall.
    segment = config.segment.model_copy(update={"points_per_side": 4, "crop_n_layers": 0})
    ingest_config = config.ingest.model_copy(update={"max_pixels": 20_000_000})
    config = config.model_copy(update={"segment": segment, "ingest": ingest_config})
    run_night(config, NIGHT, 2, lambda *_: None)

    night = open_night(config, NIGHT)
    state = load_state(night.store, NIGHT)
    (ingest,) = iter_manifests(night.store, "ingest", NIGHT)
    rejections = read_table(night.store, ingest.outputs[-1], Rejection)
    refused = {r.rejected_id: r.reason for r in rejections}
    assert refused == {MASK: "sidecar", HUGE: "too large"}
    assert {s.raw_key for s in state.scenes.values()} | set(refused) == set(names)
    damaged = [r for r in read_rejections(night.store, NIGHT) if r.stage == "tile"]
    assert {state.scenes[r.rejected_id].raw_key for r in damaged} == DAMAGED
    assert {r.reason for r in damaged} == {"unreadable"}
    assert len(names) == 34
    status = read_status(night.store, NIGHT)
    assert status.tiles == len(state.tiles) > 29
    assert status.left_out["empty_tiles"] > 0
    assert {t.scene_id for t in state.tiles.values()} <= set(state.scenes)
