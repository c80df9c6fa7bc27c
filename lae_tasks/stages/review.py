"""Review: what is worth a look goes to Label Studio; the stewards' verdicts come back.

`push` can run any number of times, also twice at once: it files what it asks about, compares all
that was ever filed with what Label Studio has, and sends what is lost and still waits for a look.
What two pushes have sent is deleted afterwards, but for one. `collect` can run so, too: it writes
only what is not in the store yet, and nothing if there is nothing new. `follow_up` comes after it,
on its own: verdicts are in the store, and can be told of, though it fails.
"""

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from urllib.parse import urlsplit

from lae_tasks.accounts import Counted, Done, Manifest, Rejection
from lae_tasks.config import Config
from lae_tasks.contracts import Purpose, ReviewItem, TileCheck, Verdict
from lae_tasks.errors import ConfigError, TransientError, UnfinishedNightError
from lae_tasks.review.annotation import TaskProgress
from lae_tasks.review.asking import PUSH, new_records
from lae_tasks.review.image_storage import S3Access
from lae_tasks.review.label_config import label_config
from lae_tasks.review.label_studio import LabelStudioReview
from lae_tasks.review.lost import lost_tasks
from lae_tasks.review.news import read_new
from lae_tasks.review.second_looks import lookers, stewards_wanted
from lae_tasks.review.selection import (
    Candidates,
    choose,
    looks_at,
    looks_spent,
    read_candidates,
    tiles_to_check,
)
from lae_tasks.review.tasks import ReviewTask, build_tasks
from lae_tasks.review.verdicts import COLLECT, current_verdicts, fold_verdicts
from lae_tasks.runner import Work, iter_manifests, run
from lae_tasks.state import RoutedNight, State, digest_of, iter_nights, load_reviews, load_state
from lae_tasks.storage import MissingObjectError, Storage
from lae_tasks.tables import read_table

logger = logging.getLogger(__name__)

VOCABULARY_KEY = "review/vocabulary.json"


@dataclass(frozen=True)
class Pushed:
    """What a push did.

    Attributes:
        manifest: Of what it asks about that nothing asked about before,
            `runs/review/<night>/<digest>`; None if there is no such thing.
        tasks: Tasks that were sent, new ones and those that were lost.
        present: Tasks of all nights that Label Studio had already.
        waiting: Regions for which the night's looks did not suffice.
        again: Tasks for which further stewards were asked.
    """

    manifest: Manifest | None
    tasks: int
    present: int
    waiting: int
    again: int

    def as_text(self) -> str:
        """The same for people, on one line."""
        counts = self.manifest.counts if self.manifest else {}
        regions = counts.get(Purpose.DOUBT, 0) + counts.get(Purpose.DRAWN, 0)
        parts = [
            f"{regions} more regions are with the stewards",
            f"{counts.get('tiles', 0)} tiles to look over as a whole",
            f"{self.tasks} tasks sent, {self.present} there already",
        ]
        if self.manifest and self.manifest.n_rejected:
            parts.append(f"{self.manifest.n_rejected} regions cannot be shown")
        if self.again:
            parts.append(f"another steward asked for {self.again} tasks")
        if self.waiting:
            parts.append(
                f"{self.waiting} regions wait for another night: the looks of this one "
                "(review.looks_per_night) are spent"
            )
        return "; ".join(parts)


def push(
    store: Storage,
    night: str,
    config: Config,
    label_studio: LabelStudioReview,
    s3: S3Access,
) -> Pushed:
    """Asks stewards about regions of all nights, as far as this night's looks go.

    Args:
        store: An S3 store; Label Studio fetches the images from it.
        night: `yyyy-mm-dd`. Its looks are spent.
        config: The settings.
        label_studio: Where to.
        s3: How Label Studio gets at the store.

    Raises:
        ConfigError: The store is no S3, the project is another store's or has another page, and
            then nothing was changed; or Label Studio refuses what it is told; if it is the webhook
            that it refuses, all else is done.
        ContractError: The night was not routed yet.
        UnfinishedNightError: The night ran again, but not to its end.
        TransientError: Label Studio does not answer; push again.
    """
    require_s3(store)
    with suppress(TransientError):  # it is told of below, when what is asked about is filed
        label_studio.check_project(config.review.project, _page(store))
    if any(routed.manifests is None for routed in iter_nights(store, night)):
        raise UnfinishedNightError(f"night {night} ran again; push when it is routed")
    nights = [routed for routed in iter_nights(store) if routed.manifests is not None]
    reviews = load_reviews(store)
    state_of = lru_cache(maxsize=1)(partial(_read_night, store, reviews))  # one night in memory
    candidates = read_candidates(store, nights)
    manifest, waiting = _file_new(store, night, config, nights, candidates, reviews, state_of)
    reviews = load_reviews(store)  # also what another push has filed meanwhile
    keys = {item.task_key for item in reviews.review_items.values()} | reviews.tile_checks.keys()
    project_id: int | None = None
    sent = present = again = 0
    if keys:
        said = {v.category for v in current_verdicts(reviews.verdicts.values()) if v.category}
        project_id = prepare_project(candidates.names | said, config, store, label_studio, s3)
        progress = label_studio.progress(project_id)
        items, checks = lost_tasks(reviews, progress.keys(), config.vocabulary.spelled)
        lost = _tasks(store, night, config, nights, state_of, items, checks)
        sent = label_studio.send(project_id, lost, config.review.batch_size)
        present = len(keys & progress.keys())
        if sent:
            # Two pushes at once may have sent the same tasks. Each looks after it has sent, so that
            # the last one sees what both have sent; what is deleted does not depend on which does.
            progress = label_studio.progress(project_id)
        again = _see_to(project_id, progress, reviews, config, label_studio)
    pushed = Pushed(manifest, sent, present, waiting, again)
    logger.info("review %s: %s", night, pushed.as_text())
    if project_id is not None:
        # At last: it is only a hint, and no fault of it may keep the tasks from the stewards.
        label_studio.ensure_webhook(project_id)
    return pushed


def _read_night(store: Storage, reviews: State, night: str) -> State:
    state = load_state(store, night, reviews)
    if state.unfinished:
        raise UnfinishedNightError(f"night {night} runs again just now; push when it is routed")
    return state


def _file_new(
    store: Storage,
    night: str,
    config: Config,
    nights: Iterable[RoutedNight],
    candidates: Candidates,
    reviews: State,
    state_of: Callable[[str], State],
) -> tuple[Manifest | None, int]:
    """Files what is about to be asked for the first time; also how many regions wait.

    It is filed before it is sent, so that no verdict can come back unknown. What was sent before
    stays filed: stewards may still work on it after the night ran again.
    """
    settings = config.review
    looks = partial(looks_at, night=night, share=settings.second_look_share)
    asked = {i.region_id for i in reviews.review_items.values() if i.purpose is not Purpose.CHECK}
    # Checks must not change what else is looked at, or recall would be that of other tiles.
    unchecked = [v for v in reviews.verdicts.values() if v.task_key not in reviews.tile_checks]
    left = settings.looks_per_night
    if left is not None:
        left -= sum(
            looks_spent(read_table(store, manifest.outputs[0], ReviewItem))
            for manifest in iter_manifests(store, PUSH, night)
        )
    chosen = choose(
        candidates.table,
        asked.union(fold_verdicts(unchecked)),
        reviews.unshown,
        looks,
        left,
    )
    checked = [check.tile_id for check in reviews.tile_checks.values()]
    to_check = {
        routed.night: tiles_to_check(store, routed, settings.check_share, checked)
        for routed in nights
    }
    results = new_records(chosen, to_check, looks, state_of)
    if not results:
        return None, chosen.waiting
    told = [
        line
        for result in results
        for line in (
            [record.model_dump_json() for record in result.outputs]
            if isinstance(result, Done)
            else [result.rejected_id]
        )
    ]
    digest = digest_of(told)
    work = Work(
        stage=PUSH,
        night=night,
        shard=digest[:16],
        record_types=(ReviewItem, TileCheck),
        config_sha256=config.review.fingerprint(),
        inputs=(digest,),
    )
    ids = [r.record_id if isinstance(r, Done) else r.rejected_id for r in results]
    results_and_counts = [*results, Counted({"waiting": chosen.waiting})]
    return run(store, work, ids, results_and_counts), chosen.waiting


def _tasks(
    store: Storage,
    night: str,
    config: Config,
    nights: Iterable[RoutedNight],
    state_of: Callable[[str], State],
    items: Iterable[ReviewItem],
    checks: Iterable[TileCheck],
) -> Iterator[ReviewTask]:
    """The tasks of what was filed, night by night of their scenes."""
    scenes = {item.scene_id for item in items} | {check.scene_id for check in checks}
    for routed in nights:
        here = scenes.intersection(scene.scene_id for scene in routed.scenes)
        if here:
            yield from build_tasks(
                state_of(routed.night),
                [item for item in items if item.scene_id in here],
                [check for check in checks if check.scene_id in here],
                store.uri,
                night,
                config.vocabulary.names,
            )
            scenes -= here
    if scenes:
        logger.info("tasks of %d scenes are not sent: they are in no whole night", len(scenes))


def follow_up(reviews: State, config: Config, label_studio: LabelStudioReview) -> int:
    """Sees to the tasks that are there: deletes doubles, and asks for as many stewards as it takes.

    Each push does so itself; between pushes, whoever has collected something.

    Args:
        reviews: What was sent and what came back (`load_reviews(store)`).
        config: The settings.
        label_studio: Where the tasks are.

    Returns:
        For how many tasks further stewards were asked.
    """
    project_id = label_studio.find_project(config.review.project)
    if project_id is None:
        return 0
    progress = label_studio.progress(project_id)
    return _see_to(project_id, progress, reviews, config, label_studio)


def _see_to(
    project_id: int,
    progress: Mapping[str, TaskProgress],
    reviews: State,
    config: Config,
    label_studio: LabelStudioReview,
) -> int:
    doubles = [task_id for task in progress.values() for task_id in task.doubles]
    if doubles:
        label_studio.delete_doubles(project_id, doubles)
    looked = lookers(reviews, progress)
    wanted = dict.fromkeys(reviews.tile_checks, 1) | stewards_wanted(
        reviews.review_items, reviews.verdicts.values(), looked, config.vocabulary.spelled
    )
    more = {}
    for key, task in progress.items():
        missing = wanted.get(key, 0) - len(looked[key])
        # Label Studio counts annotations, also those that are no look.
        stewards = task.annotated + missing
        if missing > 0 and (task.stewards < stewards or not task.is_served):
            more[task.task_id] = stewards
    label_studio.ask_more(project_id, more)
    if more:
        logger.info("asked another steward for %d tasks", len(more))
    return len(more)


def prepare_project(
    names: Iterable[str],
    config: Config,
    store: Storage,
    label_studio: LabelStudioReview,
    s3: S3Access,
) -> int:
    """Makes the review project and its vocabulary, or brings them up to date; its id."""
    parts = urlsplit(store.uri)
    known = {*names, *config.vocabulary.names}
    _write_vocabulary(store, {name for name in known if not config.vocabulary.blocks(name)})
    return label_studio.ensure_project(
        config.review.project,
        _page(store),
        parts.netloc,
        parts.path.strip("/"),
        s3,
        config.review.guide_url,
    )


def _page(store: Storage) -> str:
    return label_config(f"{store.uri}/{VOCABULARY_KEY}")


def require_s3(store: Storage) -> None:
    """Raises ConfigError if Label Studio cannot fetch images from the store."""
    if urlsplit(store.uri).scheme != "s3":
        raise ConfigError(
            f"store {store.uri}: Label Studio fetches images from S3 only; set `store` in the "
            "config to s3://bucket/prefix"
        )


def _write_vocabulary(store: Storage, names: Iterable[str]) -> None:
    """Writes the object that the stewards' search field reads, if that changes it.

    A name that nobody says any more leaves it: else each typo would stay for ever.
    """
    try:
        before = store.read(VOCABULARY_KEY)
    except MissingObjectError:
        before = b""
    after = json.dumps([{"value": name} for name in sorted(names)], indent=0).encode()
    if after != before:
        store.write(VOCABULARY_KEY, after)


def collect(
    state: State, config: Config, store: Storage, label_studio: LabelStudioReview, today: str
) -> Manifest | None:
    """Fetches what the stewards decided since the last time; `follow_up` comes next.

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
