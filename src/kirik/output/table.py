"""Readings as a table for the terminal: the decision in colour and in words, a bar beside it."""

from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from kirik.files import shown
from kirik.output.words import (
    REASONS,
    decision_words,
    points_words,
    probability_words,
    texts,
    warnings_words,
)
from kirik.reading.reading import Failure, Reading

_MARKS = {
    "fracture": ("●", "bold red"),
    "uncertain": ("◐", "yellow"),
    "no_fracture": ("○", "green"),
    "out_of_scope": ("⊘", "bold magenta"),
}
_BAR = 12


def readings_table(
    results: Sequence[Reading | Failure], language: str = "en", *, total: int | None = None
) -> RenderableType:
    """A row for each result; what could not be read, with its reason, below.

    total: how many results there are, where `results` are only the first of them.
    Raises SettingsError if kirik does not speak the language.
    """
    words = texts(language)
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column(words["radiograph"], overflow="fold", ratio=1)
    table.add_column(words["reading"], no_wrap=True)
    table.add_column(_probability_title(results, words), no_wrap=True)
    failures = []
    for result in results:
        if isinstance(result, Failure):
            failures.append(result)
        else:
            table.add_row(
                _name(result, language), _decision(result, language), _bar(result, language)
            )
    parts: list[RenderableType] = [table] if len(failures) < len(results) else []
    parts += [_failure(one, language) for one in failures]
    parts += _more((total or 0) - len(results), language)
    parts += [Text(line, style="dim") for line in _points(results, language)]
    return Group(*parts, _footer(results, words))


def print_table(
    results: Sequence[Reading | Failure], language: str = "en", *, total: int | None = None
) -> None:
    """Print `readings_table` on standard output; where that is no terminal, no path is folded."""
    console = Console(highlight=False)
    if not console.is_terminal:
        longest = max((len(r.path or "") for r in results), default=0)
        console = Console(highlight=False, width=max(80, longest + 80))
    console.print(readings_table(results, language, total=total))


def failures_list(
    failures: Sequence[Failure], language: str = "en", *, total: int | None = None
) -> RenderableType:
    """The files that could not be read, a line each, with why.

    total: how many there are, where `failures` are only the first of them.
    """
    lines = [_failure(one, language) for one in failures]
    return Group(*lines, *_more((total or 0) - len(failures), language))


def _more(count: int, language: str) -> list[Text]:
    return [Text(texts(language)["more"].format(count=count), style="dim")] if count > 0 else []


def counts_line(read: int, failed: int, language: str = "en") -> str:
    """How many were read, and how many not, in one line."""
    words = texts(language)
    said = words["read"].format(read=read)
    return said + (", " + words["not_read"].format(failed=failed) if failed else "")


def _probability_title(results: Sequence[Reading | Failure], words: dict[str, str]) -> str:
    judged = [r for r in results if isinstance(r, Reading) and r.probabilities]
    of_fracture = all(r.probability is not None for r in judged)
    return words["probability" if of_fracture else "probability_class"]


def _name(reading: Reading, language: str) -> Text:
    text = Text(shown(reading.path or "array"))
    if reading.frame is not None:
        text.append(f" ({texts(language)['frame']} {reading.frame})", style="dim")
    for warning in warnings_words(reading, language):
        text.append(f"\n⚠ {warning}", style="yellow")
    return text


def _decision(reading: Reading, language: str) -> Text:
    mark, style = _MARKS.get(reading.decision, ("■", "bold cyan"))
    return Text(f"{mark} {shown(decision_words(reading.decision, language))}", style=style)


def _bar(reading: Reading, language: str) -> Text:
    if not reading.probabilities:
        return Text("–", style="dim")
    known = reading.probability is not None
    probability = reading.probability if known else reading.probabilities[reading.decision]
    filled = round(probability * _BAR)
    _, style = _MARKS.get(reading.decision, ("", "bold cyan"))
    bar = Text("█" * filled, style=style)
    bar.append("░" * (_BAR - filled), style="dim")
    return bar.append(f" {probability_words(probability, language):>6}", style="default")


def _failure(failure: Failure, language: str) -> Text:
    """What could not be read, and why; the English error is told below another language's."""
    text = Text(f"✗ {texts(language)['failed']}: ", style="red")
    why = REASONS.get(language, {}).get(failure.reason)
    if why is None:
        return text.append(shown(failure.error), "default")
    text.append(f"{shown(failure.path)}: {why}", "default")
    return text.append(f"\n  {shown(failure.error)}", "dim")


def _points(results: Sequence[Reading | Failure], language: str) -> list[str]:
    points = dict.fromkeys(r.points for r in results if isinstance(r, Reading) and r.points)
    return [points_words(one, language) for one in points]


def _footer(results: Sequence[Reading | Failure], words: dict[str, str]) -> Text:
    models = dict.fromkeys(r.model for r in results if isinstance(r, Reading))
    named = f"{words['model']}: {shown(', '.join(models))} · " if models else ""
    return Text(f"{named}{words['disclaimer']}", style="dim italic")
