"""The mix of categories on new scenes and on the others, as the engine decides them."""

from collections import Counter
from collections.abc import Collection

from lae_tasks.config import Config
from lae_tasks.contracts import Outcome
from lae_tasks.releases.dataset import Dataset
from lae_tasks.state import State


def class_mixes(
    dataset: Dataset, state: State, config: Config, new: Collection[str]
) -> tuple[Counter[str], Counter[str]] | None:
    """Regions that are not rejected, by category, on old scenes and on new ones.

    As the engine decides them, accepted or in doubt, whatever stewards say: they have looked at old
    scenes for longer, and what they add to these would look like a shift.

    Args:
        dataset: What is to be released.
        state: What it was made of.
        config: The settings.
        new: Ids of the scenes that the parent lacks.

    Returns:
        None without new scenes.
    """
    if not new:
        return None
    old = {image.scene_id for image in dataset.images}.difference(new)
    mixes: tuple[Counter[str], Counter[str]] = Counter(), Counter()
    for decision in state.decisions.values():
        is_new = decision.scene_id in new
        if decision.outcome is not Outcome.REJECT and (is_new or decision.scene_id in old):
            mixes[is_new][config.vocabulary.spelled(decision.category or "")] += 1
    return mixes
