"""Tells names of things from other text: models answer in sentences, or with an apology."""

import re
import unicodedata

#: What stands for "nothing", word for word.
_NOTHING = frozenset(
    {
        *("n/a", "na", "nil", "none", "null", "nan", "nothing", "not applicable", "not available"),
        *("unknown", "unclear", "uncertain", "undefined", "unidentified", "indeterminate"),
        *("unrecognizable", "unidentifiable", "not sure", "not visible", "no object"),
    }
)

#: A sentence begins so; a name never does: "it building" and "i-beam" are followed by no verb.
_SAYS = (
    r"(?:'|’|\s+(?:am|is|are|was|do|don|can|could|may|might|will|would|have|has|think|see|believe"
    r"|appears?|seems?|looks?|shows?|cannot|apologi[sz]e))"
)
_OPENING = re.compile(
    rf"(?:(?:i|it|we|you|there|here|this|that){_SAYS}\b|(?:this|these|those)\s"
    r"|sorry\b|unfortunately\b|however\b|please\b|based on\b|as an ai\b|unable to\b|not enough\b"
    r"|(?:the|an?)\s+(?:given |provided |cropped )?(?:image|picture|photo|object|region|crop)\s+"
    r"(?:is|does|shows?|appears?|seems?|contains?|depicts?|can|could|may|might)\b)"
)
#: It ends one thought and begins another: "a ship. It lies". "St. Mary" and "No. 5" do not.
_FULL_STOP = re.compile(r"\w{4,}[.!?]\s+\S|[。！？]")
#: A verb that makes a statement; in "house that is being built" it does not.
_STATES = re.compile(
    r"(?<!\bthat )(?<!\bwhich )(?<!\bwho )"
    r"\b(?:is|are|was|were|isn['’]t|appears|seems|contains|depicts|cannot|can['’]t|can not"
    r"|could be|may be|might be|does not|doesn['’]t|do not|don['’]t)\b"
)
_ADDRESS = re.compile(r"https?:|www\.|\w@\w|\b[\w-]+\.(?:com|org|net|io|gov|edu)\b")
#: Remains of JSON, Markdown, templates or special tokens; none of them is in a name.
_MARKUP = re.compile(r"[{}<>|\\`*=~\n\r\t\0]|\[|\]|__|\"")


def is_name(text: str, max_words: int = 8) -> bool:
    """Whether a text can be a thing's name.

    It is none if it has no letter or more than `max_words` words, if it is a sentence, an excuse,
    an address, a word for "nothing", or has markup in it.

    >>> is_name("car park next to a building"), is_name("I'm sorry, I cannot tell")
    (True, False)
    """
    shown = unicodedata.normalize("NFKC", text).strip().lower()
    if not any(map(str.isalpha, shown)) or len(shown.split()) > max_words:
        return False
    if shown.strip(" .,;:!?'()-") in _NOTHING:
        return False
    found = (p.search(shown) for p in (_FULL_STOP, _STATES, _ADDRESS, _MARKUP))
    return not (_OPENING.match(shown) or any(found))
