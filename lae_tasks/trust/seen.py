"""How right the objects are that stewards have decided: as right as the stewards.

With a share `e` of mistaken looks, and a share `w` of wrong ones among the regions that stewards
were shown, a region that one steward confirms is wrong all the same with probability
`w e / (w e + (1 - w) (1 - e))`, by Bayes' rule; each further steward who confirms it multiplies the
odds by `e / (1 - e)`, each who contradicts by the inverse. One that stewards put right was right
before with the opposite probability, and is wrong now. What they drew themselves is wrong in `e`.

`w` is taken apart for each purpose of sending: what is in doubt is wrong more often than what is
drawn at random. It is found from the first look at each region.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from scipy.stats import norm

from lae_tasks.contracts import (
    Decision,
    Purpose,
    ReviewItem,
    Verdict,
    VerdictAction,
    review_item_id,
)
from lae_tasks.review.verdicts import last_words
from lae_tasks.trust.audit import CONFIDENCE, Correction, Precision
from lae_tasks.trust.judgements import is_right
from lae_tasks.trust.mistakes import truly_right


@dataclass(frozen=True)
class Looks:
    """What stewards say of one region, beside what the engine says.

    Attributes:
        planned: By how many stewards, before anybody had looked.
        confirms: Of each steward, in the order in which they looked, whether they find it right.
    """

    purpose: Purpose
    planned: int
    confirms: tuple[bool, ...]


def read_looks(
    verdicts: Iterable[Verdict],
    decisions: Mapping[str, Decision],
    items: Mapping[str, ReviewItem],
    spelled: Callable[[str], str],
) -> dict[str, Looks]:
    """The looks at each region that the engine gave a name, by region id.

    Args:
        verdicts: The whole history.
        decisions: What the engine decided, by region id.
        items: What was sent to stewards, by id.
        spelled: How the vocabulary spells a name.
    """
    found = {}
    for region_id, words in last_words(verdicts).items():
        decision = decisions.get(region_id)
        said = [verdict for verdict in words.values() if verdict.action is not VerdictAction.ADD]
        if decision is None or not decision.category or not said:
            continue
        item = items.get(review_item_id(said[0].task_key, region_id))
        purpose, planned = (item.purpose, item.looks) if item else (Purpose.DOUBT, 1)
        right = (is_right(verdict, decision.category, items, spelled) for verdict in said)
        found[region_id] = Looks(purpose, planned, tuple(right))
    return found


def correction(looks: Sequence[Looks], errors: Sequence[float]) -> Correction:
    """What turns the share of audited regions that stewards find right into the true one.

    Args:
        looks: At the audited regions.
        errors: The share of looks in which stewards are mistaken, as expected, at the least and at
            the most; empty takes them to be right.
    """
    if not errors:
        return Correction()
    by_two = [each.planned > 1 and len(each.confirms) > 1 for each in looks]
    contradicted = [
        each
        for each, is_by_two in zip(looks, by_two, strict=True)
        if not is_by_two and not each.confirms[0]
    ]
    looked_again = sum(len(each.confirms) > 1 for each in contradicted)
    again = looked_again / len(contradicted) if contradicted else 1.0
    twice = sum(by_two) / max(1, len(looks))
    given = {"again": again, "twice": twice}
    return Correction(*(partial(truly_right, error=error, **given) for error in errors))


def chances_of_mistake(
    objects: Mapping[str, bool], looks: Mapping[str, Looks], error: float
) -> dict[str, float]:
    """Of each region that stewards decided, the probability that what they say is wrong.

    Args:
        objects: By region id, whether it is as the engine had it, not put right.
        looks: At all regions that stewards have looked at, those that they rejected, too.
        error: The share of looks in which stewards are mistaken.
    """
    if not error:
        return dict.fromkeys(objects, 0.0)
    wrong = _wrong_shares(looks.values(), error)
    return {
        region_id: _chance(looks[region_id], wrong[looks[region_id].purpose], as_it_was, error)
        if region_id in looks
        else error
        for region_id, as_it_was in sorted(objects.items())
    }


def _wrong_shares(looks: Iterable[Looks], error: float) -> dict[Purpose, float]:
    first: defaultdict[Purpose, list[bool]] = defaultdict(list)
    for each in looks:
        first[each.purpose].append(not each.confirms[0])
    return {
        purpose: min(1.0, max(0.0, (sum(said) / len(said) - error) / (1 - 2 * error)))
        for purpose, said in first.items()
    }


def _chance(looks: Looks, wrong: float, as_it_was: bool, error: float) -> float:
    confirm = sum(looks.confirms)
    contradict = len(looks.confirms) - confirm
    was_wrong = wrong * error**confirm * (1 - error) ** contradict
    was_right = (1 - wrong) * (1 - error) ** confirm * error**contradict
    return (was_wrong if as_it_was else was_right) / (was_wrong + was_right)


@dataclass(frozen=True)
class Whole:
    """The precision of all objects of a release, seen and unseen.

    Attributes:
        seen: How many of the `objects` stewards decided, with `seen_precision` the share of these
            that is right.
        precision: The share of all that is right, with `low` and `high` the interval's ends.
    """

    objects: int
    seen: int
    seen_precision: float
    precision: float
    low: float
    high: float


def whole_precision(
    unseen: int,
    audited: Precision | None,
    chances: Sequence[float],
    fewest: Sequence[float],
    most: Sequence[float],
) -> Whole | None:
    """Puts together what is known of seen and unseen objects; None if something is not known.

    The interval is that of a sum of independent estimates by the distances of their own ends
    (G. Y. Zou and A. Donner, Statistics in Medicine 27, 2008): that of the unseen, that of how
    often stewards are mistaken, and the chance in how many of their objects they were.

    Args:
        unseen: How many objects nobody has looked at.
        audited: What the audit says of these.
        chances: Of each object that stewards decided, the probability that it is wrong.
        fewest: The same if stewards make as few mistakes as the second looks allow.
        most: The same if they make as many.
    """
    if (unseen and not audited) or not (unseen or chances):
        return None
    count, seen = unseen + len(chances), len(chances)
    share, low, high = (audited.precision, audited.low, audited.high) if audited else (0, 0, 0)
    wrong, z = sum(chances), float(norm.ppf((1 + CONFIDENCE) / 2))
    by_chance = z * z * sum(each * (1 - each) for each in chances)
    below = math.sqrt((unseen * (share - low)) ** 2 + (sum(most) - wrong) ** 2 + by_chance)
    above = math.sqrt((unseen * (high - share)) ** 2 + (wrong - sum(fewest)) ** 2 + by_chance)
    right = unseen * share + seen - wrong
    return Whole(
        objects=count,
        seen=seen,
        seen_precision=1 - wrong / seen if seen else 1.0,
        precision=right / count,
        low=max(0.0, (right - below) / count),
        high=min(1.0, (right + above) / count),
    )
