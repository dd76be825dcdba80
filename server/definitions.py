"""What the numbers mean, section by section, from the text that ships with the package."""

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Definition:
    """A section of the text."""

    slug: str
    title: str
    text: str


@cache
def definitions() -> dict[str, Definition]:
    """The sections by their slugs, in the text's order."""
    whole = files("server").joinpath("texts/definitions.md").read_text("utf-8")
    sections = (section.partition("\n") for section in whole.split("\n## ")[1:])
    found = [Definition(slug(title), title.strip(), text.strip()) for title, _, text in sections]
    return {definition.slug: definition for definition in found}


def slug(title: str) -> str:
    """A title as part of an address."""
    return "-".join(re.findall(r"[a-z0-9]+", title.lower()))
