"""The labelling interface of the review project, and the names that its parts are known by."""

import re
from collections.abc import Mapping
from importlib import resources
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

from lae_tasks.errors import ConfigError

#: Of the label config; it grows with each change of `label_config.xml`, whose first line has it.
#: That line outlives Label Studio, which keeps the text as it is.
VERSION = 2
_VERSION_LINE = re.compile(r"<!-- lae label config (\d+) -->")

#: The image that every control points to.
IMAGE = "image"
#: Boxes to review, and objects that a steward draws.
BOX = "box"
#: Outlines of the masks; read-only. The id of a result is this and the region's.
MASK = "mask"
MASK_PREFIX = "mask-"
#: Boxes that are settled or asked on another tile, so that nobody draws them again; read-only.
CONTEXT = "ctx"
CONTEXT_PREFIX = "ctx-"
#: What a steward says of one box: `ACCEPT`, `REJECT` or `UNSURE`.
VERDICT = "verdict"
#: Another category for a box, from the vocabulary.
OTHER = "other"
#: Another category for a box, typed.
NEW_NAME = "newname"
#: What a steward says of the boxes without a mark: `REST_ACCEPT` or not checked.
REST = "rest"

ACCEPT = "accept"
REJECT = "reject"
UNSURE = "unsure"
REST_ACCEPT = "rest-accept"


def label_config(vocabulary_uri: str) -> str:
    """The project's labelling interface.

    Args:
        vocabulary_uri: `s3://bucket/key` of the vocabulary, in a bucket that one of the project's
            storages reaches. Label Studio reads it anew for every task.
    """
    xml = (resources.files("lae_tasks.review") / "label_config.xml").read_text(encoding="utf-8")
    return xml.strip().replace('"$vocabulary_uri"', quoteattr(vocabulary_uri))


def version_of(xml: str) -> int:
    """The version of a project's label config; 1 for those from before there were versions."""
    found = _VERSION_LINE.search(xml)
    return int(found[1]) if found else 1


def require_no_newer(xml: str, place: str) -> None:
    """Raises ConfigError if a newer engine has made the label config: it is not to be undone."""
    if version_of(xml) > VERSION:
        raise ConfigError(
            f"{place}: its label config has version {version_of(xml)}, and this engine knows "
            f"{VERSION} only: update the engine, or set `review.project` to a title of its own"
        )


def require_same_store(xml: str, now: str, place: str) -> None:
    """Raises ConfigError if a project is that of another store, whose tasks it would mix with ours.

    Args:
        xml: The label config that is to come.
        now: The one that the project has.
        place: Which project.
    """
    ours, theirs = _vocabulary_uri(xml), _vocabulary_uri(now)
    if theirs and theirs != ours:
        raise ConfigError(
            f"{place}: it is another store's: its vocabulary is {theirs}, and this store's is "
            f"{ours}. Nothing was changed. Set `review.project` to a title of its own"
        )


def _vocabulary_uri(xml: str) -> str | None:
    tags = ElementTree.fromstring(xml or "<View/>").iter()
    return next((uri for tag in tags if (uri := tag.get("apiUrl"))), None)


def require_nothing_lost(xml: str, summary: Mapping[str, Any], place: str) -> None:
    """Raises ConfigError if stewards have used parts of the page that a label config lacks.

    Label Studio itself refuses only a config without a control in use; it lets labels, choices
    and text fields go, and then shows such an annotation without them: updating it drops them.

    Args:
        xml: The label config that is to come.
        summary: Label Studio's, of the project: how often each control and label was used.
        place: Which project.
    """
    tags = {tag.get("name"): tag for tag in ElementTree.fromstring(xml).iter() if tag.get("toName")}
    lost = []
    for control, count in summary["created_annotations"].items():
        name, to_name, kind = control.split("|")
        tag = tags.get(name)
        if tag is None or (tag.get("toName"), tag.tag.lower()) != (to_name, kind):
            lost.append(f"{name} ({kind}, in {count} annotations)")
    for part in ("created_labels", "created_labels_drafts"):
        for name, used in summary[part].items():
            tag = tags.get(name)
            if tag is None or not len(tag):
                continue  # told above, or it takes its labels from each task
            offered = {label.get(key) for label in tag for key in ("alias", "value")}
            lost += [f"{name}: {label} ({used[label]} times)" for label in used.keys() - offered]
    if lost:
        raise ConfigError(
            f"{place}: stewards have used what the engine's label config lacks: "
            f"{'; '.join(sorted(lost))}. Nothing was changed. Collect what they have said, then "
            "set `review.project` to a new title, and push any night: what is open is sent there"
        )
