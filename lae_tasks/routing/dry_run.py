"""What the rules would do with a night, without doing it."""

from dataclasses import dataclass
from typing import Any

from rich.table import Column, Table

from lae_tasks.night import Night, labelled, text_embedder
from lae_tasks.routing.rules import Rule
from lae_tasks.stages import route


@dataclass(frozen=True)
class RuleCount:
    """What one rule would take of a night.

    Attributes:
        rule: Its name; `duplicate` and `confident` come after the rules of the settings.
        then: What becomes of what it takes.
        parameters: The rule's own; those of suppression for `duplicate`.
        alone: How many rows it holds for, whatever the others say; None for what is no rule.
        in_order: How many it takes, after those before it.
    """

    rule: str
    then: str
    parameters: dict[str, Any]
    alone: int | None
    in_order: int


def dry_run(night: Night) -> list[RuleCount]:
    """Applies the settings to the labels of a night and counts; nothing is written.

    Raises:
        ContractError: If the night's classify is not committed.
        LaeError: What reading the tables raises.
    """
    rows, calibration = labelled(night)
    config, vocabulary = night.config.route, night.config.vocabulary
    embedder = text_embedder(night.config.classify, night.config.threads)
    ledger = route.merged_names(rows, embedder, vocabulary, config)
    seen = route.candidates(rows, ledger, vocabulary, config, calibration)
    decided = route.decide(seen, config)
    taken = decided.rows_of_rule()
    found = [
        RuleCount(
            rule=rule.rule,
            then=rule.then.value,
            parameters=_parameters(rule),
            alone=int(rule.holds(seen).sum()),
            in_order=count,
        )
        for rule, count in zip(config.rules, taken, strict=False)
    ]
    suppression = {"nms_measure": config.nms_measure, "nms_iou": config.nms_iou}
    confident, duplicate = taken[len(config.rules) :]
    found.append(RuleCount("duplicate", "reject", suppression, None, duplicate))
    found.append(RuleCount("confident", "accept", {}, None, confident))
    return found


def _parameters(rule: Rule) -> dict[str, Any]:
    shown = rule.model_dump(exclude={"rule", "then"}, exclude_none=True)
    if not rule.until_calibrated:
        del shown["until_calibrated"]
    return shown


def as_table(counts: list[RuleCount]) -> Table:
    """The counts for the terminal."""
    table = Table("rule", Column("parameters", overflow="fold"), "then")
    for name in ("alone", "in order"):
        table.add_column(name, justify="right")
    for each in counts:
        parameters = ", ".join(f"{name}: {value}" for name, value in each.parameters.items())
        alone = "" if each.alone is None else f"{each.alone:,}"
        table.add_row(each.rule, parameters, each.then, alone, f"{each.in_order:,}")
    table.add_section()
    for outcome in ("accept", "review", "reject"):
        total = sum(each.in_order for each in counts if each.then == outcome)
        table.add_row(outcome, "", "", "", f"{total:,}")
    return table
