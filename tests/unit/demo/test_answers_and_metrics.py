import numpy as np
import pytest

from demo.metrics import auroc, mask_overlaps, mean
from demo.train.answers import answer, answer_without_number
from lae_tasks.naming.names import canonical_form
from lae_tasks.naming.prompt_template import load_template
from lae_tasks.naming.replies import parse_reply


def test_prompt_is_the_papers() -> None:
    assert load_template("lae_paper").text == (
        'Tell me the possible object category in the remote sensing image by returning a "object '
        'category" phrase surrounded by quotation marks and given a likelihood from 0 to 1 '
        '"object category" with likelihood, if it is not recognized, output "Unrecognized" and '
        "providing reasoning details."
    )


def test_the_engine_reads_the_answers() -> None:
    said = answer("storage tank", 0.93)
    assert said == '"Storage tank" with a likelihood of 0.93'
    assert said.startswith(answer_without_number("storage tank"))
    parsed = parse_reply(said)
    assert canonical_form(str(parsed.category)) == "storage tank"
    assert parsed.likelihood == 0.93
    assert parse_reply(answer("tree")).category is None


def test_auroc() -> None:
    assert auroc([0.9, 0.8, 0.1], [True, True, False]) == 1
    assert auroc([0.5, 0.5], [True, False]) == 0.5
    assert auroc([0.1, 0.9], [True, False]) == 0
    assert auroc([0.1, 0.9], [True, True]) is None


def test_mean_of_nothing_is_none() -> None:
    assert mean([]) is None
    assert mean([True, False]) == pytest.approx(0.5)


def test_overlaps_without_masks_have_a_shape() -> None:
    assert mask_overlaps([], [{"size": [2, 2], "counts": "04"}]).shape == (0, 1)
    assert np.array_equal(mask_overlaps([], []), np.zeros((0, 0)))
