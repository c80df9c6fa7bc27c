"""How right the accepted labels are that nobody has looked at, by the random sample that was.

The sample is stratified: of each category at least one region of a night is drawn, and each
calibration lets through other regions. Each category under a calibration counts by its objects that
nobody has looked at, and in it each night. The interval is Wilson's (E. B. Wilson, JASA 1927) for
the effective size of a sample with such weights (L. Kish, Survey Sampling, 1965): the size of a
simple random sample that tells as much of so many others.

What is accepted now may have been in doubt once. Then stewards have looked at much of it for its
worth, and it is unseen no more, while what was drawn of it stays in the sample, and is worse than
the rest. So the sample counts by bands of the probability, each by the unseen that it has
(post-stratification: D. Holt and T. M. F. Smith, JRSS A 142, 1979): in a narrow band it matters no
more why a region was looked at, as far as the probability says how likely it is right (B. B.
Hansen, The prognostic analogue of the propensity score, Biometrika 95, 2008).

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
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from scipy.stats import norm

from lae_tasks.contracts import Decision, ReviewItem, Verdict
from lae_tasks.trust.judgements import is_right
from lae_tasks.trust.sample import NOTHING_LEARNED, HeldOut

CONFIDENCE = 0.95
#: With fewer audited objects a category has no estimate of its own.
_ENOUGH = 30
#: Bands of the probability, as far as each has so many audited objects. With five, what was in
#: doubt once weighs on its neighbours still; with twenty, nothing is gained.
_BANDS, _OF_BAND = 10, 10


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
    """Objects of one kind; `optimism` is a sum, over the audited."""

    unseen: int = 0
    audited: int = 0
    right: int = 0
    optimism: float = 0.0


@dataclass
class Audit:
    """Collects objects by stratum, night, and band of the probability.

    Attributes:
        correction: For the mistakes of stewards.
        undecided: Objects that were drawn, and that stewards left undecided.
    """

    correction: Correction = field(default_factory=Correction)
    undecided: int = 0
    _cells: defaultdict[tuple[str, str, str], _Cell] = field(
        default_factory=lambda: defaultdict(_Cell)
    )

    def add_unseen(self, stratum: str, night: str, band: str = "") -> None:
        """An object that is in, and that nobody has looked at."""
        self._cells[stratum, night, band].unseen += 1

    def add_audited(
        self, stratum: str, night: str, right: bool, band: str = "", optimism: float = 0.0
    ) -> None:
        """An object that was drawn, and looked at.

        Args:
            stratum: Its stratum.
            night: Its night.
            right: Whether it was found right.
            band: Of its probability.
            optimism: How much more likely it is right than one that taught nothing.
        """
        cell = self._cells[stratum, night, band]
        cell.audited += 1
        cell.right += right
        cell.optimism += optimism

    def precision(self) -> Precision | None:
        """The estimate; None if nobody looked at anything, or at everything."""
        unseen = sum(cell.unseen for cell in self._cells.values())
        audited = sum(cell.audited for cell in self._cells.values())
        if not unseen or not audited:
            return None
        weighed = self._weighed()
        weights = sum(weight * cell.audited for weight, cell in weighed)
        share = sum(weight * cell.right for weight, cell in weighed) / weights
        effective = weights**2 / sum(weight**2 * cell.audited for weight, cell in weighed)
        # The unseen are a sample themselves, of what was accepted: they may be luckier.
        low, high = wilson(share, 1 / (1 / effective + 1 / unseen))
        too_good = sum(weight * cell.optimism for weight, cell in weighed) / weights
        share, low = max(0.0, share - too_good), max(0.0, low - too_good)
        share, low, high = self.correction.interval(share, low, high)
        right = sum(cell.right for cell in self._cells.values())
        looked_at = {night for (_, night, _), cell in self._cells.items() if cell.audited}
        unmeasured = sum(
            cell.unseen for (_, night, _), cell in self._cells.items() if night not in looked_at
        )
        return Precision(unseen, audited, right, share, low, high, self.undecided, unmeasured)

    def _weighed(self) -> list[tuple[float, _Cell]]:
        """Each cell with audited objects, with how many unseen each of these stands for."""
        drawn = self._drawn_weights()
        in_band: Counter[str] = Counter()
        stand_for: defaultdict[str, float] = defaultdict(float)
        for (stratum, night, band), cell in self._cells.items():
            in_band[band] += cell.unseen
            stand_for[band] += cell.audited * drawn[stratum, night]
        by_band, by_draw = [], []
        for (stratum, night, band), cell in self._cells.items():
            if cell.audited and (weight := drawn[stratum, night]):
                by_draw.append((weight, cell))
                if in_band[band]:
                    by_band.append((weight * in_band[band] / stand_for[band], cell))
        # Where nothing alike was looked at, what was tells of the others, too.
        return by_band or by_draw or [(1.0, cell) for cell in self._cells.values() if cell.audited]

    def _drawn_weights(self) -> dict[tuple[str, str], float]:
        """How many unseen an audited object stands for, by stratum and night, as it was drawn."""
        strata: defaultdict[str, defaultdict[str, _Cell]] = defaultdict(lambda: defaultdict(_Cell))
        for (stratum, night, _), cell in self._cells.items():
            strata[stratum][night].unseen += cell.unseen
            strata[stratum][night].audited += cell.audited
        return {
            (stratum, night): weight
            for stratum, nights in strata.items()
            for night, weight in zip(nights, _of_stratum(nights.values()), strict=True)
        }


def _of_stratum(nights: Collection[_Cell]) -> list[float]:
    """Of a stratum's nights, how many unseen each audited object of theirs stands for.

    Nights without any are taken to be like the others of the stratum.
    """
    unseen = sum(cell.unseen for cell in nights)
    audited = sum(cell.audited for cell in nights)
    of_known = sum(cell.unseen for cell in nights if cell.audited)
    if not audited:
        return [0.0] * len(nights)
    if not of_known:
        return [unseen / audited] * len(nights)
    of_each = unseen / of_known
    return [of_each * cell.unseen / cell.audited if cell.audited else 0.0 for cell in nights]


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


class _Object(NamedTuple):
    """An object that is in, or was drawn; `right` and `optimism` are of those that were audited."""

    stratum: str
    night: str
    calibration: str
    probability: float
    right: bool = False
    optimism: float = 0.0


def measure(
    unseen: Iterable[Decision],
    sample: Iterable[Decision],
    verdicts: Mapping[str, Verdict],
    items: Mapping[str, ReviewItem],
    spelled: Callable[[str], str],
    night_of: Mapping[str, str],
    correction: Correction | None = None,
    undecided: Collection[str] = (),
    held_out: Mapping[str, HeldOut] = MappingProxyType({}),
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
        held_out: What calibrations say of what they learned from, by their ids.
    """
    nobody_saw: defaultdict[str, list[_Object]] = defaultdict(list)
    audited: defaultdict[str, list[_Object]] = defaultdict(list)
    puzzling: Counter[str] = Counter()

    def place(decision: Decision) -> tuple[str, _Object]:
        """Its category, and where it counts."""
        category = spelled(decision.category) if decision.category else ""
        calibration, night = decision.calibration, night_of.get(decision.scene_id, "")
        said = held_out.get(calibration, NOTHING_LEARNED).said(decision)
        return category, _Object(f"{calibration}|{category}", night, calibration, said)

    # In one order, whatever the caller's: sums of floats depend on it, and the manifest holds them.
    for decision in sorted(unseen, key=lambda d: d.region_id):
        category, its = place(decision)
        nobody_saw[category].append(its)
    for decision in sorted(sample, key=lambda d: d.region_id):
        category, its = place(decision)
        if decision.region_id in verdicts:
            right = is_right(verdicts[decision.region_id], category, items, spelled)
            learned = held_out.get(decision.calibration, NOTHING_LEARNED)
            audited[category].append(
                its._replace(right=right, optimism=learned.optimism_of(decision))
            )
        elif decision.region_id in undecided:
            puzzling[category] += 1

    def of(categories: Collection[str]) -> Precision | None:
        audit = Audit(correction or Correction(), sum(puzzling[name] for name in categories))
        looked_at = [each for name in categories for each in audited[name]]
        band = _bands(looked_at)
        for each in (each for name in categories for each in nobody_saw[name]):
            audit.add_unseen(each.stratum, each.night, band(each))
        for each in looked_at:
            audit.add_audited(each.stratum, each.night, each.right, band(each), each.optimism)
        return audit.precision()

    everything = of(sorted({*nobody_saw, *audited, *puzzling}))
    enough = sorted(name for name, looked_at in audited.items() if len(looked_at) >= _ENOUGH)
    found = {name: of([name]) for name in enough}
    return everything, {name: each for name, each in found.items() if each}


def _bands(audited: Iterable[_Object]) -> Callable[[_Object], str]:
    """What tells the band of an object: each holds as many of a calibration's audited ones."""
    said: defaultdict[str, list[float]] = defaultdict(list)
    for each in audited:
        said[each.calibration].append(each.probability)
    edges = {}
    for calibration, probabilities in said.items():
        count = max(1, min(_BANDS, len(probabilities) // _OF_BAND))
        edges[calibration] = np.quantile(probabilities, np.arange(1, count) / count).tolist()

    def band(each: _Object) -> str:
        place = bisect_right(edges.get(each.calibration, ()), each.probability)
        return f"{each.calibration}|{place}"

    return band
