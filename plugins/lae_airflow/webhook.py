"""The webhook by which Label Studio says that stewards have done something.

It is a hint, no more: `lae_review` starts sooner, and finds out by itself what is new. So a hint
that is lost, repeated or made up changes nothing of what is collected, and whose project it speaks
of does not matter.
"""

from __future__ import annotations

import hmac
import logging
from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Request, status
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, Field, ValidationError

from lae_airflow.assets import HINT
from lae_airflow.hooks.label_studio import LabelStudioHook
from lae_tasks.errors import ConfigError
from lae_tasks.review.webhook import ACTIONS, SECRET_HEADER, require_ascii

logger = logging.getLogger(__name__)

#: The engine has Label Studio send the action alone, some 30 bytes. A webhook that was made by hand
#: may send the task with all its masks as well.
MAX_BODY_BYTES = 1 << 20

#: For so long after a failed run there are no starts but by the clock.
AFTER_FAILURE = timedelta(minutes=5)

#: What became of a hint.
WOKEN, NOT_NEEDED, IGNORED = "woken", "not needed", "ignored"


class Hint(BaseModel):
    """What Label Studio sends; the rest of it is not read."""

    action: Annotated[str, Field(pattern=r"^[A-Z_]+$", max_length=100)]


async def authenticated(request: Request) -> None:
    """Refuses with 401 who does not know the secret; everybody, where there is none to send."""
    given = request.headers.get(SECRET_HEADER, "")
    expected = await run_in_threadpool(LabelStudioHook().webhook_secret) if given else ""
    try:
        require_ascii(expected)
    except ConfigError as error:
        logger.error("Every hint is refused: %s", error)
        expected = ""
    # Header values are bytes, which Starlette reads as Latin-1.
    if not expected or not hmac.compare_digest(given.encode("latin-1"), expected.encode()):
        raise HTTPException(status.HTTP_401_UNAUTHORIZED, f"{SECRET_HEADER} is missing or wrong")


async def read_hint(request: Request) -> Hint:
    """The body; refuses with 413 what is too large, and with 422 what is no hint."""
    too_large = HTTPException(
        status.HTTP_413_CONTENT_TOO_LARGE, f"more than {MAX_BODY_BYTES} bytes"
    )
    said = request.headers.get("content-length", "")
    if said.isdecimal() and int(said) > MAX_BODY_BYTES:
        raise too_large
    body = bytearray()
    async for chunk in request.stream():  # what comes in chunks does not say its length
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise too_large
    try:
        return Hint.model_validate_json(bytes(body))
    except ValidationError as error:
        # Without the input: it may be anything, and it would come back.
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        raise HTTPException(status.HTTP_422_UNPROCESSABLE_CONTENT, problems) from error


def wake(action: str) -> bool:
    """Has Airflow start `lae_review`, as soon as no run of it is under way.

    Returns:
        Whether that was needed: not if a start is due already, or if the DAG is paused or unknown.
        So however many hints come, they make one run and one event. Nor if a run failed just now:
        it is tried again by the clock, not each time that a steward sends a task.
    """
    from airflow.assets.manager import asset_manager
    from airflow.models.asset import AssetDagRunQueue, AssetModel, DagScheduleAssetReference
    from airflow.models.dag import DagModel
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from airflow.utils.state import DagRunState
    from sqlalchemy import and_, exists, select

    started_by = DagScheduleAssetReference
    due = and_(
        AssetDagRunQueue.asset_id == started_by.asset_id,
        AssetDagRunQueue.target_dag_id == started_by.dag_id,
    )
    failed = exists().where(
        DagRun.dag_id == started_by.dag_id,
        DagRun.state == DagRunState.FAILED,
        DagRun.end_date > datetime.now(UTC) - AFTER_FAILURE,
    )
    asleep = (
        select(AssetModel)
        .join(started_by, started_by.asset_id == AssetModel.id)
        .join(DagModel, DagModel.dag_id == started_by.dag_id)
        .outerjoin(AssetDagRunQueue, due)
        .where(AssetModel.name == HINT.name, AssetModel.uri == HINT.uri)
        .where(DagModel.is_paused.is_(False), AssetDagRunQueue.asset_id.is_(None), ~failed)
    )
    with create_session(scoped=False) as session:
        asset = session.scalars(asleep).first()
        if asset is None:
            return False
        asset_manager.register_asset_change(
            asset=asset, extra={"action": action}, source_is_api=True, session=session
        )
    return True


# No pages that describe it: it has one user.
app = FastAPI(title="LAE-Label engine", openapi_url=None)


@app.post(
    "/label-studio",
    status_code=status.HTTP_202_ACCEPTED,
    dependencies=[Depends(authenticated)],  # before the body is read
)
def label_studio(hint: Annotated[Hint, Depends(read_hint)]) -> dict[str, str]:
    """Wakes `lae_review`; actions that are no work of stewards are accepted and do nothing."""
    result = IGNORED
    if hint.action in ACTIONS:
        result = WOKEN if wake(hint.action) else NOT_NEEDED
    logger.info("Label Studio tells of %s: %s", hint.action, result)
    return {"result": result}
