"""What a release must reach beside being sound: how right it is, and that nothing has shifted.

Each gate is an expectation of the validation report. A gate that is switched off, or that lacks
what it takes to be checked, says so and holds nobody up.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from lae_tasks.config import Config, ReleaseConfig
from lae_tasks.releases.drift import FEWEST, baseline_of
from lae_tasks.releases.manifest import DriftBaseline, ReleaseManifest
from lae_tasks.releases.statement import Statement

#: Regions that two stewards must have decided as planned before alpha says anything.
_PAIRS = 30
#: Regions that both sides must have for their mixes of categories to be compared.
_REGIONS = 200


@dataclass(frozen=True)
class Gate:
    """One figure with what is asked of it.

    Attributes:
        name: Column of the report.
        rule: What is asked.
        value: The figure; None if there is none to be checked.
        says: The figures, and what to do if they do not suffice.
        low: The least that passes; None for no limit.
        high: The most.
        only_warns: The release is published all the same.
    """

    name: str
    rule: str
    value: float | None
    says: str
    low: float | None = None
    high: float | None = None
    only_warns: bool = False

    @property
    def passes(self) -> bool:
        """Whether it holds nobody up."""
        low, high = self.low, self.high
        if self.value is None:
            return True
        return (low is None or self.value >= low) and (high is None or self.value <= high)


def make_gates(
    config: Config,
    statement: Statement,
    mixes: tuple[Mapping[str, int], Mapping[str, int]] | None,
    parent: ReleaseManifest | None,
    removed: int = 0,
) -> tuple[Gate, ...]:
    """The gates of a release.

    Args:
        config: The settings.
        statement: What it states of itself.
        mixes: Regions of each category on the scenes that the parent has, and on those that it
            lacks, as the engine decides both now; None if there are no new scenes.
        parent: The release before.
        removed: Objects of the parent that are gone.
    """
    gates = (
        _precision(config.release, statement),
        _agreement(config.release, statement),
        _class_shift(config.release, mixes, parent),
        _drift(config, statement, baseline_of(parent)),
        _removed(config.release, removed, parent),
    )
    warn = config.release.only_warn
    return tuple(replace(gate, only_warns=gate.name in warn) for gate in gates)


def _precision(config: ReleaseConfig, statement: Statement) -> Gate:
    name, low = "precision_low", config.min_precision_low
    if low is None:
        return Gate(name, "is right enough", None, _off("min_precision_low"))
    whole = statement.whole
    value = whole.low if whole else 0.0
    if whole is None:
        measured = "the precision is not measured yet: nothing that was drawn at random is decided"
    elif whole.seen and statement.steward_error is None:
        value = 0.0
        measured = (
            f"{whole.seen} of {whole.objects} objects are as right as the stewards who decided "
            "them, and too few second looks tell how right these are"
        )
    else:
        measured = f"precision {whole.precision:.3f} ({whole.low:.3f} to {whole.high:.3f})"
    says = (
        f"{measured}, and release.min_precision_low asks for {low:g} at the lower end; let "
        "stewards decide more of what waits, raise route.target_precision, or lower that setting"
    )
    return Gate(name, f"is right in {low:g} at least", value, says, low=low)


def _agreement(config: ReleaseConfig, statement: Statement) -> Gate:
    name, low, found = "agreement", config.min_agreement, statement.agreement
    if low is None:
        return Gate(name, "stewards agree enough", None, _off("min_agreement"))
    rule = f"stewards agree with an alpha of {low:g} at least"
    if found is None or found.regions < _PAIRS or found.alpha is None:
        pairs = found.regions if found else 0
        short = f"{pairs} regions that were planned for two stewards have both, it takes {_PAIRS}"
        same = "all say one and the same category"
        return Gate(name, rule, None, f"not checked: {short if pairs < _PAIRS else same}")
    says = (
        f"alpha is {found.alpha:.3f} over {found.regions} regions that were planned for two "
        f"stewards, who differ on {found.differ}, and release.min_agreement asks for {low:g}; look "
        "at `lae agreement`, settle with the stewards what they read differently, or lower that "
        "setting"
    )
    return Gate(name, rule, found.alpha, says, low=low)


def _class_shift(
    config: ReleaseConfig,
    mixes: tuple[Mapping[str, int], Mapping[str, int]] | None,
    parent: ReleaseManifest | None,
) -> Gate:
    # Old scenes as they are now, not as the parent has them: a new calibration and a vocabulary
    # that is spelled anew change both sides alike.
    name, high = "class_shift", config.max_class_shift
    if high is None:
        return Gate(name, "the mix of categories stays", None, _off("max_class_shift"))
    rule = f"the mix of categories on new scenes is {high:g} at most away from that on the others"
    if parent is None or mixes is None:
        lacks = f"no scene is new since {parent.version}" if parent else "there is no parent"
        return Gate(name, rule, None, f"not checked: {lacks}")
    before, new = mixes
    n, m = sum(before.values()), sum(new.values())
    if min(n, m) < _REGIONS:
        short = f"{m} regions on new scenes beside {n} on those of {parent.version}"
        return Gate(name, rule, None, f"not checked: {short}, it takes {_REGIONS} of both")
    shift = class_shift(before, new)
    moved = {key: new.get(key, 0) / m - before.get(key, 0) / n for key in [*before, *new]}
    most = max(sorted(moved), key=lambda key: abs(moved[key]))
    says = (
        f"the mix of {m} regions on new scenes is {shift:.3f} away from that of {n} on those of "
        f"{parent.version}, most by {most!r} ({before.get(most, 0) / n:.3f} to "
        f"{new.get(most, 0) / m:.3f}), and release.max_class_shift allows {high:g}; look at the "
        "new scenes, and if they do show other things, raise that setting or set it to null"
    )
    return Gate(name, rule, shift, says, high=high)


def class_shift(before: Mapping[str, int], after: Mapping[str, int]) -> float:
    """How far two mixes are apart beyond what chance makes of one mix; in [0, 1].

    Half the sum of the differences of shares (total variation distance), less what it would be
    expected to be if both were drawn from one mix: of a normal difference of standard deviation
    `s` the mean size is `s sqrt(2 / pi)`.
    """
    n, m = sum(before.values()), sum(after.values())
    distance = chance = 0.0
    for name in dict.fromkeys([*before, *after]):
        one, other = before.get(name, 0), after.get(name, 0)
        distance += abs(one / n - other / m) / 2
        share = (one + other) / (n + m)
        chance += math.sqrt(share * (1 - share) * (1 / n + 1 / m) / (2 * math.pi))
    return max(0.0, distance - chance)


def _drift(config: Config, statement: Statement, stated: DriftBaseline | None) -> Gate:
    name, target = "drift", config.route.target_precision
    if not config.release.refuse_drift:
        return Gate(name, "is no worse than was stated", None, _off("refuse_drift"))
    rule = (
        "what was drawn and looked at of late is no worse than an earlier release states, or is as "
        f"right as route.target_precision asks for ({target:g})"
    )
    fresh = statement.fresh
    if stated is None:
        return Gate(name, rule, None, "not checked: no earlier release states a precision")
    if fresh is None or fresh.audited < FEWEST:
        short = f"{fresh.audited if fresh else 0} objects were drawn and looked at"
        lacks = f"{short} since {stated.version}, it takes {FEWEST}"
        return Gate(name, rule, None, f"not checked: {lacks}")
    says = (
        f"{fresh.right} of {fresh.audited} objects that were drawn and looked at since "
        f"{stated.version} were right: precision {fresh.precision:.3f} ({fresh.low:.3f} to "
        f"{fresh.high:.3f}), where {stated.version} states {stated.precision:.3f} "
        f"({stated.low:.3f} to {stated.high:.3f}) and route.target_precision asks for {target:g}; "
        "look at what stewards rejected of late, and at models and scenes that are new; to publish "
        "knowingly, set release.refuse_drift to false"
    )
    # Worse beyond chance: not even the upper end reaches the lower one of then. What sank to the
    # target did so as told: with more verdicts, calibrations accept from lower probabilities on.
    return Gate(name, rule, fresh.high, says, low=min(stated.low, target))


def _removed(config: ReleaseConfig, removed: int, parent: ReleaseManifest | None) -> Gate:
    name, high = "removed", config.max_removed
    if high is None:
        return Gate(name, "keeps the parent's objects", None, _off("max_removed"))
    rule = f"{high:g} of the parent's objects are gone at most"
    before = parent.counts.get("objects", 0) if parent else 0
    if parent is None or not before:
        return Gate(name, rule, None, "not checked: there is no parent with objects")
    says = (
        f"{removed} of {before} objects of {parent.version} are gone, and release.max_removed "
        f"allows a share of {high:g}; look at `lae rules` and `lae diff`, and if that is meant, "
        "raise that setting or set it to null"
    )
    return Gate(name, rule, removed / before, says, high=high)


def _off(setting: str) -> str:
    return f"not asked for (release.{setting})"
