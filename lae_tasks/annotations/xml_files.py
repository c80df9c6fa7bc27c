"""XML label files, parsed safely with lxml, which knows lines and the encodings that are in use.

No entity is expanded, nothing is fetched, and a file with a DOCTYPE is refused: no data set here
has one.
"""

from typing import TypeAlias

from lxml import etree

from lae_tasks.annotations.annotation import AnnotationError, number, short

Element: TypeAlias = etree._Element


def parse(data: bytes, key: str, root_tag: str) -> Element:
    """The root element of an XML file.

    Args:
        data: The file.
        key: Its key, for errors.
        root_tag: What the root must be called.

    Raises:
        AnnotationError: If it is no such XML file.
    """
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    try:
        root = etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        place = f"{key}, line {error.lineno}" if error.lineno else key
        problem = str(error.msg).partition(", line ")[0]
        raise AnnotationError(place, f"no XML: {problem}", "mend or replace the file") from error
    if root.getroottree().docinfo.doctype:
        raise AnnotationError(key, "it has a DOCTYPE", "remove it: entities are not read")
    if root.tag != root_tag:
        raise AnnotationError(
            place_of(root, key),
            f"the file begins with <{root.tag}>, not <{root_tag}>",
            "correct the annotation format in the config",
        )
    return root


def place_of(element: Element, key: str) -> str:
    """File key and line of an element, for error messages."""
    return f"{key}, line {element.sourceline}"


def child(element: Element, tag: str, key: str) -> Element:
    """The first child of that tag, which may be a path such as `a/b`.

    Raises:
        AnnotationError: If there is none.
    """
    found = element.find(tag)
    if found is None:
        raise AnnotationError(
            place_of(element, key),
            f"<{element.tag}> has no <{tag}>",
            "add it, or remove the object",
        )
    return found


def text(element: Element, tag: str, key: str) -> str:
    """The text of a child, without spaces around it.

    Raises:
        AnnotationError: If there is no such child or it is empty.
    """
    found = child(element, tag, key)
    stripped = (found.text or "").strip()
    if not stripped:
        raise AnnotationError(place_of(found, key), f"<{tag}> is empty", "fill it in")
    return stripped


def child_number(element: Element, tag: str, key: str) -> float:
    """The number in a child; it need not be finite.

    Raises:
        AnnotationError: If there is no such child or it holds no number.
    """
    return number(text(element, tag, key), place_of(child(element, tag, key), key))


def flag(element: Element, tag: str, key: str) -> bool:
    """A child that is 0 or 1; without it, empty, or `Unspecified` as VOC has it, False.

    Raises:
        AnnotationError: If it is something else.
    """
    said = (element.findtext(tag) or "").strip()
    if said not in ("", "0", "1", "Unspecified"):
        place = place_of(child(element, tag, key), key)
        raise AnnotationError(place, f"<{tag}> is {short(said)}", "write 0 or 1")
    return said == "1"


def stated_size(element: Element, width_tag: str, height_tag: str, key: str) -> tuple[float, float]:
    """The image's (width, height) as a file gives it; zeros where it does not.

    Raises:
        AnnotationError: If it gives something else than numbers.
    """
    width, height = (
        child_number(element, tag, key) if (element.findtext(tag) or "").strip() else 0.0
        for tag in (width_tag, height_tag)
    )
    return width, height
