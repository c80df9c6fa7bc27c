"""How right the accepted labels are that nobody has looked at, by the random sample that was.

The sample is stratified: of each category at least one region of a night is drawn, and each
calibration lets through other regions. Each category under a calibration counts by its objects that
nobody has looked at, and in it each night. The interval is Wilson's (E. B. Wilson, JASA 1927) for
the effective size of a sample with such weights (L. Kish, Survey Sampling, 1965): the size of a
simple random sample that tells as much of so many others.

Most of the sample has taught the calibration that decides it. So a region is in it if it would be
accepted by what is said of it where it was not learned from (`trust.sample`): by its own verdict,
what was found wrong would hardly ever be accepted, and the rest would look better than it is.

Stewards make mistakes. Where second looks tell how often, the share and the ends of its interval
are corrected (`trust.mistakes`, whose assumptions hold here, too: all make as many mistakes,
whoever looks and whatever there is to see). Else stewards are taken to be right. How often they
are mistaken is an estimate, too; its interval and the sample's are put together by the distances of
their own ends (G. Y. Zou and A. Donner, Statistics in Medicine 27, 2008).
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
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
        audited: Objects that were drawn and looked at, with `right` those that were found right.
        precision: The share of the unseen that is right, corrected for stewards' mistakes, with
            `low` and `high` the interval's ends.
        undecided: Objects that were drawn, too, and that stewards left undecided.
        unmeasured: Of the unseen, those of nights of which nobody has looked at any: they are taken
            to be as right as the others.
    """

    unseen: int
    audited: int
    right: int
    precision: float
    low: float
    high: float
    undecided: int = 0
    unmeasured: int = 0


@dataclass(frozen=True)
class Correction:
    """Turns the share that stewards find right into the one that is right.

    Attributes:
        expected: With the share of mistaken looks that second looks tell.
        fewest: The same if stewards make as few mistakes as the second looks allow.
        most: The same if they make as many.
    """

    expected: Callable[[float], float] = float
    fewest: Callable[[float], float] = float
    most: Callable[[float], float] = float

    def interval(self, share: float, low: float, high: float) -> tuple[float, float, float]:
        """The share and the ends of its interval, corrected."""
        right = self.expected(share)
        ends = [each(share) for each in (self.fewest, self.most)]
        below = math.hypot(right - self.expected(low), right - min(right, *ends))
        above = math.hypot(self.expected(high) - right, max(right, *ends) - right)
        return right, max(0.0, right - below), min(1.0, right + above)


@dataclass
class _Cell:
    """The objects of a night in a stratum."""

    unseen: int = 0
    audited: int = 0
    right: int = 0


@dataclass
class Audit:
    """Collects objects by stratum and night.

    Attributes:
        correction: For the mistakes of stewards.
        undecided: Objects that were drawn, and that stewards left undecided.
        optimism: Of the audited objects, how much more likely each is to be right than one that
            taught nothing; the sum.
    """

    correction: Correction = field(default_factory=Correction)
    undecided: int = 0
    optimism: float = 0.0
    _strata: defaultdict[str, defaultdict[str, _Cell]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(_Cell))
    )

    def add_unseen(self, stratum: str, night: str) -> None:
        """An object that is in, and that nobody has looked at."""
        self._strata[stratum][night].unseen += 1

    def add_audited(self, stratum: str, night: str, right: bool) -> None:
        """An object that was drawn, and looked at."""
        cell = self._strata[stratum][night]
        cell.audited += 1
        cell.right += right

    def precision(self) -> Precision | None:
        """The estimate; None if nobody looked at anything, or at everything."""
        cells = [(night, cell) for of in self._strata.values() for night, cell in of.items()]
        unseen = sum(cell.unseen for _, cell in cells)
        audited = sum(cell.audited for _, cell in cells)
        if not unseen or not audited:
            return None
        weighed = [each for of in self._strata.values() for each in _weighed(of.values())]
        # A stratum of which nothing was drawn is taken to be as right as the others together.
        weighed = weighed or [(1.0, cell) for _, cell in cells if cell.audited]
        weights = sum(weight * cell.audited for weight, cell in weighed)
        share = sum(weight * cell.right for weight, cell in weighed) / weights
        effective = weights**2 / sum(weight**2 * cell.audited for weight, cell in weighed)
        # The unseen are a sample themselves, of what was accepted: they may be luckier.
        low, high = wilson(share, 1 / (1 / effective + 1 / unseen))
        too_good = self.optimism / audited
        share, low = share - too_good, low - too_good
        share, low, high = self.correction.interval(share, low, high)
        right = sum(cell.right for _, cell in cells)
        looked_at = {night for night, cell in cells if cell.audited}
        unmeasured = sum(cell.unseen for night, cell in cells if night not in looked_at)
        return Precision(unseen, audited, right, share, low, high, self.undecided, unmeasured)


def _weighed(cells: Collection[_Cell]) -> list[tuple[float, _Cell]]:
    """Of a stratum's cells with audited objects, how many unseen each of these stands for.

    Cells without any are taken to be like the other nights of the stratum.
    """
    unseen = sum(cell.unseen for cell in cells)
    known = [cell for cell in cells if cell.audited]
    of_known = sum(cell.unseen for cell in known)
    if not unseen or not known:
        return []
    if not of_known:
        return [(unseen / sum(cell.audited for cell in known), cell) for cell in known]
    of_each = unseen / of_known
    return [(of_each * cell.unseen / cell.audited, cell) for cell in known if cell.unseen]


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
    sample: Iterable[Decision],
    verdicts: Mapping[str, Verdict],
    items: Mapping[str, ReviewItem],
    spelled: Callable[[str], str],
    night_of: Mapping[str, str],
    correction: Correction | None = None,
    undecided: Collection[str] = (),
    optimism: Callable[[Decision], float] = lambda _: 0.0,
) -> tuple[Precision | None, dict[str, Precision]]:
    """The precision of all unseen objects, and of each category with enough of a sample.

    Args:
        unseen: The decisions on objects that are in and that nobody has looked at.
        sample: Those on accepted objects that were drawn at random; of these count what stewards
            have looked at.
        verdicts: Those that hold, by region.
        items: What was sent to stewards, by id.
        spelled: How the vocabulary spells a name.
        night_of: The night of each scene.
        correction: For the mistakes of stewards; None takes them to be right.
        undecided: Ids of the regions that stewards left undecided.
        optimism: How much more likely an audited region is to be right than one that taught the
            calibration nothing.
    """
    correction = correction or Correction()
    everything = Audit(correction)
    of_category: defaultdict[str, Audit] = defaultdict(lambda: Audit(correction))
    counts: Counter[str] = Counter()

    def place(decision: Decision) -> tuple[str, str]:
        """Its category and night."""
        category = spelled(decision.category) if decision.category else ""
        return category, night_of.get(decision.scene_id, "")

    # In one order, whatever the caller's: sums of floats depend on it, and the manifest holds them.
    for decision in sorted(unseen, key=lambda d: d.region_id):
        category, night = place(decision)
        everything.add_unseen(f"{decision.calibration}|{category}", night)
        of_category[category].add_unseen(decision.calibration, night)
    for decision in sample:
        category, night = place(decision)
        if decision.region_id in verdicts:
            right = is_right(verdicts[decision.region_id], category, items, spelled)
            everything.add_audited(f"{decision.calibration}|{category}", night, right)
            of_category[category].add_audited(decision.calibration, night, right)
            counts[category] += 1
            for audit in (everything, of_category[category]):
                audit.optimism += optimism(decision)
        elif decision.region_id in undecided:
            everything.undecided += 1
            of_category[category].undecided += 1
    found = {name: of_category[name].precision() for name, n in counts.items() if n >= _ENOUGH}
    return everything.precision(), {name: p for name, p in sorted(found.items()) if p}
