"""How far stewards agree who looked at the same regions.

Label Studio's open-source edition does not tell. Two stewards agree on a region if both reject it,
or both give it the same category; boxes are not compared.

Only what was planned for two stewards tells, and of that the first two: another one is asked where
the first contradicts the engine, or two differ, and on such regions stewards differ more.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lae_tasks.contracts import ReviewItem, Verdict, VerdictAction
from lae_tasks.review.verdicts import current_verdicts, last_words

#: What a steward says of a region that they reject; no category has this name.
_NOTHING = ""


@dataclass(frozen=True)
class Agreement:
    """What is known of it.

    Attributes:
        regions: Regions that were planned for two stewards and that two have decided.
        differ: Of these, those on which the two differ.
        alpha: Krippendorff's alpha, nominal (K. Krippendorff, Content Analysis, 1980): 1 is full
            agreement, 0 what chance would give; None where all say one and the same category.
        kappa: Cohen's kappa (J. Cohen, 1960) of each two stewards with enough regions in common.
    """

    regions: int
    differ: int
    alpha: float | None
    kappa: Mapping[tuple[str, str], float]


def opinions(verdicts: Iterable[Verdict]) -> dict[str, dict[str, str]]:
    """What each steward says of each region: its category, or nothing; the last word of each."""
    found: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for region_id, words in last_words(verdicts).items():
        for who, verdict in words.items():
            if verdict.action is not VerdictAction.ADD:
                found[region_id][who] = verdict.category or _NOTHING
    return dict(found)


def planned_pairs(
    verdicts: Iterable[Verdict], items: Iterable[ReviewItem]
) -> dict[str, dict[str, str]]:
    """What two stewards say of each region that was planned for two.

    They are the first two who looked, and both have an opinion: where one of them cannot tell,
    whether another is asked may hang on what the other said. To send a tile again makes nobody the
    one who came last.

    Args:
        verdicts: The whole history.
        items: What was sent to stewards.
    """
    history = sorted(verdicts, key=lambda v: (v.decided_at, v.verdict_id))
    planned = {item.region_id for item in items if item.looks > 1}
    there = {(verdict.region_id, verdict.annotator) for verdict in current_verdicts(history)}
    looked: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for verdict in history:
        if verdict.region_id in planned and (verdict.region_id, verdict.annotator) in there:
            looked[verdict.region_id].setdefault(verdict.annotator)
    said, found = opinions(history), {}
    for region_id, names in looked.items():
        pair = [name for name in list(names)[:2] if name in said.get(region_id, ())]
        if len(pair) == 2:
            found[region_id] = {name: said[region_id][name] for name in pair}
    return found


def conflicts(verdicts: Iterable[Verdict]) -> set[str]:
    """Regions on which no opinion has more stewards than each other one: a third has to look.

    All regions count here, whatever was planned.
    """
    found = set()
    for region_id, said in opinions(verdicts).items():
        (_, most), *others = Counter(said.values()).most_common(2)
        if others and others[0][1] == most:
            found.add(region_id)
    return found


def agreement(
    verdicts: Iterable[Verdict], items: Iterable[ReviewItem], enough: int = 20
) -> Agreement | None:
    """How far stewards agree; None where no two have decided what was planned for two.

    Args:
        verdicts: The whole history.
        items: What was sent to stewards.
        enough: Regions that two stewards must have in common to have a kappa.
    """
    return agreement_of(planned_pairs(verdicts, items), enough)


def agreement_of(pairs: Mapping[str, Mapping[str, str]], enough: int = 20) -> Agreement | None:
    """The same, from what `planned_pairs` gives."""
    if not pairs:
        return None
    names = sorted({name for said in pairs.values() for name in said.values()})
    place = {name: number for number, name in enumerate(names)}
    counts = np.zeros((len(pairs), len(names)), dtype=np.int64)
    for row, said in enumerate(pairs.values()):
        for name in said.values():
            counts[row, place[name]] += 1
    return Agreement(
        regions=len(pairs),
        differ=int(((counts > 0).sum(axis=1) > 1).sum()),
        alpha=_alpha(counts),
        kappa=_kappa(pairs, enough),
    )


def _alpha(counts: npt.NDArray[np.int64]) -> float | None:
    if counts.shape[1] < 2:
        return None
    import krippendorff

    return float(krippendorff.alpha(value_counts=counts, level_of_measurement="nominal"))


def _kappa(pairs: Mapping[str, Mapping[str, str]], enough: int) -> dict[tuple[str, str], float]:
    from sklearn.metrics import cohen_kappa_score

    of_two: defaultdict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for said in pairs.values():
        one, other = sorted(said)
        of_two[one, other].append((said[one], said[other]))
    return {
        names: float(cohen_kappa_score(*zip(*both, strict=True)))
        for names, both in sorted(of_two.items())
        if len(both) >= enough and len({name for pair in both for name in pair}) > 1
    }
