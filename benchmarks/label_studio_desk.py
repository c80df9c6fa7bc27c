"""A real Label Studio with simulated stewards: each has an account, and takes the next task."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import httpx

from benchmarks.quarter import Thing
from benchmarks.simulated_stewards import Steward, annotation_results
from lae_tasks.review.label_studio import LabelStudioReview
from lae_tasks.review.tasks import ReviewTask

_PASSWORD = "a steward's password"


class LabelStudioDesk(LabelStudioReview):
    """The engine's client, and stewards who work in the same project by their own accounts.

    Args:
        url: Address of the server.
        token: Of its administrator.
        stewards: Who works there.
        truth: The things of each scene by its raw key.
    """

    def __init__(
        self,
        url: str,
        token: str,
        stewards: Sequence[Steward],
        truth: Mapping[str, list[Thing]],
    ) -> None:
        super().__init__(url, token)
        self._truth = truth
        self._sent: dict[str, ReviewTask] = {}
        self._project_id = 0
        invite = self._sdk._client_wrapper.httpx_client.request("api/invite", method="GET").json()
        self._accounts = {each: self._sign_up(each, invite["invite_url"]) for each in stewards}
        #: Boxes and tiles that were looked at, each time that it was.
        self.looks = 0

    def _sign_up(self, steward: Steward, invite_url: str) -> httpx.Client:
        client = httpx.Client(base_url=self.url, timeout=60, follow_redirects=True, trust_env=False)
        client.get(invite_url)
        form = {
            "email": f"{steward.name}@example.org",
            "password": _PASSWORD,
            "csrfmiddlewaretoken": client.cookies["csrftoken"],
        }
        client.post(invite_url, data=form, headers={"Referer": self.url}).raise_for_status()
        return client

    def send(self, project_id: int, tasks: Iterable[ReviewTask], batch_size: int) -> int:
        """Sends the tasks, and remembers what they show."""
        self._project_id = project_id
        return super().send(project_id, self._remembered(tasks), batch_size)

    def _remembered(self, tasks: Iterable[ReviewTask]) -> Iterator[ReviewTask]:
        for task in tasks:
            self._sent[task.key] = task
            yield task

    def work(self) -> int:
        """The stewards do all that is open; how many tasks they worked on."""
        worked = 0
        for steward, client in self._accounts.items():
            while task := self._next(client):
                sent = self._sent[task["data"]["lae_key"]]
                results, looks = annotation_results(sent, steward, self._truth)
                answer = client.post(
                    f"/api/tasks/{task['id']}/annotations/",
                    json={"result": results},
                    headers={"X-CSRFToken": client.cookies["csrftoken"], "Referer": self.url},
                )
                answer.raise_for_status()
                self.looks += looks
                worked += 1
        return worked

    def _next(self, client: httpx.Client) -> dict[str, Any] | None:
        answer = client.get(f"/api/projects/{self._project_id}/next/")
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found
