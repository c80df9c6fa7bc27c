"""The rules that accept, doubt or reject a labelled region: each a name with its parameters.

A rule looks at all rows at once. `RouteConfig.rules` has them in their order; the first that holds
for a row decides.
"""

import difflib
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, get_args

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from lae_tasks.contracts import Outcome
from lae_tasks.naming.phrases import is_name

if TYPE_CHECKING:  # settings are read where no table is
    from lae_tasks.routing.labelled import Candidates

Flags = npt.NDArray[np.bool_]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Area = Annotated[float, Field(gt=0)]
ScoreName = Literal["likelihood_said", "token_confidence"]


class Rule(BaseModel, ABC):
    """Base of the rules.

    Attributes:
        rule: Its name.
        then: What becomes of a region that it holds for.
        until_calibrated: It holds only until there is a calibration, which weighs what it looks at.
        says: The reason, in words, with places for its parameters.
        reads: Columns of labels and regions that it looks at, beside those that are always read.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    says: ClassVar[str]
    reads: ClassVar[tuple[str, ...]] = ()

    rule: str
    then: Outcome
    until_calibrated: bool = False

    @abstractmethod
    def holds(self, seen: "Candidates") -> Flags:
        """Whether the rule holds, of each row; where what it looks at is not known, it does not."""

    @property
    def reason(self) -> str:
        """What it says of a row that it holds for, with its parameters."""
        return self.says.format(**dict(self))


class Unrecognized(Rule):
    """The model gave no name."""

    says = "the model did not recognize it"
    rule: Literal["unrecognized"] = "unrecognized"
    then: Literal[Outcome.REJECT, Outcome.REVIEW] = Outcome.REJECT

    def holds(self, seen: "Candidates") -> Flags:
        """Without a category, or with an empty one."""
        return ~seen.category.where(bool)


class NotACategory(Rule):
    """What was said is a sentence, a refusal, an address: `phrases.is_name`."""

    says = "what was said is no name of a thing, or has more than {max_words} words"
    rule: Literal["not_a_category"] = "not_a_category"
    then: Outcome = Outcome.REJECT
    max_words: Annotated[int, Field(gt=0)] = 8

    def holds(self, seen: "Candidates") -> Flags:
        """By the name as it was said."""
        return seen.rows.names("category_said").where(lambda n: not is_name(n, self.max_words))


class Blocked(Rule):
    """A name that the vocabulary blocks."""

    says = "the vocabulary blocks the name"
    rule: Literal["blocked"] = "blocked"
    then: Outcome = Outcome.REJECT

    def holds(self, seen: "Candidates") -> Flags:
        """By the canonical name."""
        return seen.category.where(seen.vocabulary.blocks)


class _ScoreBelow(Rule):
    score: ClassVar[ScoreName]
    then: Outcome = Outcome.REVIEW
    at: Share = 0.9

    def holds(self, seen: "Candidates") -> Flags:
        """Less than `at`."""
        return np.asarray(seen.rows.numbers(self.score) < self.at)


class LikelihoodBelow(_ScoreBelow):
    """The likelihood that the model gave in its reply is too low."""

    score = "likelihood_said"
    says = "likelihood as said is below {at:g}"
    reads = ("likelihood_said",)
    rule: Literal["likelihood_below"] = "likelihood_below"


class TokenConfidenceBelow(_ScoreBelow):
    """The probability of the name's tokens is too low."""

    score = "token_confidence"
    says = "token confidence is below {at:g}"
    reads = ("token_confidence",)
    rule: Literal["token_confidence_below"] = "token_confidence_below"


class Unscored(Rule):
    """A score is not known.

    Attributes:
        score: Which; `confidence` is the one that the decision has.
    """

    says = "{score} is not known"
    reads = ("likelihood_said", "token_confidence")
    rule: Literal["unscored"] = "unscored"
    then: Outcome = Outcome.REVIEW
    score: ScoreName | Literal["confidence"] = "confidence"

    def holds(self, seen: "Candidates") -> Flags:
        """Without the score."""
        by_decision = self.score == "confidence"
        return np.isnan(seen.confidence if by_decision else seen.rows.numbers(self.score))


class Uncertain(Rule):
    """Too few of its like were right.

    Attributes:
        at: What the decision's score has to reach until there is a calibration: the paper's rule.
    """

    says = "what verdicts say of its like is below the target, or without verdicts {at:g}"
    rule: Literal["uncertain"] = "uncertain"
    then: Outcome = Outcome.REVIEW
    at: Share = 0.9

    def holds(self, seen: "Candidates") -> Flags:
        """By P(right) and the calibration's threshold; without one, by the score."""
        calibration = seen.calibration
        if calibration is None:
            return np.asarray(seen.confidence < self.at)
        return ~seen.rows.imported & (seen.confidence < calibration.accept_at)


class ClipDisagrees(Rule):
    """CLIP's best name is neither what was said nor the category that it counts as.

    Nor is it above or below that category in the vocabulary.

    Attributes:
        min_score: CLIP agrees if it gives what was said more than this.
    """

    says = "CLIP has a better name, and gives what was said less than {min_score:g}"
    reads = ("clip_agrees", "clip_score_said")
    rule: Literal["clip_disagrees"] = "clip_disagrees"
    then: Outcome = Outcome.REVIEW
    min_score: Share = 1.0

    def holds(self, seen: "Candidates") -> Flags:
        """By CLIP's best name and its score of the name that was said."""
        best = seen.rows.name_lists("clip_categories").at(0)
        agrees = seen.category.where_both(best, seen.vocabulary.compatible)
        found = seen.rows.flags("clip_agrees", False) & ~agrees
        return found & ~(seen.rows.numbers("clip_score_said") >= self.min_score)


class Monochrome(Rule):
    """The crop has one shade only: water, shadow, cloud, a bare roof."""

    says = "the crop's grey values spread less than {min_std:g}"
    reads = ("crop_std",)
    rule: Literal["monochrome"] = "monochrome"
    then: Outcome = Outcome.REJECT
    min_std: Annotated[float, Field(ge=0)] = 2.0

    def holds(self, seen: "Candidates") -> Flags:
        """By the standard deviation of the crop's grey values."""
        return np.asarray(seen.rows.numbers("crop_std") < self.min_std)


class _Sized(Rule):
    @model_validator(mode="after")
    def _has_a_limit(self) -> "_Sized":
        if not self._limits():
            names = [name for name in type(self).model_fields if "_area_" in name]
            raise ValueError(f"give {' or '.join(names)}")
        return self

    def _limits(self) -> dict[str, float]:
        """The limits that are given, by their unit."""
        units = {name.rpartition("_")[2]: value for name, value in self if "_area_" in name}
        return {unit: value for unit, value in units.items() if value is not None}

    @property
    def reason(self) -> str:
        """What it says of a row that it holds for, with its parameters."""
        limits = " or ".join(f"{limit:g} {unit}" for unit, limit in self._limits().items())
        return f"{self.says} {limits}"


class TooSmall(_Sized):
    """The mask has too few pixels, or covers too little ground."""

    says = "its mask is smaller than"
    reads = ("area_px",)
    rule: Literal["too_small"] = "too_small"
    then: Outcome = Outcome.REJECT
    min_area_px: Area | None = None
    min_area_m2: Area | None = None

    def holds(self, seen: "Candidates") -> Flags:
        """Below any of its limits."""
        found = [seen.rows.area(unit) < limit for unit, limit in self._limits().items()]
        return np.asarray(np.logical_or.reduce(found))


class TooLarge(_Sized):
    """The mask has too many pixels, or covers too much ground."""

    says = "its mask is larger than"
    reads = ("area_px",)
    rule: Literal["too_large"] = "too_large"
    then: Outcome = Outcome.REJECT
    max_area_px: Area | None = None
    max_area_m2: Area | None = None

    def holds(self, seen: "Candidates") -> Flags:
        """Above any of its limits."""
        found = [seen.rows.area(unit) > limit for unit, limit in self._limits().items()]
        return np.asarray(np.logical_or.reduce(found))


class TooLong(Rule):
    """The box is too long for its width."""

    says = "its box is more than {max_aspect:g} times as long as it is wide"
    rule: Literal["too_long"] = "too_long"
    then: Outcome = Outcome.REJECT
    max_aspect: Annotated[float, Field(ge=1)] = 50.0

    def holds(self, seen: "Candidates") -> Flags:
        """By its longer side over its shorter one."""
        boxes = seen.rows.boxes_xyxy_px
        sides = boxes[:, 2:] - boxes[:, :2]
        return np.asarray(sides.max(axis=1) > self.max_aspect * sides.min(axis=1))


class WholeTile(Rule):
    """The mask is the tile rather than a thing on it."""

    says = "its mask is as large as {min_share:g} of its tile"
    reads = ("area_px",)
    rule: Literal["whole_tile"] = "whole_tile"
    then: Outcome = Outcome.REVIEW
    min_share: Annotated[float, Field(gt=0)] = 0.9

    def holds(self, seen: "Candidates") -> Flags:
        """By its area over that of its tile's window; joined of several tiles it may be above 1."""
        least = self.min_share * seen.rows.window_area_px()
        return np.asarray(seen.rows.numbers("area_px") >= least)


class Nodata(Rule):
    """Too much of the region lies where the image holds no data."""

    says = "more than {max_share:g} of it holds no data"
    reads = ("nodata_share",)
    rule: Literal["nodata"] = "nodata"
    then: Outcome = Outcome.REJECT
    max_share: Share = 0.5

    def holds(self, seen: "Candidates") -> Flags:
        """By the share of the region's pixels."""
        return np.asarray(seen.rows.numbers("nodata_share") > self.max_share)


class MaskDisagrees(Rule):
    """The mask is not what the imported box or point was about, as far as box or model tell."""

    says = "its mask fits what it was prompted by less than {min_prompt_iou:g}"
    reads = ("prompt_iou", "predicted_iou")
    rule: Literal["mask_disagrees"] = "mask_disagrees"
    then: Outcome = Outcome.REVIEW
    min_prompt_iou: Share = 0.5

    def holds(self, seen: "Candidates") -> Flags:
        """By the IoU with the box; of a point, by what the mask's model thinks of it."""
        fit = seen.rows.numbers("prompt_iou")
        fit = np.where(np.isnan(fit), seen.rows.numbers("predicted_iou"), fit)
        return seen.rows.imported & (fit < self.min_prompt_iou)


class Imported(Rule):
    """The region came with the name that its data set gave it."""

    says = "its data set has it"
    rule: Literal["imported"] = "imported"
    then: Outcome = Outcome.ACCEPT

    def holds(self, seen: "Candidates") -> Flags:
        """By the prompt."""
        return seen.rows.imported


class SeenInPart(Rule):
    """No tile has shown the rest of it."""

    says = "it reaches the border of its tiles, and no tile shows the rest"
    reads = ("seen_in_part",)
    rule: Literal["seen_in_part"] = "seen_in_part"
    then: Outcome = Outcome.REVIEW

    def holds(self, seen: "Candidates") -> Flags:
        """As segment found."""
        return seen.rows.flags("seen_in_part")


class NewCategory(Rule):
    """The vocabulary has names, and this is none of them."""

    says = "the vocabulary does not have the name"
    rule: Literal["new_category"] = "new_category"
    then: Outcome = Outcome.REVIEW

    def holds(self, seen: "Candidates") -> Flags:
        """By the canonical name."""
        known = frozenset(seen.vocabulary.names)
        return seen.category.where(lambda name: bool(known) and name not in known)


_AnyRule = (
    Unrecognized
    | NotACategory
    | Blocked
    | LikelihoodBelow
    | TokenConfidenceBelow
    | Unscored
    | Uncertain
    | ClipDisagrees
    | Monochrome
    | TooSmall
    | TooLarge
    | TooLong
    | WholeTile
    | Nodata
    | MaskDisagrees
    | Imported
    | SeenInPart
    | NewCategory
)
#: The rules' names.
RULES = tuple(kind.model_fields["rule"].default for kind in get_args(_AnyRule))


def _by_name(value: Any) -> Any:
    """A name alone is short for the rule with its defaults."""
    value = {"rule": value} if isinstance(value, str) else value
    if isinstance(value, dict) and value.get("rule") not in RULES:
        close = difflib.get_close_matches(str(value.get("rule")), RULES, 1)
        hint = f"did you mean {close[0]}?" if close else f"the rules are {', '.join(RULES)}"
        raise ValueError(f"{value.get('rule')!r} is no rule; {hint}")
    return value


NamedRule = Annotated[Annotated[_AnyRule, Field(discriminator="rule")], BeforeValidator(_by_name)]

#: What holds where no preset says anything.
CAUTIOUS = (Unrecognized(), Blocked(), Unscored(), NewCategory(), LikelihoodBelow())
