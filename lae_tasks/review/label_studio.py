"""A thin client around the Label Studio SDK: the project, pushing tasks, reading annotations.

Its errors become ours: `TransientError` where the same call may go through later, `ConfigError`
with the remedy where it cannot. Every call has a timeout. Calls that create something are sent
once: Label Studio has no unique key, so after an unclear failure the next push looks first.
"""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self

import httpx
from label_studio_sdk import LabelStudio
from label_studio_sdk.core.api_error import ApiError

from lae_tasks.errors import ConfigError, LaeError, TransientError
from lae_tasks.review.tasks import ReviewTask

logger = logging.getLogger(__name__)

TIMEOUT_S = 60
IMPORT_TIMEOUT_S = 600
PAGE_SIZE = 500

#: What a steward reads behind the (i) of the labelling page.
INSTRUCTION = (
    "<p>Please look at each coloured box. Grey boxes are settled, or asked on another tile.</p>"
    "<p><b>Everything right</b>: g, then Ctrl+Enter.<br>"
    "<b>One box wrong</b>: click it, then x (no such thing), a digit (another category), "
    "or drag it; then g, Ctrl+Enter.<br>"
    "<b>Something missing</b>: Esc, a digit, then draw.<br>"
    "<b>Cannot tell</b>: q for a box, n for all that have no mark.</p>"
)

_ONCE: Any = {"max_retries": 0, "timeout_in_seconds": IMPORT_TIMEOUT_S}
_REMEDIES = {
    400: "Label Studio refused what was sent",
    401: "check the API token ($LABEL_STUDIO_API_KEY or the Airflow connection)",
    403: "give the token's user access to the project; for S3, see LABEL_STUDIO_S3_ENDPOINT",
    404: "check the address, and that nobody deleted the project",
}


@dataclass(frozen=True)
class S3Access:
    """What Label Studio needs to fetch the tiles by itself.

    Attributes:
        endpoint_url: Leave it out for AWS, and where the Label Studio server itself is told by
            LABEL_STUDIO_S3_ENDPOINT (it refuses private addresses named by a project).
    """

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)
    region_name: str | None = None
    endpoint_url: str | None = None

    @classmethod
    def from_session(cls, session: Any, endpoint_url: str | None = None) -> "S3Access":
        """The credentials of a `boto3.Session`.

        Raises:
            ConfigError: If the session has none.
        """
        credentials = session.get_credentials()
        if credentials is None:
            raise ConfigError(
                "no S3 credentials for Label Studio; set AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY, or the Airflow connection"
            )
        frozen = credentials.get_frozen_credentials()
        return cls(
            access_key_id=frozen.access_key,
            secret_access_key=frozen.secret_key,
            session_token=frozen.token,
            region_name=session.region_name,
            endpoint_url=endpoint_url,
        )


@dataclass(frozen=True)
class Pushed:
    """What a push found and did."""

    created: int
    present: int


@dataclass(frozen=True)
class Annotation:
    """A steward's work on one task, as Label Studio has it now.

    Attributes:
        task_created_at: When its task was made; ISO 8601, UTC.
        annotator: The steward's e-mail; their id where the server does not tell.
        updated_at: ISO 8601, UTC.
        skipped: The steward skipped the task.
        seconds: Time taken for the task, over all edits.
        result: The annotation's results, as they are.
    """

    annotation_id: int
    task_id: int
    task_created_at: str
    annotator: str
    updated_at: str
    skipped: bool
    seconds: float | None
    result: tuple[Mapping[str, Any], ...]

    @property
    def version_id(self) -> str:
        """Names this version of the annotation: it changes whenever the steward edits it."""
        return version_id(self.annotation_id, self.updated_at)


def version_id(annotation_id: int, changed_at: str) -> str:
    """The id of what an annotation was from that time on."""
    return f"{annotation_id}@{changed_at}"


@dataclass(frozen=True)
class ChangedTask:
    """A task that changed, with the annotations that it has now, if any; times as ISO 8601, UTC."""

    task_id: int
    lae_key: str | None
    created_at: str
    updated_at: str
    annotations: tuple[Annotation, ...]


class LabelStudioReview:
    """The stewards' side of Label Studio.

    Args:
        url: Address of the server.
        api_key: A personal access token, or a legacy token.
    """

    def __init__(self, url: str, api_key: str) -> None:
        if not url or not api_key:
            missing = "LABEL_STUDIO_API_KEY" if url else "LABEL_STUDIO_URL"
            raise ConfigError(f"Label Studio: no address or token; set {missing}")
        self.url = url.rstrip("/")
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
        self, title: str, label_config: str, bucket: str, prefix: str, s3: S3Access
    ) -> int:
        """Makes the project and its image storage, or brings them up to date.

        Args:
            title: By which the project is found again; at most 50 characters.
            label_config: XML of the labelling interface.
            bucket: Where the images and the vocabulary lie.
            prefix: Below which they lie; something must be there already.
            s3: How Label Studio gets at them.

        Returns:
            The project's id.
        """
        settings: dict[str, Any] = {
            "label_config": label_config,
            "expert_instruction": INSTRUCTION,
            "show_collab_predictions": True,
            "enable_empty_annotation": True,
            "maximum_annotations": 1,
            "sampling": "Uncertainty sampling",
        }
        project_id = self.find_project(title)
        if project_id is None:
            with self._calling(f"creating project {title!r}"):
                created = self._sdk.projects.create(title=title, request_options=_ONCE, **settings)
            project_id = int(created.id)
            logger.info("made project %r (%d) at %s", title, project_id, self.url)
        else:
            self._update(project_id, settings)
        self._ensure_storage(project_id, bucket, prefix, s3)
        return project_id

    def _update(self, project_id: int, settings: Mapping[str, Any]) -> None:
        with self._calling(f"reading project {project_id}"):
            now = self._sdk.projects.get(id=project_id)
        changed = {name: to for name, to in settings.items() if getattr(now, name, None) != to}
        if changed:
            with self._calling(f"changing {', '.join(changed)} of project {project_id}"):
                self._sdk.projects.update(id=project_id, **changed)
            logger.info("changed %s of project %d", ", ".join(changed), project_id)

    def _ensure_storage(self, project_id: int, bucket: str, prefix: str, s3: S3Access) -> None:
        wanted: dict[str, Any] = {
            "project": project_id,
            "title": "tiles",
            "bucket": bucket,
            "prefix": prefix,
            "aws_access_key_id": s3.access_key_id,
            "aws_secret_access_key": s3.secret_access_key,
            # The server fetches the images itself: the bucket stays private and needs no CORS.
            "presign": False,
            "use_blob_urls": True,
            "synchronizable": False,
        }
        optional = {
            "aws_session_token": s3.session_token,
            "region_name": s3.region_name,
            "s3endpoint": s3.endpoint_url,
        }
        wanted |= {name: value for name, value in optional.items() if value}
        place = f"storage s3://{bucket}/{prefix} of project {project_id}"
        storages = self._sdk.import_storage.s3
        with self._calling(place):
            known = [each.id for each in storages.list(project=project_id) if each.bucket == bucket]
            if known:
                storages.update(id=known[0], **wanted)
            else:
                storages.create(request_options=_ONCE, **wanted)

    def keys(self, project_id: int) -> dict[str, int]:
        """The task id of every `lae_key` in the project."""
        tasks = self._tasks(project_id, include="id,data")
        return {
            task.data["lae_key"]: int(task.id) for task in tasks if (task.data or {}).get("lae_key")
        }

    def push(self, project_id: int, tasks: Sequence[ReviewTask], batch_size: int) -> Pushed:
        """Sends the tasks that the project does not have yet, in batches.

        Pushing again sends nothing twice; two pushes at the same time might.
        """
        present = self.keys(project_id)
        missing = [task for task in tasks if task.key not in present]
        for start in range(0, len(missing), batch_size):
            batch = [task.payload() for task in missing[start : start + batch_size]]
            with self._calling(f"importing {len(batch)} tasks into project {project_id}"):
                self._sdk.projects.import_tasks(
                    id=project_id, request=batch, return_task_ids=True, request_options=_ONCE
                )
            logger.info("pushed %d of %d tasks", start + len(batch), len(missing))
        return Pushed(created=len(missing), present=len(tasks) - len(missing))

    def tasks_since(self, project_id: int, cursor: str | None) -> list[ChangedTask]:
        """The tasks that changed since then: imported; annotations made, edited or deleted.

        Args:
            project_id: The project.
            cursor: ISO 8601; None for all.
        """
        include = (
            "id,data,annotations,updated_at,result,completed_by,was_cancelled,lead_time,created_at"
        )
        with self._calling("listing users"):
            emails = {user.id: user.email for user in self._sdk.users.list()}
        return [
            ChangedTask(
                task_id=int(task.id),
                lae_key=(task.data or {}).get("lae_key"),
                created_at=_utc(task.created_at),
                updated_at=_utc(task.updated_at),
                annotations=tuple(_annotation(task, raw, emails) for raw in task.annotations or ()),
            )
            for task in self._tasks(project_id, include=include, query=_changed_since(cursor))
        ]

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
        return _utc(first.updated_at) if first else None

    def _tasks(self, project_id: int, include: str, query: str | None = None) -> list[Any]:
        """All tasks of a listing, read page by page.

        Raises:
            TransientError: If the listing ended early, as it does when tasks vanish meanwhile.
        """
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
        if len(tasks) < total:
            raise TransientError(
                f"Label Studio {self.url}: project {project_id}: {total} tasks were promised, "
                f"{len(tasks)} came; was it deleted or emptied just now?"
            )
        return tasks


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
                "value": _utc(cursor).replace("+00:00", "Z"),
            }
        )
    # By id, a task that is edited while we page does not push another off the next page.
    ordering = ["-tasks:updated_at" if newest_first else "tasks:id"]
    return json.dumps({"filters": {"conjunction": "and", "items": items}, "ordering": ordering})


def _annotation(task: Any, raw: Any, emails: Mapping[int, str]) -> Annotation:
    by = raw.get("completed_by")
    who = by.get("id") if isinstance(by, Mapping) else by
    return Annotation(
        annotation_id=int(raw["id"]),
        task_id=int(task.id),
        task_created_at=_utc(task.created_at),
        annotator=emails.get(who or 0) or str(who),
        updated_at=_utc(raw["updated_at"]),
        skipped=bool(raw.get("was_cancelled")),
        seconds=raw.get("lead_time"),
        result=tuple(raw.get("result") or ()),
    )


def _utc(moment: str | datetime) -> str:
    """ISO 8601 in UTC with microseconds, so that texts compare like times."""
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment)
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def _translated(error: ApiError, place: str) -> LaeError:
    status = error.status_code or 0
    if isinstance(error.body, Mapping):
        told = error.body.get("validation_errors") or error.body.get("detail") or error.body
    else:
        told = "a page that is no JSON"
    message = f"{place}: HTTP {status}: {str(told)[:500]}"
    remedy = _REMEDIES.get(status)
    return ConfigError(f"{message}; {remedy}") if remedy else TransientError(message)
