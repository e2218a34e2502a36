"""Runs side by side, and their differences on the radiographs that they have in common.

Two intervals that overlap do not say that two classifiers are alike: both saw the same difficult
radiographs. The paired difference, resampled over the same groups, says it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from kirik.errors import DataSetError
from kirik.evaluation.bootstrap import Estimate, bootstrap
from kirik.evaluation.metrics import Metrics
from kirik.evaluation.predictions import Predictions
from kirik.evaluation.questions import BIASED, ClassQuestion, FractureQuestion

Run = tuple[str, Predictions, Metrics]
FRACTURE_FIGURES = (
    "auroc",
    "auprc",
    "sensitivity",
    "specificity",
    "sensitivity_at_specificity_90",
    "specificity_at_sensitivity_95",
    "accuracy",
    "balanced_accuracy",
    "f1",
    "brier",
    "ece",
)
CLASS_FIGURES = (
    "accuracy",
    "balanced_accuracy",
    "macro_auroc",
    "macro_auprc",
    "macro_f1",
    "log_loss",
    "ece",
)
AT_THRESHOLD = frozenset({"sensitivity", "specificity", "accuracy", "balanced_accuracy", "f1"})
LOWER_IS_BETTER = frozenset({"brier", "ece", "log_loss"})
Refusal = Literal["other_data", "none_common", "labels_differ"]


@dataclass(frozen=True)
class Difference:
    """One run minus the reference, on their common radiographs.

    refused: why there is no difference, or None. disagreeing: radiographs whose labels differ.
    figures: measure → the paired difference with its 95 % interval over groups.
    """

    name: str
    reference: str
    common: int
    disagreeing: int = 0
    refused: Refusal | None = None
    figures: dict[str, Estimate] = field(default_factory=dict)


@dataclass(frozen=True)
class Comparison:
    """Runs as given, the measures to show, and each run's difference to the first."""

    runs: tuple[Run, ...]
    measures: tuple[str, ...]
    differences: tuple[Difference, ...]

    @property
    def fracture(self) -> bool:
        """Whether the question is fractured or not, rather than which class."""
        return self.measures == FRACTURE_FIGURES

    def figures(self, run: Run) -> Metrics:
        """The part of a run's metrics that holds `measures`."""
        return run[2]["fracture" if self.fracture else "by_class"]


def compare(runs: Sequence[Run], *, bootstrap: int = 2000, seed: int = 0) -> Comparison:
    """Compare runs, the first being the reference of all differences.

    runs: (name, predictions, metrics of `measure`, with the `facts` of a report where it has them).
    Each keeps its own threshold; where one has its own for each fold, which predictions do not
    tell, what depends on it has no difference. Where two runs were measured on data sets of
    different names, have no radiograph in common, or give a common one different labels, their
    difference is refused, not computed on the rest: they were measured against different truths.
    Raises DataSetError for fewer than two runs, a name used twice, runs that answer different
    questions, or figures that answer another one than the predictions beside them.
    """
    names = [name for name, _, _ in runs]
    if len(names) < 2:
        raise DataSetError(f"nothing to compare: {len(names)} run given; name at least two")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataSetError(f"two runs are named {twice!r}: give each its own name")
    measures = _common_measures(runs)
    _check_figures(runs, measures)
    reference, *others = runs
    differences = tuple(_difference(reference, run, measures, bootstrap, seed) for run in others)
    return Comparison(tuple(runs), measures, differences)


def _common_measures(runs: Sequence[Run]) -> tuple[str, ...]:
    if all(predictions.binary for _, predictions, _ in runs):
        return FRACTURE_FIGURES
    name, first, _ = runs[0]
    for other_name, other, _ in runs[1:]:
        if other.classes != first.classes or other.binary != first.binary:
            raise DataSetError(
                f"{name} and {other_name} tell different classes apart ({', '.join(first.classes)};"
                f" {', '.join(other.classes)}): compare runs that answer one question"
            )
    return CLASS_FIGURES


def _check_figures(runs: Sequence[Run], measures: tuple[str, ...]) -> None:
    for run, _, metrics in runs:
        own = metrics["fracture" if measures == FRACTURE_FIGURES else "by_class"] or {}
        lacking = [name for name in measures if not isinstance(own.get(name), dict)]
        if lacking:
            raise DataSetError(
                f"{run}: its figures lack {lacking[0]}, though its predictions tell it; "
                "evaluate it again"
            )


def _difference(
    reference: Run, run: Run, measures: tuple[str, ...], replicates: int, seed: int
) -> Difference:
    if _other_data(reference, run):
        return Difference(run[0], reference[0], 0, refused="other_data")
    base, other = _common(reference[1], run[1])
    found = Difference(run[0], reference[0], len(base.ids))
    if not base.ids:
        return Difference(run[0], reference[0], 0, refused="none_common")
    fracture = measures == FRACTURE_FIGURES
    disagreeing = int(np.sum(_labels(base, fracture) != _labels(other, fracture)))
    if disagreeing:
        return Difference(
            found.name, found.reference, found.common, disagreeing, refused="labels_differ"
        )
    if fracture and any(
        metrics["fracture"].get("cross_fitted") for _, _, metrics in (reference, run)
    ):
        measures = tuple(name for name in measures if name not in AT_THRESHOLD)
    first, second = (
        FractureQuestion(part, metrics["fracture"]["threshold"])
        if fracture
        else ClassQuestion(part)
        for part, metrics in ((base, reference[2]), (other, run[2]))
    )

    def differences(weights: np.ndarray) -> dict[object, np.ndarray]:
        before, after = first.values(weights), second.values(weights)
        return {name: after[name] - before[name] for name in measures}

    drawn = bootstrap(
        differences,
        first.labels,
        base.groups,
        replicates=replicates,
        seed=seed,
        biased=BIASED.intersection(measures),
    )
    return Difference(found.name, found.reference, found.common, figures=drawn.estimates)


def _other_data(first: Run, second: Run) -> bool:
    """Whether both name their data set, and not the same: a common file name says nothing then.

    Splits may differ, for those of one data set name the same radiographs.
    """
    names = [(metrics.get("facts") or {}).get("data_set") for _, _, metrics in (first, second)]
    return all(names) and names[0] != names[1]


def _common(first: Predictions, second: Predictions) -> tuple[Predictions, Predictions]:
    """The rows of the radiographs that both have, in the first one's order."""
    place = {image_id: row for row, image_id in enumerate(second.ids)}
    rows = [row for row, image_id in enumerate(first.ids) if image_id in place]
    others = [place[first.ids[row]] for row in rows]
    return first.select(np.array(rows, int)), second.select(np.array(others, int))


def _labels(part: Predictions, fracture: bool) -> np.ndarray:
    return part.fractured if fracture else part.labels
