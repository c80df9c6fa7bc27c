"""The vocabulary: what names mean, and what it refuses to hold."""

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from lae_tasks.config_file import load_config
from lae_tasks.errors import ConfigError
from lae_tasks.naming.vocabulary import Vocabulary

AIRPORT = {
    "categories": [
        {"name": "aircraft"},
        {
            "name": "Jet-Plane",
            "synonyms": ["jet", {"name": "airliner", "by": "anna@example.org"}],
            "parent": "aircraft",
        },
        "hangar",
    ],
    "blocked": ["object", "things"],
}


def test_names_mean_their_category_in_every_form() -> None:
    vocabulary = Vocabulary.model_validate(AIRPORT)
    assert vocabulary.names == ("aircraft", "Jet-Plane", "hangar")
    assert vocabulary.spelled("the jet planes") == "Jet-Plane"
    assert vocabulary.meaning("Jets") == ("Jet-Plane", "vocabulary")
    assert vocabulary.meaning("Airliners") == ("Jet-Plane", "anna@example.org")
    assert vocabulary.meaning("ship") is None
    assert vocabulary.spelled("Ships") == "Ships"
    assert vocabulary.blocks("An Object") and vocabulary.blocks("thing")
    assert not vocabulary.blocks("hangar")


def test_what_is_above_or_below_a_name_does_not_contradict_it() -> None:
    categories = ["Vehicles", "ship"]
    for name, parent in (("aircraft", "Vehicles"), ("airplane", "aircraft"), ("car", "Vehicles")):
        categories.append({"name": name, "parent": parent})
    vocabulary = Vocabulary.model_validate(categories)
    assert vocabulary.relatives("Airplanes") == {"aircraft", "vehicle"}
    assert vocabulary.relatives("vehicle") == {"aircraft", "airplane", "car"}
    assert vocabulary.relatives("ship") == vocabulary.relatives("tree") == frozenset()
    assert vocabulary.compatible("airplane", "Vehicle") and vocabulary.compatible("car", "vehicles")
    assert vocabulary.compatible("trees", "Tree")
    assert not vocabulary.compatible("airplane", "car")


def test_a_list_of_names_will_do() -> None:
    assert Vocabulary.model_validate(["ship", "harbour"]).names == ("ship", "harbour")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (["ship", "Ship"], "are the same name"),
        (["?"], "'\\?' is no name"),
        ([{"name": "ship", "synonyms": ["-"]}], "'-' is no name"),
        (["ship", {"name": "boat", "synonyms": ["ships", "Ship"]}], "and a category, too"),
        (
            [{"name": "ship", "synonyms": ["hull"]}, {"name": "boat", "synonyms": ["Hull"]}],
            "synonym of 'ship' and of 'boat'",
        ),
        ([{"name": "ship", "parent": "craft"}], "parent 'craft' of 'ship' is no category; add it"),
        (
            [{"name": "a", "parent": "b"}, {"name": "b", "parent": "a"}],
            "'a' is its own parent by way of 'a'",
        ),
        ({"categories": ["ship"], "blocked": ["the ships"]}, "blocked and a name"),
        ({"blocked": ["object", "?"]}, "'\\?' is no name"),
        ({"names": ["ship"]}, "names"),
    ],
)
def test_what_contradicts_itself_is_refused(content: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Vocabulary.model_validate(content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (["ship", "Ships"], "'ship' and 'Ships' are the same name, but"),
        (
            [{"name": "ship", "synonyms": ["the hulls"]}, {"name": "boat", "synonyms": ["Hull"]}],
            "the one stands for 'ship', the other for 'boat'",
        ),
        (["ship", {"name": "boat", "synonyms": ["some ships"]}], "leave one out"),
    ],
)
def test_what_contradicts_itself_in_another_form_is_told_when_it_is_needed(
    content: Any, message: str
) -> None:
    vocabulary = Vocabulary.model_validate(content)
    with pytest.raises(ConfigError, match=re.escape(message)):
        vocabulary.require_clear()


def test_a_synonym_may_be_a_form_of_its_own_category() -> None:
    content = [{"name": "ship", "synonyms": ["ships", "boats", "a boat"]}]
    vocabulary = Vocabulary.model_validate(content)
    vocabulary.require_clear()
    assert vocabulary.meaning("boat") == ("ship", "vocabulary")


def write_config(folder: Path, vocabulary: str) -> Path:
    config = folder / "lae.yaml"
    config.write_text(f"preset: demo\nraw: raw\nstore: store\nvocabulary: {vocabulary}\n")
    return config


def test_the_settings_may_name_its_file(tmp_path: Path) -> None:
    content = "categories: [{name: ship, synonyms: [boat]}]\nblocked: [object]\n"
    (tmp_path / "vocabulary.yaml").write_text(content)
    config = load_config(write_config(tmp_path, "vocabulary.yaml"))
    assert config.vocabulary.meaning("boats") == ("ship", "vocabulary")
    assert config.vocabulary.blocks("object")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"vocabulary .*vocabulary\.yaml: No such file"),
        ("categories: [", r"vocabulary\.yaml:1: not valid YAML"),
        ("categories:\n- {nam: ship}", r"\.yaml:2: categories\.0\.nam: .* did you mean name\?"),
        ("- ship\n- {synonyms: [x]}", r"\.yaml:2: categories\.1\.name: is missing; add it"),
        ("- ship\n- {name: boat, synonyms: x}", r"\.yaml:2: .* give a list, such as \[x\]"),
    ],
)
def test_a_file_that_is_no_vocabulary_is_told(
    tmp_path: Path, content: str | None, message: str
) -> None:
    if content:
        (tmp_path / "vocabulary.yaml").write_text(content)
    with pytest.raises(ConfigError, match=message):
        load_config(write_config(tmp_path, "vocabulary.yaml"))
