"""The validation report's pages: Great Expectations' HTML without anything from other hosts."""

import re
from collections.abc import Sequence
from importlib import resources

import jinja2
from markupsafe import Markup

_REMOTE = re.compile(
    r"<link\b[^>]*https?://[^>]*>"
    r"|<script\b[^>]*\bsrc=[^>]*>\s*</script>"
    r"|<script\b.*?</script>"
    r"|<img\b[^>]*https?://[^>]*>"
    r"|<footer\b.*?</footer>"
    r"|url\(['\"]?https?://[^)]*\)[^;}]*",
    re.DOTALL | re.IGNORECASE,
)
_SITE_LINK = re.compile(r'href="(?:\.\./)+[^"]*"')


def template(name: str) -> jinja2.Template:
    """A template of this package; what is filled into HTML and XML is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(source_of),
        autoescape=name.startswith(("data_docs", "report")),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters["cell"] = _cell
    return environment.get_template(name)


def _cell(text: object) -> str:
    """A text that may stand in a cell of a Markdown table."""
    return str(text).replace("|", "\\|").replace("\n", " ")


def source_of(name: str) -> str:
    """A template as it stands."""
    return (resources.files("lae_tasks.formats") / name).read_text()


def own_style(html: str) -> str:
    """A page of Data Docs that loads nothing: remote styles and all scripts go, ours come in.

    Links to other pages of a Data Docs site lead to the report's index.
    """
    page = _REMOTE.sub("", html)
    page = _SITE_LINK.sub('href="index.html"', page)
    back = '<div class="container-fluid"><a href="index.html">All expectations</a></div>'
    style = f"<style>{source_of('data_docs.css.jinja')}</style>"
    return page.replace("</head>", f"{style}</head>", 1).replace("<body>", f"<body>{back}", 1)


def index_page(digest: str, rows: Sequence[tuple[str, str, bool, str, bool]]) -> str:
    """The report's first page.

    Args:
        digest: Digest of the dataset.
        rows: Table, rule, whether it is met, what was found, and whether it only warns.
    """
    failed = sum(not (passed or only_warns) for _, _, passed, _, only_warns in rows)
    warned = sum(only_warns and not passed for _, _, passed, _, only_warns in rows)
    style = source_of("data_docs.css.jinja")
    return template("data_docs.jinja").render(
        digest=digest, rows=rows, failed=failed, warned=warned, style=Markup(style)
    )
