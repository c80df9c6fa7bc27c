"""The paper's rule on the nights of a quarter: what nobody looks at, or stewards in a simple order.

The rule is that of the preset `lae-paper`, with its merging and its NMS. All that follows is the
engine's: tasks, desk, the stewards' mistakes, how verdicts are read, and how a release is put
together. So a thing that two boxes were put right to is in once, as with the engine.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from typing import Any

import yaml

from benchmarks.quarter import Quarter, Said, said_by
from benchmarks.review_results import Result
from benchmarks.simulated_stewards import STEWARDS, SimulatedDesk
from lae_tasks.accounts import Done
from lae_tasks.config import Config, RouteConfig
from lae_tasks.contracts import Decision, Outcome, Purpose, ReviewItem
from lae_tasks.naming.vocabulary import OPEN
from lae_tasks.night import Night, labelled, text_embedder
from lae_tasks.releases.assemble import assemble
from lae_tasks.review.news import read_new
from lae_tasks.review.tasks import build_tasks, items_for
from lae_tasks.routing.rules import ScoreName
from lae_tasks.stages import route
from lae_tasks.state import State, load_state
from lae_tasks.storage import open_storage

SCORES: tuple[ScoreName, ...] = ("likelihood_said", "token_confidence")
_BELOW = {"likelihood_said": "likelihood_below", "token_confidence": "token_confidence_below"}


def by_chance(decision: Decision) -> object:
    """An order that is random, and the same each time."""
    return hashlib.sha256(decision.region_id.encode()).digest()


def by_likelihood(decision: Decision) -> object:
    """The least likely first; of those that are alike, any."""
    return decision.confidence, by_chance(decision)


@dataclass
class Arm:
    """A way to review what the rule says, and what came of it so far.

    Attributes:
        order: What has the least is looked at first; None: nobody looks at anything.
        score: What the rule takes for the likelihood.
        accepted_only: Whether stewards look at what the rule accepts, or at what it rejects for its
            likelihood, too.
    """

    name: str
    order: Callable[[Decision], Any] | None
    score: ScoreName
    accepted_only: bool = True
    said: list[Said] = field(default_factory=list)
    looks: int = 0

    def chosen(self, decisions: Sequence[Decision], looks: int) -> list[Decision]:
        """What stewards look at, as far as their looks go."""
        if self.order is None:
            return []
        shown = [
            decision
            for decision in decisions
            if decision.outcome is Outcome.ACCEPT
            or (not self.accepted_only and decision.rule == _BELOW[self.score])
        ]
        return sorted(shown, key=self.order)[:looks]


def arms() -> list[Arm]:
    """The rule with each score: nobody looks, some are looked at by chance, or the least likely.

    The demo's model says 0.98 or 0.99 of nearly everything, so that by this score the least likely
    of the accepted and the least likely of all are the same. By the tokens'
    probability they differ: the least likely of the accepted make the most precise data set, those
    of all the one with the most objects.
    """
    return [
        Arm("likelihood as said ≥ 0.9, nobody looks", None, "likelihood_said"),
        Arm("likelihood as said ≥ 0.9, random looks", by_chance, "likelihood_said"),
        Arm("likelihood as said ≥ 0.9, least likely", by_likelihood, "likelihood_said"),
        Arm("likelihood of tokens ≥ 0.9, nobody looks", None, "token_confidence"),
        Arm("likelihood of tokens ≥ 0.9, random looks", by_chance, "token_confidence"),
        Arm("likelihood of tokens ≥ 0.9, least likely accepted", by_likelihood, "token_confidence"),
        Arm(
            "likelihood of tokens ≥ 0.9, least likely of all",
            by_likelihood,
            "token_confidence",
            False,
        ),
    ]


def paper_arms(quarter: Quarter, config: Config, looks: Sequence[int]) -> Iterator[Result]:
    """The arms, night by night.

    Args:
        quarter: The nights.
        config: The engine's settings, but for the rule.
        looks: How many looks the stewards have for each night: those that the engine took.
    """
    store = open_storage(config.store)
    compared = arms()
    regions = 0
    for night, of_night in zip(quarter.nights, looks, strict=True):
        state = load_state(store, night)
        regions += len(state.regions)
        for score in SCORES:
            decisions = paper_decisions(quarter, config, night, score)
            decided = replace(state, decisions={each.region_id: each for each in decisions})
            for arm in compared:
                if arm.score == score:
                    desk = SimulatedDesk(STEWARDS, quarter.truth)
                    asked = arm.chosen(decisions, of_night)
                    after = reviewed(decided, asked, config, desk, night)
                    arm.said += said_by(assemble(after, config))
                    arm.looks += desk.looks
        if night in quarter.scored:
            for arm in compared:
                yield Result(arm.name, night, quarter.score(arm.said, night), regions, arm.looks)


def paper_route(score: ScoreName) -> RouteConfig:
    """The paper's rules, by the likelihood that was said or by that of the name's tokens."""
    preset = resources.files("lae_tasks") / "presets" / "lae-paper.yaml"
    settings = yaml.safe_load(preset.read_text())["route"]
    for rule in settings["rules"]:
        if isinstance(rule, dict) and rule["rule"] == _BELOW["likelihood_said"]:
            rule["rule"] = _BELOW[score]
    return RouteConfig.model_validate(settings | {"score": score})


def paper_decisions(
    quarter: Quarter, config: Config, night: str, score: ScoreName
) -> list[Decision]:
    """What the paper's rules say of the regions of a night."""
    paper = config.model_copy(update={"route": paper_route(score)})
    here = Night(night, paper, open_storage(config.raw), open_storage(config.store))
    rows, _ = labelled(here)
    embedder = text_embedder(paper.classify, paper.threads)
    made = route.run(rows, embedder, OPEN, paper.route, None)
    return [Decision.model_validate(row) for row in made.tables[0].to_pylist()]


def reviewed(
    state: State, asked: Sequence[Decision], config: Config, desk: SimulatedDesk, night: str
) -> State:
    """The state of a night with the verdicts of stewards, each box looked at by one of them.

    Args:
        state: The night, decided by the rule.
        asked: The decisions that are looked at.
        config: The engine's settings.
        desk: Where the stewards work; nothing is on it.
        night: The night's name.
    """
    by_tile: defaultdict[str, list[Decision]] = defaultdict(list)
    for decision in asked:
        by_tile[decision.tile_id].append(decision)
    items: list[ReviewItem] = []
    for _, decisions in sorted(by_tile.items()):
        items += items_for(state, decisions, Purpose.DOUBT, 1)
    sent = replace(state, review_items={item.record_id: item for item in items})
    desk.send(1, build_tasks(sent, items, (), config.store, night), len(items))
    desk.work()
    done = [each for each in read_new(sent, config, desk) if isinstance(each, Done)]
    verdicts = [verdict for each in done for verdict in each.outputs]
    return replace(sent, verdicts={verdict.record_id: verdict for verdict in verdicts})
