"""Commands that tell where things come from: what a version changed, and one annotation's past."""

import json
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Column, Table

from lae_tasks.cli.common import AsJson, ConfigFile, StoreUri, app, open_store, out

if TYPE_CHECKING:
    from lae_tasks.releases.comparing import Comparison
    from lae_tasks.releases.history import History, Origin

_FIRST_ROWS = 20
#: What a diff's lists of objects are, for people; what of an entry tells what changed.
_KINDS = {
    "added": "Added",
    "removed": "Removed",
    "relabelled": "Relabelled",
    "moved": "Moved (box or mask)",
    "rescored": "With another score or source",
}
_COUNTED = ("added", "removed", "relabelled_from", "relabelled_to", "moved", "rescored")


@app.command()
def diff(
    old: Annotated[str, typer.Argument(help="Such as v1.3.0.")],
    new: Annotated[str, typer.Argument(help="Such as v1.4.0, or latest.")] = "latest",
    config: ConfigFile = None,
    store: StoreUri = None,
    every: Annotated[bool, typer.Option("--all", help="Every object, not the first 20.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what a version changes against another one, and which verdict or rule caused it."""
    from lae_tasks.releases.comparing import compare

    found = compare(open_store(config, store), old, new)
    if as_json:
        found.diff.write(sys.stdout, {"from": found.old.version, "to": found.new.version})
        return
    out.print(_headline(found), soft_wrap=True)
    changes = found.diff.by_category()
    if changes:
        out.print(_by_category(changes))
    for kind, title in _KINDS.items():
        entries = getattr(found.diff, kind)
        if not entries:
            continue
        shown = entries if every else entries.first(_FIRST_ROWS)
        out.print(_objects(f"{title}: {len(entries):,}", shown))
        if len(shown) < len(entries):
            out.print(f"… and {len(entries) - len(shown):,} more; --all shows them")


def _headline(found: "Comparison") -> str:
    counts = found.diff.counts()
    objects = ", ".join(f"{counts[kind]:,} {kind}" for kind in _KINDS if counts[kind])
    parts = [f"{found.old.version} → {found.new.version}: {objects or 'no object differs'}"]
    for name in ("scenes", "images"):
        more, less = counts[f"{name}_added"], counts[f"{name}_removed"]
        if more or less:
            parts.append(f"{name} +{more:,} −{less:,}")
    for sign, names in (("+", found.diff.categories_added), ("−", found.diff.categories_removed)):
        if names:
            parts.append(f"categories {sign} {escape(', '.join(names))}")
    return "; ".join(parts)


def _by_category(changes: dict[str, dict[str, int]]) -> Table:
    heads = [Column(name.replace("_", " "), justify="right") for name in _COUNTED]
    table = Table(Column("category", overflow="fold"), *heads, title="By category")
    for name, counts in changes.items():
        cells = (f"{counts[key]:,}" if counts.get(key) else "" for key in _COUNTED)
        table.add_row(escape(name), *cells)
    return table


def _objects(title: str, entries: Iterable[dict[str, Any]]) -> Table:
    table = Table(
        Column("region", no_wrap=True),
        Column("category", overflow="fold"),
        Column("what", overflow="fold"),
        Column("cause", overflow="fold"),
        title=title,
        title_justify="left",
    )
    for entry in entries:
        if "bbox_scene" in entry:
            what = f"x, y, w, h {entry['bbox_scene']}"
        else:
            what = f"{_short(entry['from'])} → {_short(entry['to'])}"
        cells = (entry["region_id"], entry.get("category", ""), what, entry["cause"])
        table.add_row(*map(escape, cells))
    return table


def _short(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


@app.command()
def why(
    region_id: Annotated[str, typer.Argument(help="As tables, COCO files and diffs have it.")],
    config: ConfigFile = None,
    store: StoreUri = None,
    as_json: AsJson = False,
) -> None:
    """Tell all that is known of one annotation: versions, scene, models, rule, verdicts."""
    from lae_tasks.releases.history import read_history

    found = read_history(open_store(config, store), region_id)
    if as_json:
        out.print_json(json.dumps(found.as_dict()))
        return
    table = Table.grid(Column(style="bold", no_wrap=True), Column(overflow="fold"), padding=(0, 2))
    for name, text in _told(found):
        table.add_row(name, escape(text))
    out.print(table)


def _told(found: "History") -> Iterable[tuple[str, str]]:
    """What is known, line by line: what it is of, and what is said."""
    yield "region", found.region_id
    for number, each in enumerate(found.versions):
        text = f"{each.version}: {each.category}, box {_short(each.bbox_xyxy_px)}, score "
        text += f"{each.score:g}, by {each.source}, on {each.images} image{'s' * (each.images > 1)}"
        yield "" if number else "released", text
    if not found.versions:
        yield "released", f"in none of the {found.looked_at} newest versions"
    elif found.looked_at < found.published:
        yield "", f"of the {found.looked_at} newest versions; there are {found.published}"
    if found.origin:
        yield from _of_night(found.origin)
    elif found.verdicts:
        yield "night", "none has its scene"
    else:
        yield "night", "none has it: its night ran again"
    for number, item in enumerate(found.review_items):
        text = f"{item.purpose}, as {item.category}, box {_short(item.bbox_xyxy_px)}, for "
        text += f"{item.looks} stewards, task {item.task_key}"
        yield "" if number else "sent", text
    for number, verdict in enumerate(found.verdicts):
        took = "" if verdict.seconds is None else f", {verdict.seconds:g} s for the task"
        what = f" as {verdict.category}" if verdict.category else ""
        holds = ", holds" if verdict == found.held else ""
        text = f"{verdict.decided_at[:19].replace('T', ' ')} {verdict.annotator}: {verdict.action}"
        text += f"{what}, box {_short(verdict.bbox_xyxy_px)}{took}{holds}"
        yield "" if number else "verdicts", f"{text} (verdict {verdict.verdict_id})"
    if not found.verdicts:
        yield "verdicts", "none"


def _of_night(origin: "Origin") -> Iterable[tuple[str, str]]:
    """What the night says, in the order in which it happened."""
    yield "night", f"{origin.night}, shard {origin.shard}" if origin.shard else origin.night
    if scene := origin.scene:
        text = f"{scene.raw_key}, {scene.width_px} x {scene.height_px} px, etag {scene.etag}, "
        yield "scene", f"{text}sha256 {scene.scene_id}…"
    if tile := origin.tile:
        x, y, width, height = tile.window_px
        yield "tile", f"{tile.tile_id}: {width} x {height} px at {x}, {y}"
    if region := origin.region:
        text = f"box {_short(region.bbox_xyxy_px)}, {region.area_px:,} px, by {region.prompt_type}"
        text += f", predicted IoU {region.predicted_iou:.3f}"
        text += f", stability {region.stability_score:.3f}"
        yield "mask", f"{text}{', seen in part' if region.seen_in_part else ''}"
        if region.prompt_iou is not None:
            text = f"IoU {region.prompt_iou:.3f} with its prompt"
            yield "", f"{text} ({region.prompt_category or 'without a name'})"
    else:
        yield "mask", "none: a steward drew it"
    for number, (stage, revision) in enumerate(origin.revisions.items()):
        yield "" if number else "models", f"{stage}: {revision}"
    if label := origin.label:
        said = label.category_said or "nothing that it recognised"
        scores = {
            "likelihood as said": label.likelihood_said,
            "by its tokens": label.token_confidence,
            "by CLIP": label.clip_score_said,
        }
        parts = [f"{name} {value:.3f}" for name, value in scores.items() if value is not None]
        yield "said", "; ".join([said, *parts])
        if label.alternatives:
            yield "", f"or {', '.join(label.alternatives)}"
        yield "reply", label.reply
    if merge := origin.merge:
        similarity = "" if merge.similarity is None else f", similarity {merge.similarity:.3f}"
        text = f"{merge.name} → {merge.canonical} ({merge.rule}{similarity}, by {merge.by})"
        yield "counts as", text
    if decision := origin.decision:
        drawn = ", drawn at random" if decision.drawn else ""
        yield "decision", f"{decision.outcome} by rule {decision.rule}{drawn}: {decision.reason}"
        yield "", f"confidence {decision.confidence:g} by {decision.calibration}"
    for rejection in origin.rejections:
        yield "rejected", f"by {rejection.stage}: {rejection.reason}; {rejection.detail}"
