"""Which tasks Label Studio has lost and stewards still have to look at, over all nights."""

from collections import defaultdict
from collections.abc import Callable, Collection

from lae_tasks.contracts import ReviewItem, TileCheck, VerdictAction
from lae_tasks.review.second_looks import lookers, stewards_wanted
from lae_tasks.review.verdicts import current_verdicts, fold_verdicts
from lae_tasks.state import State


def lost_tasks(
    reviews: State, there: Collection[str], spelled: Callable[[str], str]
) -> tuple[list[ReviewItem], list[TileCheck]]:
    """What was filed with the tasks that have to be sent, now or again.

    A task is not sent if as many stewards have looked at it as it wants, if all its regions are in
    another task or decided by one, or if it is to check a tile that was checked. Verdicts of checks
    decide nothing here, as they must not change what else is looked at.

    Args:
        reviews: What was filed and what came back; what was filed last stands last.
        there: Keys of the tasks that Label Studio has.
        spelled: How the vocabulary spells a name.
    """
    checks = reviews.tile_checks
    of_task: defaultdict[str, list[ReviewItem]] = defaultdict(list)
    for item in reviews.review_items.values():
        of_task[item.task_key].append(item)
    verdicts = reviews.verdicts.values()
    held = fold_verdicts(verdict for verdict in verdicts if verdict.task_key not in checks)
    looked = lookers(reviews, {})
    wanted = stewards_wanted(reviews.review_items, verdicts, looked, spelled)
    asked: set[str] = set()
    for key in there:
        asked.update(item.region_id for item in of_task.get(key, ()) if key not in checks)
    items: list[ReviewItem] = []
    for key, boxes in reversed(of_task.items()):  # of two of the same regions the newer one
        if key in there or key in checks or len(looked.get(key, ())) >= wanted[key]:
            continue
        regions = {item.region_id for item in boxes}
        by_others = {i for i in regions & held.keys() if held[i].task_key != key}
        if not regions <= asked | by_others:
            asked |= regions
            items += boxes
    checked = {v.region_id for v in current_verdicts(verdicts) if v.action is VerdictAction.CHECK}
    checked.update(check.tile_id for check in checks.values() if check.task_key in there)
    again: list[TileCheck] = []
    for check in reversed(checks.values()):
        if check.tile_id not in checked:
            checked.add(check.tile_id)
            again.append(check)
            items += of_task.get(check.task_key, ())
    return items, again
