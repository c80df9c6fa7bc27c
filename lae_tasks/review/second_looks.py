"""By how many stewards each task is to be looked at."""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping

from lae_tasks.contracts import Purpose, ReviewItem, Verdict, VerdictAction
from lae_tasks.review.annotation import TaskProgress, version_id
from lae_tasks.review.verdicts import current_verdicts, fold_verdicts, respelled
from lae_tasks.state import State
from lae_tasks.trust.agreement import conflicts, opinions
from lae_tasks.trust.judgements import is_right

#: Nothing is looked at by more.
MOST = 3


def lookers(reviews: State, progress: Mapping[str, TaskProgress]) -> dict[str, set[str]]:
    """Who has looked at each task, by its key.

    An annotation that the store has read counts by what it says: one that was refused or taken back
    is no look, or its task would be closed though nobody has decided anything of it. What Label
    Studio has lost still counts. An annotation that the store has not read yet is a look.

    Args:
        reviews: What was sent and what came back.
        progress: The tasks that Label Studio has.
    """
    found: defaultdict[str, set[str]] = defaultdict(set)
    for verdict in current_verdicts(reviews.verdicts.values()):
        found[verdict.task_key].add(verdict.annotator)
    read = {version_id(v.annotation_id, v.decided_at) for v in reviews.verdicts.values()}
    read |= reviews.refused
    for key, task in progress.items():
        found[key].update(who for version, who in task.by.items() if version not in read)
    return dict(found)


def stewards_wanted(
    items: Mapping[str, ReviewItem],
    verdicts: Collection[Verdict],
    looked: Mapping[str, Collection[str]],
    spelled: Callable[[str], str],
) -> dict[str, int]:
    """How many different stewards each task wants.

    What was planned; one more than have looked where those who did left a region undecided; and of
    what was drawn at random also where the only steward contradicts the engine, or stewards are
    tied. Of what is in doubt the only one is believed: nobody counts on the engine being right.

    Args:
        items: What was sent, by id.
        verdicts: The whole history.
        looked: Who has looked at each task, by its key.
        spelled: How the vocabulary spells a name.
    """
    verdicts = respelled(verdicts, spelled)
    said, held, tied = opinions(verdicts), fold_verdicts(verdicts), conflicts(verdicts)
    current = current_verdicts(verdicts)
    undecided = {(v.task_key, v.region_id) for v in current if v.action is VerdictAction.UNDECIDED}

    def is_open(item: ReviewItem) -> bool:
        region_id = item.region_id
        if region_id not in said:
            return (item.task_key, region_id) in undecided
        if item.purpose is not Purpose.DRAWN:
            return False
        alone = len(said[region_id]) == 1
        return region_id in tied or (
            alone and not is_right(held[region_id], item.category, items, spelled)
        )

    wanted: defaultdict[str, int] = defaultdict(int)
    for item in items.values():
        stewards = item.looks
        if item.purpose is not Purpose.CHECK and is_open(item):
            stewards = max(stewards, min(MOST, len(looked.get(item.task_key, ())) + 1))
        wanted[item.task_key] = max(wanted[item.task_key], stewards)
    return dict(wanted)
