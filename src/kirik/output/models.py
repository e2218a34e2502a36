"""The shipped models as a table for the terminal."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from kirik.bundle import DEFAULT, Bundle
from kirik.output.words import network_words, number, texts

_FIGURES = ("auroc", "auprc", "ece")


def print_models(bundles: Sequence[Bundle], language: str = "en") -> None:
    """A row for each model: name, network, size on disk, its out-of-fold figures and the share that
    it leaves to a person; below, what they mean, and where each model's card is."""
    words, console = texts(language), Console(highlight=False)
    if not bundles:
        console.print(words["no_models"])
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column(words["model"], no_wrap=True)
    table.add_column(words["network"])
    for title in (words["disk"], *map(str.upper, _FIGURES), words["uncertain_share"]):
        table.add_column(title, no_wrap=True)
    for bundle in bundles:
        manifest = bundle.manifest
        size = sum((bundle.path / name).stat().st_size for name in bundle.checksums)
        figures = manifest.provenance.get("out_of_fold", {})
        table.add_row(
            f"{manifest.name} *" if manifest.name == DEFAULT else manifest.name,
            network_words(manifest, language),
            f"{number(size / 1e6, 1, language)} MB",
            *(_figure(figures.get(one), language) for one in (*_FIGURES, "share_uncertain")),
        )
    console.print(table)
    console.print(words["models_note"], style="dim")
    if any(bundle.manifest.name == DEFAULT for bundle in bundles):
        console.print(words["default"], style="dim")
    for bundle in bundles:
        said = words["card"].format(name=bundle.manifest.name, path=bundle.path / "card.md")
        console.print(said, style="dim", soft_wrap=True)


def _figure(figure: Sequence[float | None] | None, language: str) -> str:
    if not figure or figure[0] is None:
        return "–"
    value, low, high = (end if end is None else number(end, 3, language) for end in figure)
    # The interval below, so that a table of four figures fits a terminal of 80 columns.
    return value + ("" if low is None else f"\n{low}–{high}")
