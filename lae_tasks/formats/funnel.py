"""What came in, what is left of it, and where the rest went."""

from collections import Counter
from dataclasses import dataclass

from lae_tasks.contracts import Outcome
from lae_tasks.formats.figures import Objects
from lae_tasks.releases.dataset import Dataset
from lae_tasks.review.verdicts import fold_verdicts
from lae_tasks.state import State

_BY_A_RULE = "rejected by a rule"
_WAITS = "waiting for a steward"


@dataclass(frozen=True)
class Funnel:
    """The way of a release's objects.

    Attributes:
        steps: What there was at each step, in their order; steps of which nothing is known are
            not here.
        kept: What is in the release, by who decided it.
        left_out: What is not, by reason, most frequent first.
    """

    steps: dict[str, int]
    kept: dict[str, int]
    left_out: dict[str, int]

    @property
    def most(self) -> int:
        """The largest number of `kept` and `left_out`."""
        return max([*self.kept.values(), *self.left_out.values(), 1])


def make_funnel(dataset: Dataset, objects: Objects, state: State) -> Funnel:
    """Counts a state by what became of it in a dataset.

    Args:
        dataset: The release.
        objects: Its objects.
        state: What it was made of.
    """
    decided = Counter(decision.outcome for decision in state.decisions.values())
    steps = {
        "scenes": len({image.scene_id for image in dataset.images}),
        "tiles": len(state.tiles),
        "regions found": len(state.regions),
        "named": sum(label.category_said is not None for label in state.labels.values()),
        "accepted by the engine": decided[Outcome.ACCEPT],
        "objects in the release": len(objects.image),
    }
    return Funnel(
        steps={name: n for name, n in steps.items() if n},
        kept=_kept(objects, state),
        left_out=_left_out(dataset, state),
    )


def _kept(objects: Objects, state: State) -> dict[str, int]:
    by_steward = objects.region_id.filter(objects.by_steward).to_pylist()
    drawn = sum(region_id not in state.regions for region_id in by_steward)
    kept = {
        "decided by the engine alone": len(objects.image) - len(by_steward),
        "confirmed or corrected by a steward": len(by_steward) - drawn,
        "drawn by a steward": drawn,
    }
    return {name: n for name, n in kept.items() if n}


def _left_out(dataset: Dataset, state: State) -> dict[str, int]:
    """By reason; what rules rejected, by rule."""
    counts = Counter(dataset.left_out)
    judged = fold_verdicts(state.verdicts.values()).keys()
    rules = Counter(
        f"rejected by rule {decision.rule}"
        for region_id, decision in state.decisions.items()
        if decision.outcome is Outcome.REJECT
        and region_id in state.regions
        and region_id not in judged
    )
    if rules.total() <= counts[_BY_A_RULE]:
        counts[_BY_A_RULE] -= rules.total()
        counts += rules
    # What waits comes first: it may still come in.
    order = sorted((name for name in counts if counts[name]), key=lambda n: (-counts[n], n))
    order.sort(key=lambda name: name != _WAITS)
    return {name: counts[name] for name in order}
