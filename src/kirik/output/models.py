"""The shipped models as a table for the terminal."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from kirik.bundle import Bundle
from kirik.output.words import texts

_FIGURES = ("auroc", "auprc", "ece")


def print_models(bundles: Sequence[Bundle], language: str = "en") -> None:
    """A row for each model: name, network, input, size on disk, and its out-of-fold figures."""
    words, console = texts(language), Console(highlight=False)
    if not bundles:
        console.print(words["no_models"])
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("model", "network", "input", "disk"):
        table.add_column(words[title])
    for name in _FIGURES:
        table.add_column(name.upper())
    for bundle in bundles:
        manifest = bundle.manifest
        size = sum((bundle.path / name).stat().st_size for name in bundle.checksums)
        figures = manifest.provenance.get("out_of_fold", {})
        table.add_row(
            manifest.name,
            manifest.network,
            f"{manifest.preprocessing.size} × {manifest.preprocessing.size}",
            f"{size / 1e6:.1f} MB",
            *(_figure(figures.get(name)) for name in _FIGURES),
        )
    console.print(table)
    console.print(words["models_note"], style="dim")


def _figure(figure: Sequence[float | None] | None) -> str:
    if not figure or figure[0] is None:
        return "–"
    value, low, high = figure
    # The interval below, so that a table of three figures fits a terminal of 80 columns.
    return f"{value:.3f}" + ("" if low is None else f"\n{low:.3f}–{high:.3f}")
