"""A study's folder: models that were cross-validated on one split, and what is beside them.

FOLDER/NAME/predictions.csv, metrics.json, findings.csv, settings.toml
                                                           what `kirik crossval` left of each model
FOLDER/ablations/TOPIC/NAME/…                              what `kirik train` left of single runs
FOLDER/gate.json                                           what `scripts/gate.py measure` left
FOLDER/notes.md                                            what people write beside the figures
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kirik.errors import DataSetError
from kirik.evaluation.localization import FINDINGS
from kirik.evaluation.metrics import Metrics, read_metrics
from kirik.evaluation.predictions import Predictions, read_predictions

FILES, SETTINGS = ("predictions.csv", "metrics.json"), "settings.toml"
ABLATIONS = "ablations"


@dataclass(frozen=True)
class Studied:
    """One model of the study."""

    name: str
    predictions: Predictions
    metrics: Metrics

    @property
    def facts(self) -> dict:
        return self.metrics.get("facts") or {}


def add_runs(folder: Path, runs: Sequence[Path]) -> None:
    """Copy what a study needs of cross-validated runs; a run of the same name is replaced.

    Raises DataSetError if one was not cross-validated, or has no class "no fracture".
    """
    for run in runs:
        report = run / "report"
        if not all((report / name).is_file() for name in FILES):
            raise DataSetError(f"{run}: no cross-validation's report in it; run kirik crossval")
        check_cross_validated(run, _read_metrics(run, report))
        place = folder / run.resolve().name
        place.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            shutil.copyfile(report / name, place / name)
        # An average of models has no settings of its own, one without a map no findings.
        for source in (run / SETTINGS, report / FINDINGS):
            (place / source.name).unlink(missing_ok=True)
            if source.is_file():
                shutil.copyfile(source, place / source.name)


def add_ablation(
    folder: Path, topic: str, name: str, run: Path, *, without: Sequence[str] = ()
) -> None:
    """Copy what a study needs of a run on one fold, as a row of a topic's table.

    without: settings of the run that are left out. Rows stand in the order of their names, whose
    leading digits are not shown. Raises DataSetError if the run has no report, or is not of a fold.
    """
    if not all((run / "report" / file).is_file() for file in FILES):
        raise DataSetError(f"{run}: no report in it; a run on a fold has one")
    part = (_read_metrics(run, run / "report").get("facts") or {}).get("part")
    if not (run / SETTINGS).is_file() or part == "dev":
        raise DataSetError(f"{run}: was not trained without one fold and measured on it")
    place = folder / ABLATIONS / topic / name
    place.mkdir(parents=True, exist_ok=True)
    for file in FILES:
        shutil.copyfile(run / "report" / file, place / file)
    own = (run / SETTINGS).read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in own if line.partition(" =")[0] not in without]
    (place / SETTINGS).write_text("".join(kept), encoding="utf-8")


def load_studied(folder: Path) -> list[Studied]:
    """The models in a folder, by name."""
    found = []
    for place in sorted(path for path in folder.iterdir() if (path / FILES[1]).is_file()):
        metrics = _read_metrics(place, place)
        found.append(Studied(place.name, read_predictions(place / FILES[0]), metrics))
    return found


def _read_metrics(place: Path, report: Path) -> Metrics:
    """The figures in a report's folder, of a run or of a study's row that lies at `place`.

    Raises DataSetError if they cannot be read, or do not tell whether a bone is fractured.
    """
    metrics = read_metrics(report / FILES[1])
    fracture = metrics["fracture"]
    if fracture is None:
        raise DataSetError(
            f'{place}: none of its classes means "no fracture", which a study asks about; '
            "leave it out, and put such models side by side with kirik compare"
        )
    figure = fracture.get("auroc")
    if not isinstance(figure, dict) or figure.get("value") is None:
        raise DataSetError(f"{place}: no AUROC in its {FILES[1]}; evaluate it again")
    return metrics


def check_cross_validated(place: Path, metrics: Metrics) -> None:
    """Raise DataSetError for what was not: crossval alone chooses what it measures a fold with on
    the other folds."""
    if not metrics["fracture"].get("cross_fitted"):
        part = (metrics.get("facts") or {}).get("part")
        raise DataSetError(
            f"{place}: was measured on {part or 'one part'} by a single network, not "
            "cross-validated; run kirik crossval, or give a run on a fold as --ablation"
        )
