"""What a vision-language model is asked of a crop: a text file, and the form of its reply."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from lae_tasks.errors import ConfigError


@dataclass(frozen=True)
class PromptTemplate:
    """A prompt, word for word.

    Attributes:
        schema: The JSON schema of a reply; None where it is free text.
    """

    text: str
    schema: Mapping[str, Any] | None = None

    @cached_property
    def sha256(self) -> str:
        """Digest of all that a model is told; a label names it."""
        told = self.text if self.schema is None else self.text + json.dumps(self.schema)
        return hashlib.sha256(told.encode()).hexdigest()


def is_own_template(name: str) -> bool:
    """Whether a template of that name comes with the package."""
    return _own(name).is_file()


def _own(name: str, ending: str = "txt") -> Traversable:
    return resources.files("lae_tasks.naming") / "prompts" / f"{name}.{ending}"


def load_template(name: str) -> PromptTemplate:
    """A template of the package (`lae_paper`, `json`) or of a file.

    A file `NAME.schema.json` beside it is the schema of its replies.

    Raises:
        ConfigError: If there is no such template, nothing in it, or its schema is no JSON object.
    """
    text, schema = _own(name), _own(name, "schema.json")
    if not text.is_file():
        text = Path(name)
        schema = text.parent / f"{text.stem}.schema.json"
    place = f"classify.prompt {name!r}"
    words = _read(text, f"{place}: no such template or text file", place)
    if not words:
        raise ConfigError(f"{place}: the file is empty; write what to ask the model")
    if not schema.is_file():
        return PromptTemplate(words)
    place = f"{place}: {schema}"
    try:
        form = json.loads(_read(schema, f"{place}: cannot be read", place))
    except json.JSONDecodeError as error:
        raise ConfigError(f"{place}: not JSON: {error}") from error
    if not isinstance(form, dict):
        raise ConfigError(f"{place}: a JSON schema is an object")
    return PromptTemplate(words, form)


def _read(file: Traversable, missing: str, place: str) -> str:
    try:
        # Some editors begin a file with a mark that no model shall see.
        return file.read_text(encoding="utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{place}: not UTF-8; save it as UTF-8") from error
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise ConfigError(missing) from error
