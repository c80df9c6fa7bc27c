"""What the arms of `review_loop.py` have reached, as a table, as a picture and as data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.quarter import FIRST_NIGHT, Score
from lae_tasks.releases.manifest import RecallEntry, WholeEntry

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ENGINE = "engine"
TARGET = 0.95


@dataclass(frozen=True)
class Result:
    """What an arm has reached by a night.

    Attributes:
        night: The last of the nights.
        regions: Of all these nights, with `looks` how many looks the stewards took at them.
        precision: What the release itself states of that, and of `recall`; the engine's only.
    """

    arm: str
    night: str
    score: Score
    regions: int
    looks: int
    precision: WholeEntry | None = None
    recall: RecallEntry | None = None

    @property
    def looks_share(self) -> float:
        """Looks per region."""
        return self.looks / self.regions


def markdown(results: Sequence[Result]) -> str:
    """All arms after the last night and by night, and what the engine's releases stated."""
    nights = sorted({each.night for each in results})
    last = [each for each in results if each.night == nights[-1]]
    engine = [each for each in results if each.arm == ENGINE]
    arms = dict.fromkeys(each.arm for each in results)
    scores = {(each.arm, each.night): each.score for each in results}
    both = "{0.precision:.3f} / {0.recall:.3f}".format
    by_night = [[arm, *(both(scores[arm, night]) for night in nights)] for arm in arms]
    lines = [
        f"After {_day(last[0])} nights with {last[0].regions:,} regions, by the truth:",
        "",
        *_lines(
            ("arm", "looks", "per region", "objects", "precision", "recall"),
            [
                [r.arm, f"{r.looks:,}", f"{r.looks_share:.1%}", f"{r.score.objects:,}", *_true(r)]
                for r in last
            ],
        ),
        "",
        "Precision / recall by night:",
        "",
        *_lines(("arm", *nights), by_night),
        "",
        "What the engine's releases state (95 % intervals), and what is true:",
        "",
        *_lines(
            ("until", "precision stated", "true", "recall stated", "true"),
            [
                [r.night, _interval(r.precision), _true(r)[0], _interval(r.recall), _true(r)[1]]
                for r in engine
            ],
        ),
    ]
    return "\n".join(lines) + "\n"


def _lines(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    # The first column has names, the others figures.
    rule = ["---", *["---:"] * (len(head) - 1)]
    return [f"| {' | '.join(cells)} |" for cells in (head, rule, *rows)]


def _true(result: Result) -> tuple[str, str]:
    return f"{result.score.precision:.3f}", f"{result.score.recall:.3f}"


def _interval(stated: WholeEntry | RecallEntry | None) -> str:
    return f"{stated.low:.3f} to {stated.high:.3f}" if stated else "not yet"


def as_json(results: Sequence[Result]) -> str:
    """Everything, to be read by programs."""

    def stated(value: WholeEntry | RecallEntry | None) -> dict[str, Any] | None:
        return value.model_dump() if value else None

    told = [
        asdict(each) | {"precision": stated(each.precision), "recall": stated(each.recall)}
        for each in results
    ]
    return json.dumps(told, indent=1)


#: Of the engine, then of each rule in their order.
_COLOURS = ("#c1121f", "#6c757d", "#1f6fb2")
#: Marker and line of each way to review the same rule, in their order.
_STYLES = (("o", ":"), ("s", "--"), ("^", "-"), ("v", "-."))


def _styles(results: Sequence[Result]) -> dict[str, dict[str, Any]]:
    """How each arm is drawn, the engine first: what decides has the colour."""
    arms = sorted({each.arm: None for each in results}, key=lambda arm: arm != ENGINE)
    rules = list(dict.fromkeys(arm.split(",")[0] for arm in arms))
    found: dict[str, dict[str, Any]] = {}
    for number, rule in enumerate(rules):
        of_rule = [arm for arm in arms if arm.split(",")[0] == rule]
        for arm, (marker, line) in zip(of_rule, _STYLES, strict=False):
            found[arm] = {"marker": marker, "linestyle": line, "color": _COLOURS[number]}
    if ENGINE in found:
        found[ENGINE] |= {"linestyle": "-", "linewidth": 2.5, "zorder": 3}
    return found


def plot(results: Sequence[Result], path: Path) -> None:
    """Draws precision and recall by night, and both against each other after the last one."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 6.2), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    _by_night(left, results, "precision", "Precision: the share of the objects that is right")
    _by_night(middle, results, "recall", "Recall: the share of the true objects that is there")
    _after_all(right, results)
    share = max(each.looks_share for each in results if each.night == results[-1].night)
    figure.suptitle(
        "The engine beside the paper's fixed rule, at the same number of looks "
        f"({share:.0%} of the regions)",
        fontsize=14,
        fontweight="bold",
    )
    figure.legend(
        *_in_columns(*left.get_legend_handles_labels()),
        loc="outside lower center",
        ncols=3,
        frameon=False,
    )
    figure.savefig(path, dpi=110)


def _in_columns(handles: Sequence[Any], names: Sequence[str]) -> tuple[list[Any], list[str]]:
    """A legend's entries, filled up so that each rule has a column of its own."""
    from matplotlib.lines import Line2D

    entries = dict(zip(names, handles, strict=True))
    rules = {name.split(",")[0] for name in names if "," in name}
    columns = [[name for name in names if name.split(",")[0] == rule] for rule in sorted(rules)]
    columns.insert(0, [name for name in names if "," not in name])
    longest = max(map(len, columns))
    filled = [name for column in columns for name in [*column, *[""] * (longest - len(column))]]
    return [entries.get(name, Line2D([], [], linestyle="none")) for name in filled], filled


def _by_night(axes: Axes, results: Sequence[Result], measure: str, title: str) -> None:
    """A measure of each arm, with the intervals that the engine's releases state."""
    for arm, style in _styles(results).items():
        own = [each for each in results if each.arm == arm]
        nights = [_day(each) for each in own]
        axes.plot(nights, [getattr(each.score, measure) for each in own], label=arm, **style)
        stated = [
            (day, s) for day, e in zip(nights, own, strict=True) if (s := getattr(e, measure))
        ]
        if stated:
            days = [day for day, _ in stated]
            low, high = [s.low for _, s in stated], [s.high for _, s in stated]
            label = "what its releases state: 95 % interval"
            axes.vlines(days, low, high, color=style["color"], linewidth=9, alpha=0.25, label=label)
    if measure == "precision":
        _mark_target(axes.axhline)
    axes.set(title=title, xlabel="nights", xticks=sorted({_day(e) for e in results}))
    axes.grid(alpha=0.3)


def _after_all(axes: Axes, results: Sequence[Result]) -> None:
    """Precision by recall of each arm after the last night."""
    last = {each.arm: each for each in results if each.night == results[-1].night}
    for arm, style in _styles(results).items():
        if arm in last:
            score = last[arm].score
            axes.plot(score.recall, score.precision, **style, markersize=10)
            review = arm.split(", ")[-1]
            place = (score.recall, score.precision)
            # One below, one above: looks by chance and at the least likely come out close together.
            above_pt = -18 if style["marker"] == "s" else 9
            axes.annotate(review, place, (0, above_pt), textcoords="offset points", ha="center")
    _mark_target(axes.axhline)
    axes.margins(0.2, 0.1)  # room for the names
    axes.set(title="Both after the last night: up and right is better")
    axes.set(xlabel="recall", ylabel="precision")
    axes.grid(alpha=0.3)


def _mark_target(line: Any) -> None:
    line(TARGET, color="black", linestyle=(0, (1, 1)), linewidth=1, label=f"target {TARGET:.2f}")


def _day(result: Result) -> int:
    """Its place in the quarter, from 1 on."""
    return (date.fromisoformat(result.night) - FIRST_NIGHT).days + 1
