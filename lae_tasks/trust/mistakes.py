"""How often stewards are mistaken, and what that does to a share of regions they found right.

A share of tasks is planned for two stewards. If each is mistaken in a share `e` of looks, whoever
looks and whatever there is to see, two of them differ in `d = 2 e (1 - e)`.

A region that was drawn at random is looked at again if its steward contradicts the engine, and a
third time if the two differ. So of what is right a share `e² (2 - e)` is found wrong, and of what
is wrong `e + (1 - e) e²` is found right. While a contradiction has not been looked at again, one
look decides: of what is right a share `e` is found wrong, and of what is wrong `e` right. Of what
was planned for two stewards, with a third where they differ, `e² (3 - 2 e)` is found wrongly.

Turning the share that was found right into the true one is the estimator of W. J. Rogan and
B. Gladen (American Journal of Epidemiology 107, 1978).
"""

import math
from collections.abc import Iterable, Mapping

from lae_tasks.contracts import ReviewItem, Verdict
from lae_tasks.trust.agreement import planned_pairs

#: With fewer regions that two stewards looked at, nothing is said.
_ENOUGH = 30
#: More mistakes than this are no mistakes any more, but another opinion of what is asked.
_MOST = 0.25


def second_looks(verdicts: Iterable[Verdict], items: Iterable[ReviewItem]) -> tuple[int, int]:
    """How often two stewards differed, and of how many regions that were planned for two.

    Args:
        verdicts: The whole history.
        items: What was sent to stewards. Only what was planned for two of them counts: where a
            second one was asked because of what the first had said, they differ more.
    """
    return differing(planned_pairs(verdicts, items))


def differing(pairs: Mapping[str, Mapping[str, str]]) -> tuple[int, int]:
    """How many of some pairs differ, and how many there are."""
    return sum(len({*said.values()}) > 1 for said in pairs.values()), len(pairs)


def steward_error(verdicts: Iterable[Verdict], items: Iterable[ReviewItem]) -> float | None:
    """The share of looks in which a steward is mistaken; None if too few second looks tell.

    Arguments as of `second_looks`.
    """
    return error_of(*second_looks(verdicts, items))


def error_of(differ: int, pairs: int) -> float | None:
    """The share of mistaken looks if two of them differ on so many of some pairs of looks."""
    return error_from(differ / pairs) if pairs >= _ENOUGH else None


def error_from(differ: float) -> float:
    """The share of mistaken looks if two of them differ in a share `differ`."""
    return min(_MOST, (1 - math.sqrt(max(0.0, 1 - 2 * differ))) / 2)


def found_right(
    precision: float, error: float | None, again: float = 1.0, twice: float = 0.0
) -> float:
    """The share that stewards find right, of regions of which a share `precision` is right.

    Args:
        precision: The true share.
        error: The share of mistaken looks; None is taken as none.
        again: The share of what contradicts the engine that was looked at again.
        twice: The share of all that was planned for two stewards.
    """
    missed, passed = _confused(error, again, twice)
    return precision * (1 - missed) + (1 - precision) * passed


def truly_right(share: float, error: float | None, again: float = 1.0, twice: float = 0.0) -> float:
    """The share that is right, of regions of which stewards find `share` right; in [0, 1].

    The other arguments as of `found_right`.
    """
    missed, passed = _confused(error, again, twice)
    return min(1.0, max(0.0, (share - passed) / (1 - missed - passed)))


def _confused(error: float | None, again: float, twice: float) -> tuple[float, float]:
    """The shares of what is right that is found wrong, and of what is wrong that is found right."""
    e = error or 0.0
    missed = again * e * e * (2 - e) + (1 - again) * e
    passed = e + again * (1 - e) * e * e
    of_three = e * e * (3 - 2 * e)
    return (1 - twice) * missed + twice * of_three, (1 - twice) * passed + twice * of_three
