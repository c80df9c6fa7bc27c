"""What a vision-language model is asked of a crop: a text file, and the form of its reply."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
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
    return (resources.files("lae_tasks.naming") / "prompts" / f"{name}.txt").is_file()


def load_template(name: str) -> PromptTemplate:
    """A template of the package (`lae_paper`, `json`) or of a file.

    A file `NAME.schema.json` beside it is the schema of its replies.

    Raises:
        ConfigError: If there is no such template, or its schema is no JSON object.
    """
    own = resources.files("lae_tasks.naming") / "prompts" / f"{name}.txt"
    text, schema = own, resources.files("lae_tasks.naming") / "prompts" / f"{name}.schema.json"
    if not own.is_file():
        text = Path(name)
        schema = text.with_name(f"{text.stem}.schema.json")
    try:
        words = text.read_text(encoding="utf-8").strip()
        form = json.loads(schema.read_text(encoding="utf-8")) if schema.is_file() else None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"classify.prompt {name!r}: no such template or text file") from error
    except json.JSONDecodeError as error:
        raise ConfigError(f"classify.prompt {name!r}: {schema}: not JSON: {error}") from error
    if form is not None and not isinstance(form, dict):
        raise ConfigError(f"classify.prompt {name!r}: {schema}: a JSON schema is an object")
    return PromptTemplate(words, form)
