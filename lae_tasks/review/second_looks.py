"""By how many stewards each task is to be looked at."""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping

from lae_tasks.contracts import Purpose, ReviewItem, Verdict, VerdictAction
from lae_tasks.review.verdicts import current_verdicts, fold_verdicts, respelled
from lae_tasks.trust.agreement import conflicts, opinions
from lae_tasks.trust.judgements import is_right

#: Nothing is looked at by more.
MOST = 3


def stewards_wanted(
    items: Mapping[str, ReviewItem],
    verdicts: Collection[Verdict],
    looked: Mapping[str, int],
    spelled: Callable[[str], str],
) -> dict[str, int]:
    """How many different stewards each task wants.

    What was planned; one more than have looked where those who did left a region undecided; and of
    what was drawn at random also where the only steward contradicts the engine, or stewards are
    tied. Of what is in doubt the only one is believed: nobody counts on the engine being right.

    Args:
        items: What was sent, by id.
        verdicts: The whole history.
        looked: By how many stewards each task was looked at, by its key; a skip is no look.
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
            stewards = max(stewards, min(MOST, looked.get(item.task_key, 0) + 1))
        wanted[item.task_key] = max(wanted[item.task_key], stewards)
    return dict(wanted)
