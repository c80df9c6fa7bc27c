"""What `evaluation.json` records: good enough, and of the committed models and settings."""

import json
from collections.abc import Sequence

import numpy as np
import pytest

from demo.evaluate_models import MODELS, SCENES, checksums, demo_config, targets, used_settings
from demo.naming import name_crops
from demo.train.data import HELD_OUT_SEED
from lae_tasks.backends.protocols import Image, Reply
from lae_tasks.config import ClassifyConfig

FIGURES = json.loads((MODELS / "evaluation.json").read_text())
AGAIN = "measure again: python -m demo.evaluate_models"


@pytest.mark.parametrize(
    ("value", "target"), [pytest.param(*rest, id=label) for label, *rest in targets(FIGURES)]
)
def test_a_figure_reaches_its_target(value: float | None, target: float) -> None:
    assert value is not None
    assert value >= target


def test_the_committed_models_were_measured() -> None:
    assert FIGURES["sha256"] == checksums(MODELS), AGAIN
    weights = {path.parent.name for path in MODELS.glob("*/*.safetensors")}
    assert weights == {"sam", "lvlm", "clip"}


def test_they_were_measured_with_the_demos_settings() -> None:
    assert FIGURES["settings"] == used_settings(demo_config(MODELS)), AGAIN


def test_all_held_out_scenes_were_measured() -> None:
    assert FIGURES["seeds"] == [HELD_OUT_SEED, HELD_OUT_SEED + SCENES - 1], AGAIN


class _Mumbler:
    revision = "mumbler"

    def reply(self, crops: Sequence[Image], prompt: str) -> list[Reply]:
        return [Reply("no idea", (7,), (0.5,)) for _ in crops]


def test_a_reply_that_cannot_be_read_is_not_unrecognized() -> None:
    [naming] = name_crops(_Mumbler(), ClassifyConfig(), [np.zeros((8, 8, 3), np.uint8)])
    assert not naming.understood
    assert not naming.unrecognized
    assert naming.category is None
