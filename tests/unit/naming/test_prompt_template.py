"""Prompt templates: those of the package, and files of one's own."""

import json
from pathlib import Path

import pytest

from lae_tasks.errors import ConfigError
from lae_tasks.naming.prompt_template import load_template


def test_prompts_come_from_the_package_or_a_file(tmp_path: Path) -> None:
    paper = load_template("lae_paper")
    assert 'returning a "object category" phrase' in paper.text
    assert paper.schema is None
    form = load_template("json")
    assert form.schema is not None
    assert form.schema["required"] == ["category", "likelihood", "alternatives"]
    mine = tmp_path / "mine.txt"
    mine.write_text("What is it?\n")
    free = load_template(str(mine))
    assert (free.text, free.schema) == ("What is it?", None)
    (tmp_path / "mine.schema.json").write_text('{"type": "object"}')
    assert load_template(str(mine)).sha256 != free.sha256
    (tmp_path / "mine.schema.json").write_text("[")
    with pytest.raises(ConfigError, match="not JSON"):
        load_template(str(mine))
    (tmp_path / "mine.schema.json").write_text("[]")
    with pytest.raises(ConfigError, match="a JSON schema is an object"):
        load_template(str(mine))
    with pytest.raises(ConfigError, match="no such template or text file"):
        load_template("none")


@pytest.mark.parametrize("name", ["", ".", "..", "/", "no\0file", "json.txt"])
def test_what_is_no_file_is_no_template(name: str) -> None:
    with pytest.raises(ConfigError, match="no such template or text file"):
        load_template(name)


@pytest.mark.parametrize("content", [b"", b" \n", b"\xef\xbb\xbf"])
def test_a_prompt_has_text(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "mine.txt").write_bytes(content)
    with pytest.raises(ConfigError, match="the file is empty; write what to ask the model"):
        load_template(str(tmp_path / "mine.txt"))


def test_a_mark_of_an_editor_is_no_part_of_a_prompt(tmp_path: Path) -> None:
    schema = json.dumps({"type": "object"})
    (tmp_path / "mine.txt").write_text("What is it?", encoding="utf-8-sig")
    (tmp_path / "mine.schema.json").write_text(schema, encoding="utf-8-sig")
    template = load_template(str(tmp_path / "mine.txt"))
    assert (template.text, template.schema) == ("What is it?", {"type": "object"})


@pytest.mark.parametrize("name", ["mine.txt", "mine.schema.json"])
def test_another_encoding_is_told_of_the_file_that_has_it(tmp_path: Path, name: str) -> None:
    (tmp_path / "mine.txt").write_text("What is it?")
    (tmp_path / name).write_text("é", encoding="utf-16")
    with pytest.raises(ConfigError, match=rf"{name}\W.*not UTF-8; save it as UTF-8"):
        load_template(str(tmp_path / "mine.txt"))
