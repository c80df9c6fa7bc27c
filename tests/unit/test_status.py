import io

import pytest
from rich.console import Console

from lae_tasks.accounts import Done, Rejection
from lae_tasks.contracts import Assignment, Scene
from lae_tasks.errors import ContractError
from lae_tasks.runner import Work, run
from lae_tasks.status import NightStatus, as_table, read_rejections, read_status
from lae_tasks.storage import LocalStorage


def test_the_table_shows_every_count() -> None:
    status = NightStatus(
        night="2026-11-22",
        scenes=8,
        tiles=72,
        regions=1234,
        named=1000,
        accepted=700,
        audit=35,
        review=200,
        decided=17,
        left_out={"prompts_without_mask": 41},
        rejected={"route: unrecognized": 97, "ingest: empty": 3},
        release={"version": "v1.0.0", "digest": "abc", "counts": {"objects": 699}},
    )
    out = io.StringIO()
    Console(file=out, width=80).print(as_table(status))
    shown = ("2026-11-22", "1,234", "to review", "17", "unrecognized", "100", "v1.0.0", "699")
    shown += ("annotations that SAM gave no mask", "41")
    assert [text for text in shown if text not in out.getvalue()] == []


def test_an_empty_store_has_no_night(tmp_path) -> None:
    store = LocalStorage(tmp_path)
    assert read_status(store) == NightStatus(night=None)
    assert read_rejections(store) == []


def test_a_night_that_is_not_there_is_an_error_and_the_others_are_named(tmp_path) -> None:
    store = LocalStorage(tmp_path)
    work = Work("ingest", "2026-11-22", "all", (Scene, Assignment), "c", ())
    refused = Rejection(rejected_id="a.txt", stage="ingest", reason="unsupported", detail="why")
    run(store, work, ["a.txt", "b"], [refused, Done("b")])
    with pytest.raises(ContractError, match="no night 2026-11-21; there are: 2026-11-22"):
        read_status(store, "2026-11-21")
    with pytest.raises(ContractError, match="no night 2026-11-21"):
        read_rejections(store, "2026-11-21")
    assert read_rejections(store) == [refused]
    assert read_status(store).rejected == {"ingest: unsupported": 1}
