"""How far stewards agree who looked at the same regions.

Label Studio's open-source edition does not tell. Two stewards agree on a region if both reject it,
or both give it the same category; boxes are not compared.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from lae_tasks.contracts import Verdict, VerdictAction
from lae_tasks.review.verdicts import current_verdicts

#: What a steward says of a region that they reject; no category has this name.
_NOTHING = ""


@dataclass(frozen=True)
class Agreement:
    """What is known of it.

    Attributes:
        regions: Regions that two stewards or more have decided.
        differ: Of these, those on which not all say the same.
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
    for verdict in sorted(current_verdicts(verdicts), key=lambda v: (v.decided_at, v.verdict_id)):
        if verdict.action is not VerdictAction.ADD:
            found[verdict.region_id][verdict.annotator] = verdict.category or _NOTHING
    return dict(found)


def conflicts(verdicts: Iterable[Verdict]) -> set[str]:
    """Regions on which no opinion has more stewards than each other one: a third has to look."""
    found = set()
    for region_id, said in opinions(verdicts).items():
        counts = sorted(np.unique([*said.values()], return_counts=True)[1].tolist())
        if len(counts) > 1 and counts[-1] == counts[-2]:
            found.add(region_id)
    return found


def agreement(verdicts: Iterable[Verdict], enough: int = 20) -> Agreement | None:
    """How far stewards agree; None where no two looked at the same region.

    Args:
        verdicts: The whole history.
        enough: Regions that two stewards must have in common to have a kappa.
    """
    shared = {region: said for region, said in opinions(verdicts).items() if len(said) > 1}
    if not shared:
        return None
    names = sorted({name for said in shared.values() for name in said.values()})
    place = {name: number for number, name in enumerate(names)}
    counts = np.zeros((len(shared), len(names)), dtype=np.int64)
    for row, said in enumerate(shared.values()):
        for name in said.values():
            counts[row, place[name]] += 1
    return Agreement(
        regions=len(shared),
        differ=int(((counts > 0).sum(axis=1) > 1).sum()),
        alpha=_alpha(counts),
        kappa=_kappa(shared, enough),
    )


def _alpha(counts: npt.NDArray[np.int64]) -> float | None:
    if counts.shape[1] < 2:
        return None
    import krippendorff

    return float(krippendorff.alpha(value_counts=counts, level_of_measurement="nominal"))


def _kappa(shared: Mapping[str, Mapping[str, str]], enough: int) -> dict[tuple[str, str], float]:
    from sklearn.metrics import cohen_kappa_score

    pairs: defaultdict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for said in shared.values():
        for one, other in combinations(sorted(said), 2):
            pairs[one, other].append((said[one], said[other]))
    return {
        names: float(cohen_kappa_score(*zip(*both, strict=True)))
        for names, both in sorted(pairs.items())
        if len(both) >= enough and len({name for pair in both for name in pair}) > 1
    }
