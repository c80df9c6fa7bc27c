"""The labelling interface of the review project, and the names that its parts are known by."""

from importlib import resources
from xml.sax.saxutils import quoteattr

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
