"""The contracts of trust: what was learned from verdicts, and from which."""

from lae_tasks.contracts import Record, Score


class Judgement(Record):
    """Whether the engine was right about a region that a steward has decided.

    Attributes:
        right: Its category is the steward's, and its box overlaps the steward's by half or more.
        drawn: It was drawn at random, so that it speaks for all that it was drawn from.
        probability: What a calibration says that was not fitted on its scene; None without any.
    """

    region_id: str
    right: bool
    drawn: bool
    probability: Score | None


class Attempt(Record):
    """A fit that made no calibration: none reached the target, or the one in force stays.

    Attributes:
        attempt_id: Digest of everything else in it, but for what it retires, and of the models.
        verdicts: How many it was fitted on.
        target_precision: What it was to reach with `confidence`.
        retires: Id of the calibration that is in force no more; empty for none.
    """

    attempt_id: str
    verdicts: int
    target_precision: Score
    confidence: Score
    retires: str


class Calibration(Record):
    """What turns the features of a region into the probability that it is right.

    It is `expit(((features - means) / scales) @ weights + intercept)`.

    Attributes:
        calibration_id: Digest of everything else in it.
        night: When it was fitted, `yyyy-mm-dd`.
        model_revision: Of the models whose features it was fitted on; it decides all that they
            made, until there is a newer one.
        features: The names of all features, then three of each category with enough verdicts.
        verdicts: How many it was fitted on, with `right` those that were right, and `drawn` those
            whose regions were drawn at random.
        accept_at: The lowest probability from which on the drawn reach `target_precision` with
            `confidence`.
        above: Drawn verdicts from there on, with `above_right` those that were right.
        optimism: How much more of these is right, as the threshold was chosen by them, than of
            others from there on.
        bins_said: Reliability diagram of the drawn: the mean probability of each bin, with
            `bins_right` the share that was right, and `bins_count` how many.
        calibration_error: The mean gap of the two, weighted by count.
        steward_error: The share of looks in which stewards are mistaken, as far as second looks
            told; None if too few did.
    """

    calibration_id: str
    night: str
    model_revision: str
    features: tuple[str, ...]
    means: tuple[float, ...]
    scales: tuple[float, ...]
    weights: tuple[float, ...]
    intercept: float
    verdicts: int
    right: int
    drawn: int
    target_precision: Score
    confidence: Score
    accept_at: Score
    above: int
    above_right: int
    bins_said: tuple[Score, ...]
    bins_right: tuple[Score, ...]
    bins_count: tuple[int, ...]
    calibration_error: Score
    steward_error: Score | None = None
    optimism: Score = 0.0
