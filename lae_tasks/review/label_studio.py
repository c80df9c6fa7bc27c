"""A thin client around the Label Studio SDK: the project, pushing tasks, reading annotations.

Its errors become ours: `TransientError` where the same call may go through later, `ConfigError`
with the remedy where it cannot. Every call has a timeout. Calls that create something are sent
once: Label Studio has no unique key, so after an unclear failure the next push looks first.
"""

import json
import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import Any, Self

import httpx
from label_studio_sdk import LabelStudio
from label_studio_sdk.core.api_error import ApiError

from lae_tasks.errors import ConfigError, LaeError, TransientError
from lae_tasks.review.annotation import (
    ChangedTask,
    TaskProgress,
    changed_task,
    progress_of,
    utc,
)
from lae_tasks.review.image_storage import S3Access, ensure_storage
from lae_tasks.review.instruction import DESCRIPTION, instruction
from lae_tasks.review.label_config import (
    require_no_newer,
    require_nothing_lost,
    require_same_store,
)
from lae_tasks.review.tasks import ReviewTask
from lae_tasks.review.webhook import Webhook, ensure_webhook, unless_gone

logger = logging.getLogger(__name__)

TIMEOUT_S = 60
IMPORT_TIMEOUT_S = 600
PAGE_SIZE = 500
#: A listing is read again so often if tasks vanish meanwhile, as another push may delete doubles.
LISTINGS = 3

_ONCE: Any = {"max_retries": 0, "timeout_in_seconds": IMPORT_TIMEOUT_S}
_REMEDIES = {
    400: "Label Studio refused what was sent",
    401: "check the API token ($LABEL_STUDIO_API_KEY or the Airflow connection)",
    403: "give the token's user access to the project; for S3, see LABEL_STUDIO_S3_ENDPOINT, for a "
    "webhook LABEL_STUDIO_USE_DEFAULT_BANNED_SUBNETS",
    404: "check the address, and that nobody deleted the project",
    413: "set `review.batch_size` lower, or have the proxy before it take larger requests",
}


class LabelStudioReview:
    """The stewards' side of Label Studio.

    Args:
        url: Address of the server.
        api_key: A personal access token, or a legacy token.
        webhook: What the project's webhook is to be. None: this client leaves webhooks as they are.
    """

    def __init__(self, url: str, api_key: str, webhook: Webhook | None = None) -> None:
        if not url or not api_key:
            missing = "LABEL_STUDIO_API_KEY" if url else "LABEL_STUDIO_URL"
            raise ConfigError(f"Label Studio: no address or token; set {missing}")
        self.url = url.rstrip("/")
        self._webhook = webhook
        self._http = httpx.Client(timeout=TIMEOUT_S, follow_redirects=True)
        # Any: the SDK's annotations are partly wrong (dicts where it says models).
        self._sdk: Any = LabelStudio(  # type: ignore[no-untyped-call]
            base_url=self.url, api_key=api_key, httpx_client=self._http
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections; a `with` block does it by itself."""
        self._http.close()

    @contextmanager
    def _calling(self, what: str) -> Iterator[None]:
        """Turns the SDK's errors into ours, with the place and the remedy."""
        place = f"Label Studio {self.url}: {what}"
        try:
            yield
        except ApiError as error:
            raise _translated(error, place) from error
        except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
            raise ConfigError(
                f"{place}: {error}; give an address such as http://host:8080"
            ) from error
        except httpx.TransportError as error:
            raise TransientError(f"{place}: {type(error).__name__}: {error}; is it up?") from error
        except json.JSONDecodeError as error:
            raise TransientError(f"{place}: answered something that is no JSON") from error

    def find_project(self, title: str) -> int | None:
        """The id of the project of that title; None if there is none. The oldest, if several."""
        with self._calling(f"looking for project {title!r}"):
            found = self._sdk.projects.list(title=title, include="id,title", page_size=PAGE_SIZE)
            ids = [project.id for project in found if project.title == title]
        return min(ids, default=None)

    def ensure_project(
        self,
        title: str,
        label_config: str,
        bucket: str,
        prefix: str,
        s3: S3Access,
        guide_url: str = "",
    ) -> int:
        """Makes the project and its image storage, or brings them up to date.

        No annotation is lost by it: a label config that lacks what stewards have used is refused.

        Args:
            title: By which the project is found again; at most 50 characters.
            label_config: XML of the labelling interface.
            bucket: Where the images and the vocabulary lie.
            prefix: Below which they lie; something must be there already.
            s3: How Label Studio gets at them.
            guide_url: Where the stewards' guide is; empty if nowhere.

        Returns:
            The project's id.

        Raises:
            ConfigError: The project's label config is newer or of another store, or has parts in
                use that the given one lacks. The project is left as it was.
        """
        settings: dict[str, Any] = {
            "label_config": label_config,
            "description": DESCRIPTION + (f" Guide: {guide_url}" if guide_url else ""),
            "expert_instruction": instruction(guide_url),
            "show_collab_predictions": True,
            "enable_empty_annotation": True,
            "maximum_annotations": 1,
            "sampling": "Uncertainty sampling",
        }
        project_id = self.find_project(title)
        if project_id is None:
            with self._calling(f"creating project {title!r}"):
                created = self._sdk.projects.create(title=title, request_options=_ONCE, **settings)
            project_id = self._the_oldest(title, int(created.id))
            logger.info("project %r at %s is new: %d", title, self.url, project_id)
        else:
            self._update(project_id, settings)
        with self._calling(f"storage s3://{bucket}/{prefix} of project {project_id}"):
            ensure_storage(self._sdk.import_storage.s3, project_id, bucket, prefix, s3)
        return project_id

    def check_project(self, title: str, label_config: str) -> None:
        """Raises ConfigError where `ensure_project` would refuse the label config."""
        project_id = self.find_project(title)
        if project_id is not None:
            self._require_fit(project_id, label_config)

    def ensure_webhook(self, project_id: int) -> None:
        """Makes the project's webhook, brings it up to date, or removes it.

        Raises:
            ConfigError: Label Studio refuses its address, or the secret cannot be sent.
        """
        if self._webhook is not None:
            to = f" to {self._webhook.url}" if self._webhook.url else ""
            with self._calling(f"webhook of project {project_id}{to}"):
                ensure_webhook(self._sdk.webhooks, project_id, self._webhook)

    def _the_oldest(self, title: str, made: int) -> int:
        """Gives up a project that was just made if another push made one before it."""
        oldest = self.find_project(title) or made
        if oldest != made:
            with self._calling(f"deleting project {made}: {oldest} has the same title"):
                self._sdk.projects.delete(id=made)
        return oldest

    def _update(self, project_id: int, settings: Mapping[str, Any]) -> None:
        now = self._require_fit(project_id, settings["label_config"])
        changed = {name: to for name, to in settings.items() if getattr(now, name, None) != to}
        if changed:
            with self._calling(f"changing {', '.join(changed)} of project {project_id}"):
                self._sdk.projects.update(id=project_id, **changed)
            logger.info("changed %s of project %d", ", ".join(changed), project_id)

    def _require_fit(self, project_id: int, label_config: str) -> Any:
        """The project as it is, if the label config may take the place of its own."""
        with self._calling(f"reading project {project_id}"):
            project = self._sdk.projects.get(id=project_id)
        now = project.label_config or ""
        place = f"Label Studio {self.url}: project {project_id}"
        require_no_newer(now, place)
        require_same_store(label_config, now, place)
        if now != label_config:
            require_nothing_lost(label_config, self._summary(project_id), place)
        return project

    def _summary(self, project_id: int) -> Mapping[str, Any]:
        """How often each part of the label config was used."""
        with self._calling(f"reading the summary of project {project_id}"):
            # The SDK has no method for it.
            answer = self._sdk._client_wrapper.httpx_client.request(
                f"api/projects/{project_id}/summary/", method="GET"
            )
            if answer.is_error:
                is_json = "json" in answer.headers.get("content-type", "")
                body = answer.json() if is_json else answer.text
                raise ApiError(status_code=answer.status_code, body=body)
            found: Mapping[str, Any] = answer.json()
        return found

    def progress(self, project_id: int) -> dict[str, TaskProgress]:
        """Every task of the project that has a `lae_key`, by it, and how far it is.

        Where there are several of a key, the first that a steward has begun counts, else the first.
        """
        include = (
            "id,data,overlap,is_labeled,draft_exists,"
            "annotations,completed_by,was_cancelled,updated_at"
        )
        emails = self._emails()
        of_key: defaultdict[str, list[Any]] = defaultdict(list)
        for task in self._tasks(project_id, include=include):
            if key := (task.data or {}).get("lae_key"):
                of_key[key].append(task)
        return {key: progress_of(tasks, emails) for key, tasks in of_key.items()}

    def send(self, project_id: int, tasks: Iterable[ReviewTask], batch_size: int) -> int:
        """Sends tasks, in batches, and says how many; the caller looks first which are missing."""
        remaining, sent = iter(tasks), 0
        while batch := [task.payload() for task in islice(remaining, batch_size)]:
            with self._calling(f"importing {len(batch)} tasks into project {project_id}"):
                self._sdk.projects.import_tasks(
                    id=project_id, request=batch, return_task_ids=True, request_options=_ONCE
                )
            sent += len(batch)
            logger.info("sent %d tasks", sent)
        return sent

    def delete_doubles(self, project_id: int, task_ids: Collection[int]) -> None:
        """Deletes tasks one by one, but for those that somebody has begun by now."""
        logger.info("project %d: deleting %d tasks that are there twice", project_id, len(task_ids))
        for task_id in task_ids:
            what = f"deleting task {task_id} of {project_id}, which is there twice"
            with self._calling(what), unless_gone():
                task = self._sdk.tasks.get(id=str(task_id))
                # Not `drafts`: these are the token's own user's only.
                if not (task.annotations or task.draft_exists):
                    self._sdk.tasks.delete(id=str(task_id))

    def ask_more(self, project_id: int, stewards: Mapping[int, int]) -> None:
        """Has tasks served until they have so many annotations, of as many stewards.

        Args:
            project_id: The project.
            stewards: How many, by task id; with those who have annotated it already.
        """
        for task_id, count in stewards.items():
            what = f"asking {count} stewards for task {task_id} of {project_id}"
            with self._calling(what), unless_gone():
                # A task that has had its looks is served again only if it is told to be unlabelled.
                self._sdk.tasks.update(id=str(task_id), overlap=count, is_labeled=False)

    def tasks_since(self, project_id: int, cursor: str | None) -> list[ChangedTask]:
        """The tasks that changed since then: imported; annotations made, edited or deleted.

        Args:
            project_id: The project.
            cursor: ISO 8601; None for all.
        """
        include = (
            "id,data,annotations,updated_at,result,completed_by,was_cancelled,lead_time,created_at"
        )
        emails = self._emails()
        tasks = self._tasks(project_id, include=include, query=_changed_since(cursor))
        return [changed_task(task, emails) for task in tasks]

    def _emails(self) -> dict[int, str]:
        with self._calling("listing users"):
            return {user.id: user.email for user in self._sdk.users.list()}

    def latest_change(self, project_id: int, cursor: str | None) -> str | None:
        """When a task last changed since the cursor; None if none did.

        One small request: for a trigger that waits. A change need not be a new verdict.
        """
        query = _changed_since(cursor, newest_first=True)
        with self._calling(f"asking project {project_id} for changes"):
            page = self._sdk.tasks.list(
                project=project_id, include="id,updated_at", query=query, page_size=1
            )
            first = next(iter(page.items or ()), None)
        return utc(first.updated_at) if first else None

    def _tasks(self, project_id: int, include: str, query: str | None = None) -> list[Any]:
        """All tasks of a listing, read page by page.

        Raises:
            TransientError: If the listing ended early, as it does when tasks vanish meanwhile.
        """
        for _ in range(LISTINGS):
            with self._calling(f"listing tasks of project {project_id}"):
                pager = self._sdk.tasks.list(
                    project=project_id,
                    fields="all",
                    include=include,
                    query=query,
                    page_size=PAGE_SIZE,
                    resolve_uri=False,
                )
                total = int(pager.response.total)
                tasks = list({task.id: task for task in pager}.values())
            if len(tasks) >= total:
                return tasks
        raise TransientError(
            f"Label Studio {self.url}: project {project_id}: {total} tasks were promised, "
            f"{len(tasks)} came; was it deleted or emptied just now?"
        )


def _changed_since(cursor: str | None, newest_first: bool = False) -> str:
    # Not only tasks that have annotations: one whose annotation was deleted has none any more.
    items: list[dict[str, Any]] = []
    if cursor:
        items.append(
            {
                "filter": "filter:tasks:updated_at",
                "operator": "greater",
                "type": "Datetime",
                # The only form that this filter reads; others are answered by a 500.
                "value": utc(cursor).replace("+00:00", "Z"),
            }
        )
    # By id, a task that is edited while we page does not push another off the next page.
    ordering = ["-tasks:updated_at" if newest_first else "tasks:id"]
    return json.dumps({"filters": {"conjunction": "and", "items": items}, "ordering": ordering})


def _translated(error: ApiError, place: str) -> LaeError:
    status = error.status_code or 0
    if isinstance(error.body, Mapping):
        told = error.body.get("validation_errors") or error.body.get("detail") or error.body
    else:
        told = "a page that is no JSON"
    message = f"{place}: HTTP {status}: {str(told)[:500]}"
    remedy = _REMEDIES.get(status)
    return ConfigError(f"{message}; {remedy}") if remedy else TransientError(message)
