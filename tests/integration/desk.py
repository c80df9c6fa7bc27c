"""A review project of a test's own, on a real Label Studio and a real S3 server."""

import json
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from label_studio_sdk import LabelStudio

from demo.stack.services import LabelStudioServer, S3Server
from lae_tasks.config import Config
from lae_tasks.contracts import Verdict
from lae_tasks.review.image_storage import S3Access
from lae_tasks.review.label_studio import LabelStudioReview
from lae_tasks.stages import review
from lae_tasks.state import State, load_reviews
from lae_tasks.storage import Storage, open_storage
from lae_tasks.tables import read_table
from tests.review_world import all_in_doubt, commit_night, make_state

NIGHT = "2026-11-22"
TODAY = "2026-11-23"


@dataclass
class Desk:
    """A store with a night, a project of its own, and a steward who works by API.

    Attributes:
        night: What the night holds when it is pushed; `state` is what was sent and came back.
    """

    store: Storage
    config: Config
    client: LabelStudioReview
    sdk: Any
    access: S3Access
    night: State
    project_id: int = 0

    @property
    def state(self) -> State:
        return load_reviews(self.store)

    def set(self, **values: Any) -> None:
        """Changes settings of review."""
        settings = self.config.review.model_copy(update=values)
        self.config = self.config.model_copy(update={"review": settings})

    def push(self, night: str = NIGHT) -> review.Pushed:
        commit_night(self.store, self.night, NIGHT)
        pushed = review.push(self.store, night, self.config, self.client, self.access)
        self.project_id = self.client.find_project(self.config.review.project) or 0
        return pushed

    def collect(self) -> tuple[Any, list[Verdict]]:
        manifest = review.collect(self.state, self.config, self.store, self.client, TODAY)
        if manifest is None:
            return None, []
        review.follow_up(self.state, self.config, self.client)
        return manifest, read_table(self.store, manifest.outputs[0], Verdict)

    def tasks(self) -> list[Any]:
        return list(self.sdk.tasks.list(project=self.project_id, fields="all", resolve_uri=False))

    def sent_results(self) -> list[dict[str, Any]]:
        (task,) = self.tasks()
        return json.loads(json.dumps(task.predictions[0].result))

    def submit(self, results: list[dict[str, Any]], unmarked: str = "rest-accept") -> int:
        (task,) = self.tasks()
        annotation = self.sdk.annotations.create(
            id=task.id, result=[*results, rest(unmarked)], lead_time=7.5
        )
        return int(annotation.id)


def rest(choice: str) -> dict[str, Any]:
    value = {"choices": [choice]}
    return result("rest", "rest", "choices", value)


def result(result_id: str, name: str, kind: str, value: dict[str, Any]) -> dict[str, Any]:
    return {"id": result_id, "from_name": name, "to_name": "image", "type": kind, "value": value}


@contextmanager
def open_desk(name: str, s3: S3Server, label_studio: LabelStudioServer) -> Iterator[Desk]:
    """A desk with a night that has one tile, all in doubt."""
    objects = s3.client()
    objects.create_bucket(Bucket=name)
    store = open_storage(f"s3://{name}/store", objects)
    # Most tests are about one task: nothing is drawn, no tile is checked, one steward is enough.
    settings = {"project": name, "check_share": 0, "second_look_share": 0}
    config = Config(preset="demo", raw="s3://raw", store=store.uri, review=settings)
    access = S3Access(s3.key, s3.secret, region_name=s3.region)
    with (
        closing(objects),
        LabelStudioReview(label_studio.url, label_studio.token) as client,
        httpx.Client(timeout=60, trust_env=False) as http,
    ):
        sdk: Any = LabelStudio(
            base_url=label_studio.url, api_key=label_studio.token, httpx_client=http
        )
        desk = Desk(store, config, client, sdk, access, all_in_doubt(make_state(store=store)))
        yield desk
        if desk.project_id:
            sdk.projects.delete(id=desk.project_id)


@contextmanager
def another_steward(label_studio: LabelStudioServer, email: str) -> Iterator[httpx.Client]:
    """A second user of the server, by invitation, logged in."""
    login = {"Authorization": f"Token {label_studio.token}"}
    with httpx.Client(base_url=label_studio.url, trust_env=False, timeout=60) as http:
        invite = http.get("/api/invite", headers=login).json()["invite_url"]
        page = http.get(invite)
        found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
        assert found, page.text[:500]
        form = {"csrfmiddlewaretoken": found[1], "email": email, "password": "steward-secret-1"}
        answer = http.post(invite, data=form)
        assert answer.status_code == 302, answer.text[:500]
        yield http
