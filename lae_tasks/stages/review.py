"""Review: regions in doubt and the audit's go to Label Studio; the stewards' verdicts come back.

`push` can run any number of times: it compares with what Label Studio has and sends the rest,
also to a project that was emptied. `collect` can, too: it writes only verdicts that are not in
the store yet, and nothing if there are none.
"""

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from lae_tasks.config import Config
from lae_tasks.contracts import Done, Manifest, Rejection, ReviewItem, Verdict
from lae_tasks.errors import ConfigError
from lae_tasks.review.label_config import label_config
from lae_tasks.review.label_studio import Annotation, LabelStudioReview, S3Access
from lae_tasks.review.tasks import (
    build_tasks,
    regions_to_review,
    unfit,
    vocabulary,
)
from lae_tasks.review.verdicts import read_verdicts
from lae_tasks.runner import Work, run
from lae_tasks.state import State
from lae_tasks.storage import MissingObjectError, Storage

logger = logging.getLogger(__name__)

PUSH = "review"
COLLECT = "collect"
VOCABULARY_KEY = "review/vocabulary.json"

#: Annotations this much older than the newest verdict are read again: a server's transaction may
#: become visible later than its time stamp says.
OVERLAP = timedelta(minutes=10)


def push(
    state: State,
    night: str,
    config: Config,
    store: Storage,
    label_studio: LabelStudioReview,
    s3: S3Access,
) -> Manifest:
    """Sends a night's regions to the stewards and records what was sent.

    Args:
        state: The night's state (`load_state(store, night)`).
        night: `yyyy-mm-dd`.
        config: The settings.
        store: An S3 store; Label Studio fetches the images from it.
        label_studio: Where to.
        s3: How Label Studio gets at the store.

    Returns:
        The manifest of `runs/review/<night>/all`; one ReviewItem for each region sent.

    Raises:
        ConfigError: The store is no S3, or Label Studio refuses what it is told.
        TransientError: Label Studio does not answer; push again.
    """
    decisions = regions_to_review(state)
    tasks = list(build_tasks(state, store.uri, night))
    if tasks:
        project_id = prepare_project(state, config, store, label_studio, s3)
        pushed = label_studio.push(project_id, tasks, config.review.batch_size)
        logger.info(
            "review %s: %d tasks sent, %d there already", night, pushed.created, pushed.present
        )
    items = {item.region_id: item for task in tasks for item in task.items}
    rejections = {
        region_id: Rejection(
            rejected_id=region_id,
            stage=PUSH,
            reason=reason,
            detail=f"region of tile {decision.tile_id} cannot be shown to a steward: {reason}",
        )
        for region_id, decision in decisions.items()
        if (reason := unfit(decision, state))
    }
    work = Work(
        stage=PUSH,
        night=night,
        shard="all",
        record_types=(ReviewItem,),
        config_sha256=config.review.fingerprint(),
        inputs=(_digest([item.model_dump_json() for item in items.values()], rejections),),
    )
    results = (
        rejections.get(region_id) or Done(region_id, [items[region_id]]) for region_id in decisions
    )
    return run(store, work, list(decisions), results)


def prepare_project(
    state: State,
    config: Config,
    store: Storage,
    label_studio: LabelStudioReview,
    s3: S3Access,
) -> int:
    """Makes the review project and its vocabulary, or brings them up to date; its id."""
    parts = urlsplit(store.uri)
    if parts.scheme != "s3":
        raise ConfigError(
            f"store {store.uri}: Label Studio fetches images from S3 only; set `store` in the "
            "config to s3://bucket/prefix"
        )
    _grow_vocabulary(store, vocabulary(state, config.vocabulary))
    return label_studio.ensure_project(
        config.review.project,
        label_config(f"{store.uri}/{VOCABULARY_KEY}"),
        parts.netloc,
        parts.path.strip("/"),
        s3,
    )


def _grow_vocabulary(store: Storage, names: Iterable[str]) -> None:
    """Adds names to the object that the stewards' search field reads; none ever leaves it."""
    try:
        before = store.read(VOCABULARY_KEY)
    except MissingObjectError:
        before = b"[]"
    known = {str(entry["value"]) for entry in json.loads(before)}
    after = json.dumps([{"value": name} for name in sorted(known.union(names))], indent=0).encode()
    if after != before:
        store.write(VOCABULARY_KEY, after)


def collect(
    state: State, config: Config, store: Storage, label_studio: LabelStudioReview, today: str
) -> Manifest | None:
    """Fetches what the stewards decided since the last time.

    Args:
        state: The whole state (`load_state(store)`): all nights' tiles, items and verdicts.
        config: The settings.
        store: Where the verdicts go.
        label_studio: Where from.
        today: `yyyy-mm-dd`, under which the verdicts are filed.

    Returns:
        The manifest of `runs/collect/<today>/<digest of the verdicts>`; None if nothing is new,
        and then nothing was written.

    Raises:
        ConfigError: Label Studio refuses the token.
        TransientError: Label Studio does not answer; collect again.
    """
    results = read_new(state, config, label_studio)
    fresh = sorted(
        verdict.record_id
        for result in results
        if isinstance(result, Done)
        for verdict in result.outputs
    )
    if not fresh:
        for result in results:
            if isinstance(result, Rejection):
                logger.warning("annotation %s: %s", result.rejected_id, result.detail)
        return None
    work = Work(
        stage=COLLECT,
        night=today,
        shard=_digest(fresh)[:16],
        record_types=(Verdict,),
        config_sha256=config.review.fingerprint(),
        inputs=tuple(fresh),
    )
    ids = [r.record_id if isinstance(r, Done) else r.rejected_id for r in results]
    return run(store, work, ids, results)


def has_new_verdicts(state: State, config: Config, label_studio: LabelStudioReview) -> bool:
    """Whether `collect` would write something.

    It reads only what changed since the newest verdict. A trigger that waits polls the cheaper
    `LabelStudioReview.latest_change` and asks this when it tells of a change.
    """
    results = read_new(state, config, label_studio)
    return any(isinstance(result, Done) and result.outputs for result in results)


def read_new(
    state: State, config: Config, label_studio: LabelStudioReview
) -> list[Done | Rejection]:
    """A Done with the verdicts that the state lacks, or a Rejection, for each recent annotation."""
    project_id = label_studio.find_project(config.review.project)
    if project_id is None:
        return []
    items: dict[str, list[ReviewItem]] = {}
    for item in state.review_items.values():
        items.setdefault(item.task_key, []).append(item)
    return [
        _read(annotation, items, state)
        for annotation in label_studio.annotations_since(project_id, cursor(state))
    ]


def cursor(state: State) -> str | None:
    """From when on annotations have to be read; None before the first verdict."""
    newest = max((verdict.decided_at for verdict in state.verdicts.values()), default=None)
    return (datetime.fromisoformat(newest) - OVERLAP).isoformat() if newest else None


def _read(
    annotation: Annotation, items: dict[str, list[ReviewItem]], state: State
) -> Done | Rejection:
    annotation_id = str(annotation.annotation_id)
    sent = items.get(annotation.lae_key or "", [])
    tile = state.tiles.get(sent[0].tile_id) if sent else None
    if tile is None:
        return Rejection(
            rejected_id=annotation_id,
            stage=COLLECT,
            reason="unknown task",
            detail=f"task {annotation.task_id} (lae_key {annotation.lae_key}) is none that this "
            "store has sent, or its boxes were sent anew in another task",
        )
    verdicts = read_verdicts(annotation, sent, tile)
    if isinstance(verdicts, Rejection):
        return verdicts
    fresh = [verdict for verdict in verdicts if verdict.verdict_id not in state.verdicts]
    return Done(annotation_id, fresh, Counter(verdict.action.value for verdict in fresh))


def _digest(*parts: Iterable[str]) -> str:
    text = json.dumps([sorted(part) for part in parts])
    return hashlib.sha256(text.encode()).hexdigest()
