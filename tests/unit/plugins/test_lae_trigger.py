"""The verdicts trigger: when it fires, and that it comes back from its serialized form."""

import asyncio
import json
import time
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from airflow.sdk.module_loading import import_string
from lae_airflow.triggers.verdicts import CHANGED, FAILED, NOTHING, VerdictsTrigger

from demo.stack.processes import free_port
from lae_tasks.errors import ConfigError, TransientError


class ScriptedStudio:
    """A Label Studio whose newest change is the next of a list; the last one stays."""

    def __init__(self, answers: Iterable[str | Exception | None]) -> None:
        self.answers: Iterator[str | Exception | None] = iter(answers)
        self.now: str | Exception | None = None
        self.asked = 0

    def find_project(self, title: str) -> int | None:
        self.asked += 1
        self.now = next(self.answers, self.now)
        return None if self.now == "no project" else 1

    def latest_change(self, project_id: int, cursor: str | None) -> str | None:
        if isinstance(self.now, Exception):
            raise self.now
        return self.now


def make(deadline_s: float = 5.0, quiet_s: float = 0.0) -> VerdictsTrigger:
    return VerdictsTrigger(
        project="LAE review: lae",
        since="2026-11-22T10:00:00.000000+00:00",
        deadline=time.time() + deadline_s,
        quiet_s=quiet_s,
        poll_s=0.01,
        label_studio_conn_id="studio",
    )


def wait(trigger: VerdictsTrigger, studio: Any) -> str:
    return asyncio.run(trigger._changed(studio))


def fire(trigger: VerdictsTrigger) -> dict[str, Any]:
    async def first() -> dict[str, Any]:
        async for event in trigger.run():
            payload: dict[str, Any] = event.payload
            return payload
        raise AssertionError("no event")

    return asyncio.run(first())


def test_it_comes_back_from_its_serialized_form() -> None:
    trigger = make()
    path, arguments = trigger.serialize()
    again = import_string(path)(**json.loads(json.dumps(arguments)))
    assert isinstance(again, VerdictsTrigger)
    assert again.serialize() == (path, arguments)
    assert vars(again).keys() == vars(trigger).keys()


def test_it_fires_on_a_change() -> None:
    studio = ScriptedStudio(["no project", None, None, "10:01"])
    assert wait(make(), studio) == CHANGED
    assert studio.asked == 4


def test_it_waits_until_the_stewards_pause() -> None:
    busy = ScriptedStudio([f"10:{minute:02}" for minute in range(20)])
    assert wait(make(quiet_s=0.2), busy) == CHANGED
    assert busy.asked > 20


def test_at_the_deadline_it_hands_over_what_there_is() -> None:
    assert wait(make(deadline_s=0.1), ScriptedStudio([None])) == NOTHING
    assert wait(make(deadline_s=0.1, quiet_s=60), ScriptedStudio(["10:01"])) == CHANGED


def test_a_server_that_does_not_answer_is_asked_again() -> None:
    studio = ScriptedStudio([TransientError("503"), TransientError("503"), "10:01"])
    assert wait(make(), studio) == CHANGED


def test_a_refused_token_ends_the_wait_with_its_remedy() -> None:
    with pytest.raises(ConfigError, match="token"):
        wait(make(), ScriptedStudio([ConfigError("check the API token")]))


def test_asking_does_not_hold_up_other_triggers() -> None:
    class SlowStudio(ScriptedStudio):
        def find_project(self, title: str) -> int | None:
            time.sleep(0.3)
            return super().find_project(title)

    async def both() -> float:
        waiting = asyncio.create_task(make()._changed(SlowStudio(["10:01"])))  # type: ignore[arg-type]
        started = time.monotonic()
        await asyncio.sleep(0.01)
        held_up = time.monotonic() - started
        assert await waiting == CHANGED
        return held_up

    assert asyncio.run(both()) < 0.25


def test_its_event_says_what_went_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_STUDIO", '{"conn_type": "label_studio", "host": "http://x"}')
    event = fire(make())
    assert event["status"] == FAILED
    assert "token" in event["message"]


def test_a_server_that_is_down_until_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = {"conn_type": "label_studio", "host": f"http://127.0.0.1:{free_port()}"}
    monkeypatch.setenv("AIRFLOW_CONN_STUDIO", json.dumps(connection | {"password": "token"}))
    assert fire(make(deadline_s=0.1)) == {"status": NOTHING, "message": ""}
