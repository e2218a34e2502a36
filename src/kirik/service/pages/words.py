"""The words of the pages, by language: words/en.json and words/tr.json, which have the same keys.

`said` holds those of every page; a page's own stand under its name.
"""

import json
from functools import cache
from importlib.resources import files


@cache
def words_of(language: str) -> dict[str, dict[str, str]]:
    """All words of a language, by page."""
    folder = files("kirik.service.pages") / "words"
    words, refusals = (
        json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        for name in (language, f"refusals-{language}")
    )
    return words | {"said": words["said"] | refusals}


def words_for(page: str, language: str) -> dict[str, str]:
    """The words that a page's own modules need."""
    words = words_of(language)
    return words["said"] | words.get(page, {})
