"""Which regions a steward shall look at: those drawn at random, and what another look is worth."""

import hashlib
import math

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lae_tasks.routing.labelled import Candidates, Flags, Index, Numbers

#: The column of labels that `worth` looks at.
READS = ("clip_agrees",)

#: What a look is worth has these parts, each in [0, 1].
_CHANGE, _RARITY, _DISAGREEMENT = 0.7, 0.2, 0.1


def drawn(region_ids: pa.Array, strata: Index, share: float, seed: int) -> Flags:
    """A random sample, stratified: of each stratum its share, and at least one.

    It depends on seed, ids and strata only, so that a rerun draws the same; and a region that has
    changed its stratum is mostly drawn, or not, as before.

    Args:
        region_ids: Ids, (n,).
        strata: Of each region its stratum, (n,); -1 is never drawn.
        share: In [0, 1]; 0 draws nothing.
        seed: Another one draws another sample.
    """
    found = np.zeros(len(strata), dtype=bool)
    rows = np.flatnonzero(strata >= 0)
    if not share or not len(rows):
        return found
    begin = f"{seed}|".encode()
    names = region_ids.take(pa.array(rows)).cast(pa.binary()).to_pylist()
    ranks = np.array([hashlib.sha256(begin + name).digest()[:8] for name in names]).view(">u8")
    order = np.lexsort((ranks, strata[rows]))
    _, first, size = np.unique(strata[rows][order], return_index=True, return_counts=True)
    place = np.arange(len(rows)) - np.repeat(first, size)
    wanted = np.array([math.ceil(round(share * count, 9)) for count in size.tolist()])
    found[rows[order]] = place < np.repeat(wanted, size)
    return found


def strata(seen: Candidates, accepted: Flags, doubtful: Flags) -> Index:
    """Each accepted category is one, what is in doubt another; -1 where nothing is drawn."""
    found = np.full(len(seen.rows), -1, dtype=np.int32)
    found[accepted] = seen.category.index[accepted] + 1
    found[doubtful] = 0
    return found


def worth(seen: Candidates, accepted: Flags) -> Numbers:
    """What a look at each region is worth, (n,), in [0, 1].

    Mostly the chance that it changes the release: that what is accepted is wrong, and leaves it, or
    that what is not accepted is right, and enters it. A little more where the category is rare
    among the accepted or the vocabulary lacks it, and where CLIP disagrees with what was said.
    """
    chance = np.nan_to_num(seen.confidence, nan=0.5)
    change = np.where(accepted, 1 - chance, chance)
    counts = np.bincount(seen.category.index[accepted], minlength=len(seen.category.distinct) + 1)
    known = frozenset(seen.vocabulary.names)
    new = seen.category.where(lambda name: bool(known) and name not in known)
    rarity = np.where(new, 1.0, 1 / np.sqrt(1.0 + counts[seen.category.index]))
    disagreement: npt.NDArray[np.float64] = seen.rows.flags("clip_agrees", False).astype(float)
    found = _CHANGE * change + _RARITY * rarity + _DISAGREEMENT * disagreement
    return np.round(found, 4)
