"""What stewards read in Label Studio itself: a short version of docs/stewards.md."""

from html import escape

#: On the project's card, as plain text.
DESCRIPTION = (
    "Look at each coloured box; grey ones are settled. Press Label All Tasks. "
    "All right: g, Ctrl+Enter. The other keys stand behind Instructions."
)

_INSTRUCTION = (
    "<p>Please look at each coloured box. Grey boxes are settled, or asked on another tile.</p>"
    "<p><b>Everything right</b>: g, then Ctrl+Enter.<br>"
    "<b>One box wrong</b>: click it, then x (no such thing), a digit (another category), "
    "or drag it; then g, Ctrl+Enter.<br>"
    "<b>Something missing</b>: Esc, a digit, then draw.<br>"
    "<b>Cannot tell</b>: q for a box, n for all that have no mark.</p>"
)


def instruction(guide_url: str = "") -> str:
    """The HTML behind the button Instructions of the labelling page.

    Args:
        guide_url: Where the whole guide is; empty if nowhere.
    """
    if not guide_url:
        return _INSTRUCTION
    # Label Studio drops `target`: the page itself opens the link.
    return f'{_INSTRUCTION}<p><a href="{escape(guide_url)}">The whole guide</a></p>'
