"""Which regions with a verdict are a random sample, and of what."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from lae_tasks.config import RouteConfig
from lae_tasks.contracts import Decision, Outcome, Purpose, ReviewItem
from lae_tasks.runner import iter_manifests
from lae_tasks.storage import Storage
from lae_tasks.tables import read_table
from lae_tasks.trust.records import Calibration, Judgement

#: Where calibrations are filed: of each manifest the judgements, then the calibration.
CALIBRATE = "calibrate"


def asked_for(items: Iterable[ReviewItem]) -> dict[str, set[Purpose]]:
    """Why stewards were asked about each region, by its id."""
    found: defaultdict[str, set[Purpose]] = defaultdict(set)
    for item in items:
        found[item.region_id].add(item.purpose)
    return dict(found)


def is_random(drawn: bool, purposes: Collection[Purpose]) -> bool:
    """Whether a region that was looked at speaks for others.

    What was drawn once stays so, though less is drawn now. What is drawn now, but was looked at for
    its worth, speaks for nothing but itself.

    Args:
        drawn: Whether it is drawn now.
        purposes: Why stewards were asked about it.
    """
    return Purpose.DRAWN in purposes or (drawn and Purpose.DOUBT not in purposes)


def by_probability(config: RouteConfig) -> frozenset[str]:
    """The rules whose regions a calibration accepts, or not, by their probability alone.

    None if the list has no rule `uncertain`, which looks at it.
    """
    if "uncertain" not in {rule.rule for rule in config.rules}:
        return frozenset()
    until = (rule.rule for rule in config.rules if rule.until_calibrated)
    return frozenset({"confident", "uncertain", *until})


@dataclass(frozen=True)
class HeldOut:
    """What a calibration says of the regions that it learned from, as if it had not.

    Attributes:
        accept_at: From which probability on it accepts.
        optimism: How much more of what it accepts is right among these regions than among others.
        probability: Of each of the regions, by the cross validation.
    """

    accept_at: float
    probability: Mapping[str, float]
    optimism: float = 0.0

    def accepts(self, decision: Decision, rules: Collection[str]) -> bool:
        """Whether a region would be accepted if its own verdict had not taught anything.

        Args:
            decision: On the region, by the calibration.
            rules: Those that go by the probability alone.
        """
        if decision.region_id not in self.probability or decision.rule not in rules:
            return decision.outcome is Outcome.ACCEPT
        return self.said(decision) >= self.accept_at

    def said(self, decision: Decision) -> float:
        """P(right) of a region, as if its own verdict had not taught anything."""
        return self.probability.get(decision.region_id, decision.confidence)

    def optimism_of(self, decision: Decision) -> float:
        """How much more likely a region is right than one that taught nothing."""
        return self.optimism if decision.region_id in self.probability else 0.0


#: Of decisions that no calibration made.
NOTHING_LEARNED = HeldOut(0.0, {})


def read_calibrations(
    store: Storage, used: Collection[str]
) -> tuple[list[Calibration], dict[str, HeldOut]]:
    """The calibrations of these ids, and what they say of what they learned from, by their ids."""
    calibrations: list[Calibration] = []
    held_out: dict[str, HeldOut] = {}
    for manifest in iter_manifests(store, CALIBRATE):
        for calibration in read_table(store, manifest.outputs[1], Calibration):
            if calibration.calibration_id not in used:
                continue
            calibrations.append(calibration)
            judgements = read_table(store, manifest.outputs[0], Judgement)
            probability = {j.region_id: j.probability for j in judgements}
            held_out[calibration.calibration_id] = HeldOut(
                calibration.accept_at,
                {key: each for key, each in probability.items() if each is not None},
                calibration.optimism,
            )
    return calibrations, held_out
