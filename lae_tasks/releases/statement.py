"""What a release states of its own quality, from what stewards have looked at."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from lae_tasks.config import Config
from lae_tasks.contracts import Verdict, VerdictAction
from lae_tasks.releases.assemble import current_objects
from lae_tasks.releases.dataset import STEWARD, Dataset
from lae_tasks.releases.manifest import (
    AgreementEntry,
    PrecisionEntry,
    RecallEntry,
    ReliabilityEntry,
    WholeEntry,
)
from lae_tasks.review.verdicts import current_verdicts, fold_verdicts, respelled
from lae_tasks.state import State
from lae_tasks.storage import Storage
from lae_tasks.trust.agreement import agreement_of, conflicts, planned_pairs
from lae_tasks.trust.audit import CONFIDENCE, Precision, measure, wilson
from lae_tasks.trust.judgements import is_right
from lae_tasks.trust.mistakes import differing, error_from, error_of
from lae_tasks.trust.recall import checked_tiles, recall_of, weights_of
from lae_tasks.trust.records import Calibration
from lae_tasks.trust.sample import (
    NOTHING_LEARNED,
    HeldOut,
    asked_for,
    by_probability,
    is_random,
    read_calibrations,
)
from lae_tasks.trust.seen import chances_of_mistake, correction, read_looks, whole_precision


@dataclass(frozen=True)
class Statement:
    """The manifest's entries; None, or nothing, where too little is known.

    Attributes:
        fresh: The precision of the objects that nobody has looked at, by those alone that were
            drawn and looked at of late: it tells whether the engine has become worse.
    """

    precision: tuple[PrecisionEntry, ...] = ()
    whole: WholeEntry | None = None
    recall: RecallEntry | None = None
    agreement: AgreementEntry | None = None
    steward_error: float | None = None
    reliability: ReliabilityEntry | None = None
    fresh: Precision | None = None


def make_statement(
    dataset: Dataset, state: State, config: Config, store: Storage, since: Collection[str]
) -> Statement:
    """What can be said of a dataset.

    Args:
        dataset: What is to be released.
        state: What it was made of.
        config: The settings.
        store: Where calibrations are.
        since: Ids of the regions that are looked at of late (`releases.drift`).
    """
    spelled, decisions, items = config.vocabulary.spelled, state.decisions, state.review_items
    verdicts = respelled(state.verdicts.values(), spelled)
    held = fold_verdicts(verdicts)
    by_steward = {each.region_id: each.source == STEWARD for each in dataset.annotations}
    unseen = {region_id for region_id, decided in by_steward.items() if not decided}
    pairs = planned_pairs(verdicts, items.values())
    errors = _steward_errors(*differing(pairs))
    looks = read_looks(verdicts, decisions, items, spelled)
    calibrations, held_out = read_calibrations(store, {d.calibration for d in decisions.values()})
    sample = _sample(state, config, held_out)
    undecided = {
        verdict.region_id
        for verdict in current_verdicts(verdicts)
        if verdict.action is VerdictAction.UNDECIDED and verdict.task_key not in state.tile_checks
    }

    def audit(regions: Collection[str]) -> tuple[Precision | None, dict[str, Precision]]:
        return measure(
            (decisions[region_id] for region_id in unseen),
            (decisions[region_id] for region_id in regions),
            held,
            items,
            spelled,
            state.night_of,
            # By its own looks: what is new has mostly not been looked at again yet.
            correction([looks[region_id] for region_id in looks.keys() & regions], errors),
            undecided,
            held_out,
        )

    of_unseen, by_category = audit(sample)
    fresh, _ = audit(sample & set(since))
    # What stewards decided: whether it is as the engine had it.
    decided = {
        region_id: region_id in decisions
        and is_right(verdict, decisions[region_id].category, items, spelled)
        for region_id, verdict in held.items()
    }
    mistaken = [chances_of_mistake(decided, looks, error) for error in errors or (0.0,) * 3]
    seen = sorted(by_steward.keys() - unseen)
    whole = whole_precision(
        len(unseen), of_unseen, *([each[region_id] for region_id in seen] for each in mistaken)
    )
    used = {decisions[region_id].calibration for region_id in unseen}
    newest = max(
        (each for each in calibrations if each.calibration_id in used),
        key=lambda c: (c.night, c.verdicts, c.calibration_id),
        default=None,
    )
    return Statement(
        precision=tuple(
            PrecisionEntry(category=category, confidence=CONFIDENCE, **asdict(each))
            for category, each in [(None, of_unseen), *by_category.items()]
            if each
        ),
        whole=WholeEntry(confidence=CONFIDENCE, **asdict(whole)) if whole else None,
        recall=_recall(state, verdicts, config, mistaken),
        agreement=_agreement(pairs, len(conflicts(verdicts))),
        steward_error=errors[0] if errors else None,
        reliability=_reliability(newest) if newest else None,
        fresh=fresh,
    )


def _steward_errors(differ: int, pairs: int) -> tuple[float, ...]:
    """The share of mistaken looks: as expected, at least and at most; empty if too little tells."""
    expected = error_of(differ, pairs)
    if expected is None:
        return ()
    return expected, *map(error_from, wilson(differ / pairs, pairs))


def _sample(state: State, config: Config, held_out: Mapping[str, HeldOut]) -> set[str]:
    """Ids of the accepted regions that were drawn at random."""
    rules, purposes = by_probability(config.route), asked_for(state.review_items.values())
    return {
        key
        for key, decision in state.decisions.items()
        if is_random(decision.drawn, purposes.get(key, ()))
        and held_out.get(decision.calibration, NOTHING_LEARNED).accepts(decision, rules)
    }


def _recall(
    state: State,
    verdicts: Iterable[Verdict],
    config: Config,
    mistaken: Sequence[Mapping[str, float]],
) -> RecallEntry | None:
    """From the tiles that were looked over, beside what would be in without that."""
    keys = {check.task_key for check in state.tile_checks.values()}
    scenes = {check.scene_id for check in state.tile_checks.values()}
    if not keys:
        return None
    state = replace(
        state,
        decisions={key: d for key, d in state.decisions.items() if d.scene_id in scenes},
        verdicts={each.verdict_id: each for each in verdicts if each.scene_id in scenes},
    )
    apart = {key: each for key, each in state.verdicts.items() if each.task_key not in keys}
    without = replace(state, verdicts=apart)
    objects = current_objects(without, config, Counter())
    spelled = config.vocabulary.spelled
    counted = [checked_tiles(state, objects, spelled, each) for each in mistaken]
    weights = weights_of(state, counted[0])
    found = recall_of(weights, *(list(each.values()) for each in counted))
    return RecallEntry(confidence=CONFIDENCE, **asdict(found)) if found else None


def _agreement(pairs: Mapping[str, Mapping[str, str]], waiting: int) -> AgreementEntry | None:
    found = agreement_of(pairs)
    if found is None:
        # Conflicts are told though nothing was planned for two.
        return AgreementEntry(regions=0, differ=0, open=waiting, alpha=None) if waiting else None
    return AgreementEntry(
        regions=found.regions, differ=found.differ, open=waiting, alpha=found.alpha
    )


def _reliability(calibration: Calibration) -> ReliabilityEntry:
    return ReliabilityEntry(
        calibration_id=calibration.calibration_id,
        night=calibration.night,
        said=calibration.bins_said,
        right=calibration.bins_right,
        count=calibration.bins_count,
        calibration_error=calibration.calibration_error,
    )
