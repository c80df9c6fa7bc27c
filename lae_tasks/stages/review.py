"""Review: regions in doubt and the audit's go to Label Studio; the stewards' verdicts come back.

`push` can run any number of times: it compares with what Label Studio has and sends the rest,
also to a project that was emptied. `collect` can, too: it writes only what is not in the store
yet, and nothing if there is nothing new.
"""

import json
import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from lae_tasks.accounts import Done, Manifest, Rejection
from lae_tasks.config import Config
from lae_tasks.contracts import Decision, ReviewItem, Verdict
from lae_tasks.errors import ConfigError, UnfinishedNightError
from lae_tasks.naming.vocabulary import Vocabulary
from lae_tasks.review.label_config import label_config
from lae_tasks.review.label_studio import Annotation, LabelStudioReview, S3Access, version_id
from lae_tasks.review.tasks import (
    ReviewTask,
    build_tasks,
    regions_to_review,
    unfit,
    vocabulary,
)
from lae_tasks.review.verdicts import (
    BLANK,
    current_verdicts,
    deleted_annotations,
    read_verdicts,
    withdrawn,
)
from lae_tasks.runner import Work, run
from lae_tasks.state import State, digest_of
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
        The manifest of `runs/review/<night>/<digest of what was sent>`; one ReviewItem for each
        region.

    Raises:
        ConfigError: The store is no S3, or Label Studio refuses what it is told.
        UnfinishedNightError: The night ran again, but not to its end.
        TransientError: Label Studio does not answer; push again.
    """
    if state.unfinished:
        raise UnfinishedNightError(f"night {night} ran again; push when it is routed")
    decisions = regions_to_review(state)
    tasks = list(build_tasks(state, store.uri, night, config.vocabulary.names))
    manifest = _record_push(state, night, config, store, tasks, decisions)
    if tasks:
        project_id = prepare_project(state, config, store, label_studio, s3)
        pushed = label_studio.push(project_id, tasks, config.review.batch_size)
        logger.info(
            "review %s: %d tasks sent, %d there already", night, pushed.created, pushed.present
        )
    return manifest


def _record_push(
    state: State,
    night: str,
    config: Config,
    store: Storage,
    tasks: Sequence[ReviewTask],
    decisions: Mapping[str, Decision],
) -> Manifest:
    """Files what is about to be sent; before it is, so that no verdict can come back unknown.

    What was sent before stays filed: stewards may still work on it after the night ran again.
    """
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
    digest = digest_of([*(item.model_dump_json() for item in items.values()), *rejections])
    work = Work(
        stage=PUSH,
        night=night,
        shard=digest[:16],
        record_types=(ReviewItem,),
        config_sha256=config.review.fingerprint(),
        inputs=(digest,),
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
    require_s3(store)
    parts = urlsplit(store.uri)
    _grow_vocabulary(store, vocabulary(state, config.vocabulary.names))
    return label_studio.ensure_project(
        config.review.project,
        label_config(f"{store.uri}/{VOCABULARY_KEY}"),
        parts.netloc,
        parts.path.strip("/"),
        s3,
    )


def require_s3(store: Storage) -> None:
    """Raises ConfigError if Label Studio cannot fetch images from the store."""
    if urlsplit(store.uri).scheme != "s3":
        raise ConfigError(
            f"store {store.uri}: Label Studio fetches images from S3 only; set `store` in the "
            "config to s3://bucket/prefix"
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
        state: What was sent and what came back so far (`load_reviews(store)`).
        config: The settings.
        store: Where the verdicts go.
        label_studio: Where from.
        today: `yyyy-mm-dd`, under which the verdicts are filed.

    Returns:
        The manifest of `runs/collect/<today>/<digest of what is new>`, with the verdicts and the
        annotations that could not be read as any; None if nothing is new, and then nothing was
        written.

    Raises:
        ConfigError: Label Studio refuses the token.
        TransientError: Label Studio does not answer; collect again.
    """
    results = read_new(state, config, label_studio)
    fresh = sorted(news for result in results for news in _news(result))
    if not fresh:
        return None
    digest = digest_of(fresh)
    work = Work(
        stage=COLLECT,
        night=today,
        shard=digest[:16],
        record_types=(Verdict,),
        config_sha256=config.review.fingerprint(),
        inputs=(digest,),
    )
    ids = [r.record_id if isinstance(r, Done) else r.rejected_id for r in results]
    return run(store, work, ids, results)


def has_news(state: State, config: Config, label_studio: LabelStudioReview) -> bool:
    """Whether `collect` would write something.

    It reads what changed since shortly before the newest verdict. A trigger that waits polls the
    cheaper `LabelStudioReview.latest_change` and asks this when it tells of a change.
    """
    return any(_news(result) for result in read_new(state, config, label_studio))


def _news(result: Done | Rejection) -> list[str]:
    """Ids of what the result adds to the store."""
    if isinstance(result, Rejection):
        return [result.rejected_id]
    return [verdict.record_id for verdict in result.outputs]


def read_new(
    state: State, config: Config, label_studio: LabelStudioReview
) -> list[Done | Rejection]:
    """What the state lacks of each annotation that changed lately.

    Returns:
        A Done with its new verdicts, none if they are known, or a Rejection that is not in the
        state yet.
    """
    project_id = label_studio.find_project(config.review.project)
    if project_id is None:
        return []
    items: defaultdict[str, list[ReviewItem]] = defaultdict(list)
    for item in state.review_items.values():
        items[item.task_key].append(item)
    held: defaultdict[str, list[Verdict]] = defaultdict(list)
    for verdict in current_verdicts(state.verdicts.values()):
        held[verdict.task_key].append(verdict)
    known = {
        (v.task_created_at, version_id(v.annotation_id, v.decided_at))
        for v in state.verdicts.values()
    }
    results: list[Done | Rejection] = []
    for task in label_studio.tasks_since(project_id, cursor(state)):
        sent = items.get(task.lae_key or "", [])
        # Only what came from this very task: there may be another one of the same key.
        of_task = [v for v in held[task.lae_key or ""] if v.task_created_at == task.created_at]
        for annotation in task.annotations:
            version = annotation.version_id
            before = [v for v in of_task if v.annotation_id == annotation.annotation_id]
            if version in state.refused or (task.created_at, version) in known:
                results.append(Done(version))
            else:
                results.append(_read(annotation, task.lae_key, sent, before, config.vocabulary))
        for annotation_id, verdicts in deleted_annotations(task, of_task).items():
            taken_back = withdrawn(verdicts, (), task.updated_at)
            results.append(_done(version_id(annotation_id, task.updated_at), taken_back))
    return results


def cursor(state: State) -> str | None:
    """From when on annotations have to be read; None before the first verdict."""
    newest = max((verdict.decided_at for verdict in state.verdicts.values()), default=None)
    return (datetime.fromisoformat(newest) - OVERLAP).isoformat() if newest else None


def _read(
    annotation: Annotation,
    lae_key: str | None,
    sent: Sequence[ReviewItem],
    before: Sequence[Verdict],
    vocabulary: Vocabulary,
) -> Done | Rejection:
    """What an annotation says now, and what it said before and no longer does."""
    if not sent:
        return Rejection(
            rejected_id=annotation.version_id,
            stage=COLLECT,
            reason="unknown task",
            detail=f"task {annotation.task_id} (lae_key {lae_key}) is none that this "
            "store has sent",
        )
    verdicts = read_verdicts(annotation, sent, vocabulary)
    if isinstance(verdicts, Rejection):
        if verdicts.reason != BLANK or not before:
            return verdicts
        verdicts = []  # everything in it was deleted: it was taken back
    decided = {verdict.region_id for verdict in verdicts}
    taken_back = withdrawn(before, decided, annotation.updated_at)
    return _done(annotation.version_id, [*verdicts, *taken_back])


def _done(record_id: str, verdicts: Sequence[Verdict]) -> Done:
    return Done(record_id, verdicts, Counter(verdict.action.value for verdict in verdicts))
