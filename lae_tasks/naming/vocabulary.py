"""The data set's own names: what outranks every similarity, and what may be accepted unseen."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from pydantic import BaseModel, ConfigDict, field_validator, model_validator

from lae_tasks.errors import ConfigError
from lae_tasks.naming.names import canonical_form, same_spelling


class Synonym(BaseModel):
    """Another name of a category, and who says so."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    by: str = "vocabulary"

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        return value if isinstance(value, dict | cls) else {"name": value}


class Category(BaseModel):
    """A name that stands for itself, whatever it resembles."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    synonyms: tuple[Synonym, ...] = ()
    parent: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        return value if isinstance(value, dict | cls) else {"name": value}


class Vocabulary(BaseModel):
    """What `vocabulary.yaml` holds; in the settings a mere list of names will do.

    Attributes:
        categories: Names that the rule `new_category` lets be accepted unseen; empty: every name.
        blocked: Names that no region may bear, such as `object`, by the rule `blocked`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    categories: tuple[Category, ...] = ()
    blocked: tuple[str, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _names_alone(cls, value: Any) -> Any:
        return {"categories": value} if isinstance(value, list | tuple) else value

    @field_validator("categories")
    @classmethod
    def _each_name_once(cls, categories: tuple[Category, ...]) -> tuple[Category, ...]:
        own: dict[str, str] = {}
        for name in (category.name for category in categories):
            form = _form(name)
            if form in own:
                raise ValueError(f"{own[form]!r} and {name!r} are the same name; leave one out")
            own[form] = name
        meant: dict[str, str] = {}
        for category in categories:
            for name in (synonym.name for synonym in category.synonyms):
                form = _form(name)
                if form in own:
                    raise ValueError(
                        f"{name!r} is a synonym of {category.name!r} and a category, too"
                    )
                if meant.setdefault(form, category.name) != category.name:
                    raise ValueError(
                        f"{name!r} is a synonym of {meant[form]!r} and of {category.name!r}"
                    )
        return categories

    @field_validator("blocked")
    @classmethod
    def _names_are_blocked(cls, blocked: tuple[str, ...]) -> tuple[str, ...]:
        for name in blocked:
            _form(name)
        return blocked

    @model_validator(mode="after")
    def _consistent(self) -> "Vocabulary":
        names = {category.name for category in self.categories}
        parent_of = {category.name: category.parent for category in self.categories}
        for category in self.categories:
            if category.parent is not None and category.parent not in names:
                raise ValueError(
                    f"the parent {category.parent!r} of {category.name!r} is no category; add it"
                )
            above, seen = category.parent, {category.name}
            while above is not None:
                if above in seen:
                    raise ValueError(f"{category.name!r} is its own parent by way of {above!r}")
                seen.add(above)
                above = parent_of[above]
        for name in self.blocked:
            if self.meaning(name):
                raise ValueError(f"{name!r} is blocked and a name of the vocabulary, too")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The categories' names, in their order."""
        return tuple(category.name for category in self.categories)

    def meaning(self, name: str) -> tuple[str, str] | None:
        """The category that a name stands for, and who says so; None if nothing is known of it.

        Names that differ in case, number, hyphens or a determiner are the same.

        >>> Vocabulary.model_validate(["Large-Vehicle"]).meaning("large vehicles")
        ('Large-Vehicle', 'vocabulary')
        """
        return self._meanings.get(canonical_form(name))

    def spelled(self, name: str) -> str:
        """The category that a name stands for; the name itself if nothing is known of it."""
        known = self.meaning(name)
        return known[0] if known else name

    def relatives(self, name: str) -> frozenset[str]:
        """The canonical forms of the categories above and below the one of that name."""
        return self._relatives.get(canonical_form(name), frozenset())

    def compatible(self, one: str, other: str) -> bool:
        """Whether both names can be right of one thing: they are one, or one is above the other."""
        form = canonical_form(other)
        return form == canonical_form(one) or form in self.relatives(one)

    def blocks(self, name: str) -> bool:
        """Whether no region may bear the name."""
        return canonical_form(name) in self._blocked

    def require_clear(self) -> None:
        """Raises ConfigError if names differ that stand for one thing, or one name for two.

        Names that are spelled alike are told when the settings are read. To know others, such as
        plurals, takes two seconds, which a command that needs no names does not wait for.
        """
        _ = self._meanings

    @cached_property
    def _meanings(self) -> Mapping[str, tuple[str, str]]:
        found: dict[str, tuple[str, str]] = {}
        said: dict[str, str] = {}
        own = [(category.name, category.name, "vocabulary") for category in self.categories]
        synonyms = [
            (synonym.name, category.name, synonym.by)
            for category in self.categories
            for synonym in category.synonyms
        ]
        for name, category_name, by in (*own, *synonyms):
            form = canonical_form(name)
            known, _ = found.setdefault(form, (category_name, by))
            if known != category_name:
                raise ConfigError(
                    f"vocabulary: {said[form]!r} and {name!r} are the same name, but the one "
                    f"stands for {known!r}, the other for {category_name!r}; leave one out"
                )
            said.setdefault(form, name)
        return found

    @cached_property
    def _relatives(self) -> Mapping[str, frozenset[str]]:
        parent_of = {category.name: category.parent for category in self.categories}
        found: dict[str, set[str]] = {}
        for name, above in parent_of.items():
            while above is not None:
                found.setdefault(canonical_form(name), set()).add(canonical_form(above))
                found.setdefault(canonical_form(above), set()).add(canonical_form(name))
                above = parent_of[above]
        return {form: frozenset(forms) for form, forms in found.items()}

    @cached_property
    def _blocked(self) -> frozenset[str]:
        return frozenset(map(canonical_form, self.blocked))


def _form(name: str) -> str:
    """A name without what differs between spellings. Raises ValueError if nothing is left."""
    form = same_spelling(name)
    if not form:
        raise ValueError(f"{name!r} is no name")
    return form


#: That of a data set which takes every name.
OPEN = Vocabulary()
