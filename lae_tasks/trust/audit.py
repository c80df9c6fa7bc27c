"""How right the accepted labels are that nobody has looked at, by the random sample that was.

The sample is stratified: of each category at least one region of a night is drawn, and each
calibration lets through other regions. Each category under each calibration counts by its objects
that nobody has looked at. The interval is Wilson's (E. B. Wilson, JASA 1927) for the effective size
of a sample with such weights (L. Kish, Survey Sampling, 1965): the size of a simple random sample
that tells as much.

Stewards are taken to be right.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from scipy.stats import norm

from lae_tasks.contracts import Decision, ReviewItem, Verdict
from lae_tasks.trust.judgements import is_right

CONFIDENCE = 0.95
#: With fewer audited objects a category has no estimate of its own.
_ENOUGH = 30


@dataclass(frozen=True)
class Precision:
    """What the audit says of objects.

    Attributes:
        unseen: Objects that nobody has looked at: of these it speaks.
        audited: Objects that were drawn and looked at, with `right` those that were right.
        precision: The share of the unseen that is right, with `low` and `high` the interval's ends.
    """

    unseen: int
    audited: int
    right: int
    precision: float
    low: float
    high: float


@dataclass
class _Stratum:
    unseen: int = 0
    audited: int = 0
    right: int = 0


@dataclass
class Audit:
    """Collects objects by stratum."""

    _strata: defaultdict[str, _Stratum] = field(default_factory=lambda: defaultdict(_Stratum))

    def add_unseen(self, stratum: str) -> None:
        """An object that is in, and that nobody has looked at."""
        self._strata[stratum].unseen += 1

    def add_audited(self, stratum: str, right: bool) -> None:
        """An object that was drawn, and looked at."""
        self._strata[stratum].audited += 1
        self._strata[stratum].right += right

    def precision(self) -> Precision | None:
        """The estimate; None if nobody looked at anything, or at everything."""
        strata = self._strata.values()
        unseen = sum(each.unseen for each in strata)
        audited = sum(each.audited for each in strata)
        if not unseen or not audited:
            return None
        right = sum(each.right for each in strata)
        # A stratum of which nothing was drawn is taken to be as right as the others together.
        known = [(each.unseen, each.audited, each.right) for each in strata if each.audited]
        weights = sum(size for size, _, _ in known)
        if not weights:
            share, effective = right / audited, float(audited)
        else:
            share = sum(size * good / count for size, count, good in known) / weights
            effective = weights**2 / sum(size**2 / count for size, count, _ in known)
        low, high = wilson(share, effective)
        return Precision(unseen, audited, right, share, low, high)


def wilson(share: float, count: float, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Wilson's score interval of a share that was seen in a sample; the count need not be whole."""
    z = float(norm.ppf((1 + confidence) / 2))
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = (
        z
        / (1 + z * z / count)
        * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    )
    return max(0.0, middle - half), min(1.0, middle + half)


def measure(
    unseen: Iterable[Decision],
    decisions: Iterable[Decision],
    verdicts: Mapping[str, Verdict],
    items: Mapping[str, ReviewItem],
    spelled: Callable[[str], str],
) -> tuple[Precision | None, dict[str, Precision]]:
    """The precision of all unseen objects, and of each category with enough of a sample.

    Args:
        unseen: The decisions on objects that are in and that nobody has looked at.
        decisions: All of them.
        verdicts: Those that hold, by region.
        items: What was sent to stewards, by id.
        spelled: How the vocabulary spells a name.
    """
    everything = Audit()
    of_category: defaultdict[str, Audit] = defaultdict(Audit)
    counts: Counter[str] = Counter()
    # In one order, whatever the caller's: sums of floats depend on it, and the manifest holds them.
    for decision in sorted(unseen, key=lambda d: d.region_id):
        everything.add_unseen(_stratum_of(decision))
        of_category[decision.category or ""].add_unseen(decision.calibration)
    for decision in decisions:
        if decision.in_audit and decision.region_id in verdicts:
            right = is_right(verdicts[decision.region_id], decision.category, items, spelled)
            everything.add_audited(_stratum_of(decision), right)
            of_category[decision.category or ""].add_audited(decision.calibration, right)
            counts[decision.category or ""] += 1
    found = {name: of_category[name].precision() for name, n in counts.items() if n >= _ENOUGH}
    return everything.precision(), {name: p for name, p in sorted(found.items()) if p}


def _stratum_of(decision: Decision) -> str:
    return f"{decision.calibration}|{decision.category}"
