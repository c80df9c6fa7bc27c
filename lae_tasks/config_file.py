"""Reads the settings: one YAML file over a named preset, validated before anything runs.

A wrong key or value raises a ConfigError that names the line, the key and the remedy. Paths in
the file are relative to the file.
"""

import difflib
import os
import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from lae_tasks.config import Config
from lae_tasks.errors import ConfigError
from lae_tasks.naming.prompt_template import is_own_template
from lae_tasks.naming.vocabulary import Vocabulary


def default_path() -> Path:
    """The config file that is used when none is named: `$LAE_CONFIG`, else `lae.yaml`."""
    return Path(os.environ.get("LAE_CONFIG", "lae.yaml"))


def load_config(path: Path | None = None, **overrides: str | None) -> Config:
    """Reads and validates a config file.

    Args:
        path: The YAML file; by default `$LAE_CONFIG` or `lae.yaml`.
        overrides: `raw` or `store`, which win over the file's where not None; as they come from a
            command line, their paths are relative to the working directory.

    Raises:
        ConfigError: It names the line, the key, and what would be right.
    """
    path = path or default_path()
    try:
        text = path.read_text(encoding="utf-8")
        node = yaml.compose(text)
        own = yaml.safe_load(text) or {}
    except OSError as error:
        raise ConfigError(
            f"config {path}: {error.strerror}; name one by --config or $LAE_CONFIG"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"config {path}: not UTF-8; save it as UTF-8") from error
    except yaml.YAMLError as error:
        raise ConfigError(_explain_yaml(error, path)) from error
    if not isinstance(own, dict):
        raise ConfigError(f"config {path}: expected keys and values, got {type(own).__name__}")
    own = _with_vocabulary(own, path)
    for key, uri in overrides.items():
        if uri is not None:
            own[key] = uri if "://" in uri else str(Path(uri).absolute())
    merged = _merge(_preset(own, path, node), own)
    try:
        config = Config.model_validate(merged)
    except ValidationError as error:
        raise ConfigError(_explain(error, path, node)) from error
    return _with_absolute_paths(config, path.resolve().parent)


def preset_names() -> list[str]:
    """The presets that come with the package."""
    folder = resources.files("lae_tasks") / "presets"
    return sorted(f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name[-5:] == ".yaml")


def _preset(own: dict[str, Any], path: Path, node: yaml.Node | None) -> dict[str, Any]:
    choices = ", ".join(preset_names())
    if "preset" not in own:
        raise ConfigError(f"{path}: preset is missing; add one of: {choices}")
    name = own["preset"]
    if name not in preset_names():
        close = difflib.get_close_matches(str(name), preset_names(), 1)
        hint = f"; did you mean {close[0]}?" if close else ""
        line = _line(node, ["preset"])
        raise ConfigError(f"{path}:{line}: preset: {name!r} is not one of: {choices}{hint}")
    text = (resources.files("lae_tasks") / "presets" / f"{name}.yaml").read_text()
    values: dict[str, Any] = yaml.safe_load(text)
    return values


def _with_vocabulary(own: dict[str, Any], path: Path) -> dict[str, Any]:
    """The settings with the vocabulary's content, where they name its file."""
    named = own.get("vocabulary")
    if not isinstance(named, str):
        return own
    file = path.resolve().parent / named
    try:
        text = file.read_text(encoding="utf-8")
        vocabulary = Vocabulary.model_validate(yaml.safe_load(text) or {})
    except OSError as error:
        raise ConfigError(f"vocabulary {file}: {error.strerror}; give a file, or names") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"vocabulary {file}: not UTF-8; save it as UTF-8") from error
    except yaml.YAMLError as error:
        raise ConfigError(_explain_yaml(error, file)) from error
    except ValidationError as error:
        problems = _explain(error, file, yaml.compose(text), Vocabulary)
        raise ConfigError(f"vocabulary {problems}") from error
    return own | {"vocabulary": vocabulary}


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _explain_yaml(error: yaml.YAMLError, path: Path) -> str:
    mark = getattr(error, "problem_mark", None)
    line = f":{mark.line + 1}" if mark else ""
    return f"{path}{line}: not valid YAML: {getattr(error, 'problem', None) or error}"


def _explain(
    error: ValidationError, path: Path, node: yaml.Node | None, kind: type[BaseModel] = Config
) -> str:
    """Every problem with its line; `kind` is what the file holds."""
    problems = []
    for item in error.errors():
        where = [str(part) for part in item["loc"]]
        problem = ": ".join(filter(None, [".".join(where), _message(item, kind)]))
        problems.append((_line(node, where), problem))
    return "\n".join(f"{path}:{line}: {problem}" for line, problem in sorted(problems))


def _message(item: Mapping[str, Any], kind: type[BaseModel]) -> str:
    """What to write instead."""
    got = item["input"]
    if item["type"] == "extra_forbidden":
        *section, key = map(str, item["loc"])
        close = difflib.get_close_matches(key, _known_keys(section, kind), 1)
        hint = f"did you mean {close[0]}?" if close else "`lae config --schema` lists the keys"
        return f"unknown key; {hint}"
    if item["type"] == "missing":
        return "is missing; add it"
    if item["type"] == "tuple_type":
        return "give a list" + (f", such as [{got}]" if isinstance(got, str) else _got(got))
    if item["type"] == "model_type":
        return f"give keys and values{_got(got)}"
    if item["type"] == "string_type":
        return f"give text, in quotes where YAML reads something else{_got(got)}"
    # Of a choice, pydantic shows <Outcome.REJECT: 'reject'>.
    message = re.sub(r"<[\w.]+: ('[^']*')>", r"\1", item["msg"].removeprefix("Value error, "))
    return message + _got(got)


def _got(value: Any) -> str:
    """The value in question; a whole section would hide what is said of it."""
    return "" if isinstance(value, dict | BaseModel) else f" (got {value!r})"


def _known_keys(section: list[str], kind: type[BaseModel]) -> list[str]:
    """The keys of a section, or of an item of a list; none where they cannot be told."""
    kinds = [kind]
    for part in section:
        if not part.isdigit():
            inner = (kind.model_fields[part] for kind in kinds if part in kind.model_fields)
            # An item of `rules` is told by its rule.
            kinds = [kind for kind in kinds if _is_rule(kind, part)] or [
                kind for field in inner for kind in _models_in(field.annotation)
            ]
    return list(kinds[0].model_fields) if len(kinds) == 1 else []


def _is_rule(kind: type[BaseModel], name: str) -> bool:
    return "rule" in kind.model_fields and kind.model_fields["rule"].default == name


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """The sections that an annotation speaks of, such as the items of a list."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [kind for part in get_args(annotation) for kind in _models_in(part)]


def _line(node: yaml.Node | None, where: list[str]) -> int:
    """The line of a key in the file; that of its nearest parent where it is not there."""
    line = 1
    for part in where:
        if isinstance(node, yaml.SequenceNode):
            if part.isdigit() and int(part) < len(node.value):
                node = node.value[int(part)]
                line = node.start_mark.line + 1
            continue  # a list stands for `categories`, which is no key then
        if not isinstance(node, yaml.MappingNode):
            break
        pairs = {key.value: (key, value) for key, value in node.value}
        if part not in pairs:
            continue  # it is missing; or a rule's name, which is no key
        key, node = pairs[part]
        line = key.start_mark.line + 1
    return line


def _absolute_clip(name: str | None, folder: Path) -> str | None:
    """`local-dir:FOLDER`, or `ARCHITECTURE/CHECKPOINT` where that is a file below the folder."""
    if name is None:
        return None
    start, mark, place = name.partition(":" if name.startswith("local-dir:") else "/")
    return f"{start}{mark}{folder / place}" if place and (folder / place).exists() else name


def _with_absolute_paths(config: Config, folder: Path) -> Config:
    """Resolves relative paths against the config file's folder."""

    def absolute(value: str | None) -> str | None:
        """A path that exists below the folder becomes absolute; other names stay."""
        if value is None:
            return None
        kind, colon, rest = value.rpartition(":")
        local = folder / rest
        return f"{kind}{colon}{local}" if local.exists() else value

    checkpoint = config.segment.checkpoint
    if checkpoint and config.segment.checkpoint_is_folder:
        checkpoint = Path(absolute(str(checkpoint)) or checkpoint)
    elif checkpoint:
        checkpoint = folder / checkpoint
    asks = config.classify
    classify = {
        # A server has its own names for models.
        "model": asks.model if asks.namer == "remote" else absolute(asks.model),
        "clip_model": _absolute_clip(asks.clip_model, folder),
        "prompt": asks.prompt if is_own_template(asks.prompt) else absolute(asks.prompt),
    }
    storage = {
        name: uri if "://" in uri else str(folder / uri)
        for name, uri in (("raw", config.raw), ("store", config.store))
    }
    return config.model_copy(
        update={
            **storage,
            "segment": config.segment.model_copy(update={"checkpoint": checkpoint}),
            "classify": config.classify.model_copy(update=classify),
        }
    )
