"""Who was right: the steward's category and a box like theirs."""

import pytest

from lae_tasks.contracts import BoxPx, VerdictAction
from lae_tasks.naming.vocabulary import Vocabulary
from lae_tasks.trust.judgements import is_right
from tests.records import make_decision, make_region
from tests.unit.stages.test_calibrate import judge

SPELLED = Vocabulary.model_validate([{"name": "ship", "synonyms": ["boat"]}]).spelled
REGION = make_region(bbox_xyxy_px=(0, 0, 20, 10))


@pytest.mark.parametrize(
    ("action", "said", "box", "now", "right"),
    [
        (VerdictAction.ACCEPT, "ship", None, "ship", True),
        (VerdictAction.REJECT, None, None, "ship", False),
        (VerdictAction.RELABEL, "car", None, "ship", False),
        # The night ran again and says now what the steward said.
        (VerdictAction.RELABEL, "car", None, "car", True),
        (VerdictAction.ACCEPT, "ship", None, "car", False),
        (VerdictAction.ACCEPT, "ship", None, None, False),
        (VerdictAction.RELABEL, "boat", None, "ship", True),
        (VerdictAction.ADJUST, "ship", (0, 0, 20, 12), "ship", True),
        (VerdictAction.ADJUST, "ship", (0, 0, 40, 11), "ship", False),
    ],
)
def test_the_engine_was_right_or_not(
    action: VerdictAction, said: str | None, box: BoxPx | None, now: str | None, right: bool
) -> None:
    item, verdict = judge(REGION, make_decision(REGION), action, box)
    verdict = verdict.model_copy(update={"category": said})
    assert is_right(verdict, now, {item.record_id: item}, SPELLED) is right


def test_without_the_box_that_was_sent_an_adjustment_is_taken_for_a_mistake() -> None:
    _, verdict = judge(REGION, make_decision(REGION), VerdictAction.ADJUST)
    assert not is_right(verdict, "ship", {}, SPELLED)
    _, verdict = judge(REGION, make_decision(REGION), VerdictAction.ACCEPT)
    assert is_right(verdict, "ship", {}, SPELLED)
