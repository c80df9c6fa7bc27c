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

#: So does a negation of seeing: "not recognized", "unknown object", "none of the above". What is
#: unpaved, unfinished or insulated is something; and an unclassified road is a class of roads.
_UNSEEN = re.compile(
    r"^n\.?\s*/?\s*a\.?$|^none of\b"
    r"|^(?:(?:the|an?|some|object)\s)*un(?:recogni|identifi|known|determin|(?:certain|sure|clear)\b)"
    r"|\bun(?:recogni|identifi|known|determin)\w*$"
    r"|^unclassifi\w*(?:\s(?:object|thing|structure|area|region))?$"
    r"|^(?:object )?(?:not|no|non|nothing|insufficient)\b.*"
    r"\b(?:recogni|identif|visible|determin|known|classif|discern|information|detail|clear)"
    r"|^in(?:distinguish|discern)[ai]ble\b"
)
#: Or what is said of a poor picture: "too dark", "blurry image", "hard to tell". A black roof is
#: something, and so is the blurred edge of a lake.
_POOR = re.compile(
    r"^(?:an?\s)?too\s"
    r"|^(?:(?:the|an?|very)\s)*(?:blurr(?:y|ed)|indistinct|low[\s-](?:resolution|quality))"
    r"(?:\s(?:image|picture|photo|crop|object|thing|shape|area|region|patch))?$"
    r"|^(?:(?:the|an?)\s)*(?:black|white|blank|empty|dark)\s(?:image|picture|photo|crop)$"
    r"|\b(?:hard|difficult|impossible) to (?:tell|say|see|know|recogni|identif|determin|discern"
    r"|distinguish|classif|make out)"
)
#: Remains of a reply that was not taken apart: "category: ship", "ship 0.9".
_REPLY = re.compile(
    r"^(?:(?:the|object)\s)*(?:category|object|name|label|class|type|answer|likelihood)\s*:"
    r"|[\s(,:](?:0?[.,]\d+|1[.,]0+|\d+(?:[.,]\d+)?\s*%)\)?$"
)
#: A sentence begins so; a name never does: "it building" and "i-beam" are followed by no verb.
_SAYS = (
    r"(?:['’](?:m|s|d|ll|re|ve)|\s+(?:am|is|are|was|do|don|can|could|may|might|will|would|have|has|think|see|believe"
    r"|appears?|seems?|looks?|shows?|cannot|apologi[sz]e))"
)
_OPENING = re.compile(
    rf"(?:(?:i|it|we|you|there|here|this|that){_SAYS}\b|(?:this|these|those)\s"
    r"|sorry\b|unfortunately\b|however\b|please\b|based on\b|as an ai\b|unable to\b|not enough\b"
    r"|(?:the|an?)\s+(?:given |provided |cropped )?(?:image|picture|photo|object|region|crop)\s+"
    r"(?:is|does|shows?|appears?|seems?|contains?|depicts?|can|could|may|might)\b)"
)
#: One sentence ends and another begins: "A ship. It lies". "St. Mary" and "Bldg. 5" are none.
_FULL_STOP = re.compile(r"\w{4,}[.!?]\s+[A-Z]\w*\s+\w|[。！？]")
#: A verb that makes a statement; in "house that is being built" it does not.
_STATES = re.compile(
    r"(?<!\bthat )(?<!\bwhich )(?<!\bwho )"
    r"\b(?:is|are|was|were|isn['’]t|appears|seems|contains|depicts|cannot|can['’]t|can not"
    r"|could be|may be|might be|does not|doesn['’]t|do not|don['’]t)\b"
)
_ADDRESS = re.compile(r"https?:|www\.|\w@\w|\b[\w-]+\.(?:com|org|net|io|gov|edu)\b")
#: Remains of JSON, Markdown, templates or special tokens; none of them is in a name.
_MARKUP = re.compile(r"[{}<>|\\`*=~\n\r\t\0]|\[|\]|__|\"")

#: No name has more; and the patterns take time that grows with it.
_MAX_CHARACTERS = 100


def is_name(text: str, max_words: int = 8) -> bool:
    """Whether a text can be a thing's name.

    It is none if it has no letter, more than `max_words` words or a hundred characters, if it is a
    sentence, an excuse, an address, a word for "nothing", a reply with its likelihood, or has
    markup in it.

    >>> is_name("car park next to a building"), is_name("I'm sorry, I cannot tell")
    (True, False)
    """
    if len(text) > _MAX_CHARACTERS:
        return False
    said = unicodedata.normalize("NFKC", text).strip()
    shown = said.lower()
    if not any(map(str.isalpha, said)) or len(said.split()) > max_words:
        return False
    if shown.strip(" .,;:!?'()-") in _NOTHING or _OPENING.match(shown) or _FULL_STOP.search(said):
        return False
    others = (_UNSEEN, _POOR, _REPLY, _STATES, _ADDRESS, _MARKUP)
    return not any(pattern.search(shown) for pattern in others)
