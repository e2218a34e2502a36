"""The two questions that predictions can answer, each with its measures under any weighting.

`FractureQuestion`: fractured or not. `ClassQuestion`: which class. Both turn weights float64
[replicates, n] (how often each radiograph was drawn) into measures [replicates]; where a measure
does not exist (no fractured radiograph, nothing flagged) it is NaN.
"""

import numpy as np

from kirik.evaluation.bootstrap import Bootstrapped, Values, bootstrap
from kirik.evaluation.calibration import CalibrationBins, log_losses
from kirik.evaluation.predictions import Predictions
from kirik.evaluation.ranking import Ranking, ratio
from kirik.operating_points import CrossFitted, OperatingPoints

BIASED = frozenset({"ece"})
"""Measures that chance alone makes larger, also where probabilities mean what they say."""


def answered(
    question: "FractureQuestion | ClassQuestion",
    predictions: Predictions,
    replicates: int,
    seed: int,
) -> Bootstrapped:
    """A question's measures of these predictions, with their intervals over groups."""
    return bootstrap(
        question.values,
        question.labels,
        predictions.groups,
        replicates=replicates,
        seed=seed,
        counted=question.counted(),
        biased=BIASED,
    )


class FractureQuestion:
    """Fractured or not, by the probability of a fracture at one threshold, and three-way.

    threshold: at or above it a radiograph counts as called fractured; one, or each one's own.
    points: where given, the decision with "uncertain" between them is measured too.
    """

    def __init__(
        self,
        predictions: Predictions,
        threshold: float | np.ndarray = 0.5,
        points: OperatingPoints | CrossFitted | None = None,
    ):
        self.labels = predictions.fractured
        self._probability = predictions.fracture_probability
        self._points = points
        self._called = self._probability >= threshold
        self.ranking = Ranking(self.labels, self._probability)
        self.bins = CalibrationBins(self.labels, self._probability)
        self._peaks = predictions.peaks_on_fracture

    def values(self, weights: np.ndarray) -> Values:
        """All measures by name."""
        return (
            self._ranked(weights)
            | self._at_threshold(weights)
            | self._calibration(weights)
            | self._localization(weights)
            | self._three_way(weights)
        )

    def counted(self) -> dict[object, np.ndarray]:
        """Each measure that is a proportion → bool [n], the radiographs in its denominator."""
        everyone = np.ones(len(self.labels), bool)
        counted = {
            "accuracy": everyone,
            **dict.fromkeys(("sensitivity", "sensitivity_at_specificity_90"), self.labels),
            "specificity": ~self.labels,
            "specificity_at_sensitivity_90": ~self.labels,
            "specificity_at_sensitivity_95": ~self.labels,
            "ppv": self._called,
            "npv": ~self._called,
        }
        if self._peaks is not None:
            counted["peak_on_fracture"] = ~np.isnan(self._peaks)
        return counted | self._counted_three_way(everyone)

    def _counted_three_way(self, everyone: np.ndarray) -> dict[object, np.ndarray]:
        if self._points is None:
            return {}
        decided = self._decided()
        return {
            **{f"share_{name}": everyone for name in decided},
            "sensitivity_at_low": self.labels,
            "specificity_at_high": ~self.labels,
            "error_in_decided": ~decided["uncertain"],
            "error_in_fracture": decided["fracture"],
            "error_in_no_fracture": decided["no_fracture"],
            "fractures_dismissed": self.labels,
        }

    def confusion(self, weights: np.ndarray) -> tuple[np.ndarray, ...]:
        """True positives, false negatives, false positives, true negatives."""
        cells = [self.labels & self._called, self.labels & ~self._called]
        cells += [~self.labels & self._called, ~self.labels & ~self._called]
        return tuple(weights @ cell for cell in cells)

    def _ranked(self, weights: np.ndarray) -> Values:
        curve = self.ranking.curve(weights)
        return {
            "auroc": curve.auroc(),
            "auprc": curve.auprc(),
            "sensitivity_at_specificity_90": curve.sensitivity_at(0.90),
            "specificity_at_sensitivity_90": curve.specificity_at(0.90),
            "specificity_at_sensitivity_95": curve.specificity_at(0.95),
        }

    def _at_threshold(self, weights: np.ndarray) -> Values:
        tp, fn, fp, tn = self.confusion(weights)
        sensitivity, specificity = ratio(tp, tp + fn), ratio(tn, tn + fp)
        spread = np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
        return {
            "accuracy": ratio(tp + tn, tp + fn + fp + tn),
            "balanced_accuracy": (sensitivity + specificity) / 2,
            "sensitivity": sensitivity,
            "specificity": specificity,
            "ppv": ratio(tp, tp + fp),
            "npv": ratio(tn, tn + fn),
            "f1": ratio(2 * tp, np.where(tp + fn > 0, 2 * tp + fp + fn, 0)),
            "mcc": ratio(tp * tn - fp * fn, spread),
        }

    def _calibration(self, weights: np.ndarray) -> Values:
        truth = self.labels.astype(float)
        total = weights.sum(axis=1)
        of_label = np.where(self.labels, self._probability, 1 - self._probability)
        return {
            "brier": ratio(weights @ (self._probability - truth) ** 2, total),
            "ece": self.bins.error(weights),
            "log_loss": ratio(weights @ log_losses(of_label), total),
        }

    def _localization(self, weights: np.ndarray) -> Values:
        if self._peaks is None:
            return {}
        known = ~np.isnan(self._peaks)
        hits = weights @ np.nan_to_num(self._peaks)
        return {"peak_on_fracture": ratio(hits, weights @ known.astype(float))}

    def _three_way(self, weights: np.ndarray) -> Values:
        if self._points is None:
            return {}
        cells = self.three_way(weights)
        fracture, cleared = cells["fracture"], cells["no_fracture"]
        everyone = weights.sum(axis=1)
        fractured = weights @ self.labels
        decided = fracture.sum(axis=0) + cleared.sum(axis=0)
        return {
            "share_fracture": fracture.sum(axis=0) / everyone,
            "share_uncertain": cells["uncertain"].sum(axis=0) / everyone,
            "share_no_fracture": cleared.sum(axis=0) / everyone,
            "sensitivity_at_low": ratio(fractured - cleared[0], fractured),
            "specificity_at_high": 1 - ratio(fracture[1], everyone - fractured),
            "error_in_decided": ratio(fracture[1] + cleared[0], decided),
            "error_in_fracture": ratio(fracture[1], fracture.sum(axis=0)),
            "error_in_no_fracture": ratio(cleared[0], cleared.sum(axis=0)),
            "fractures_dismissed": ratio(cleared[0], fractured),
        }

    def three_way(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Decision → [2, replicates]: how many fractured, how many others."""
        return {
            name: np.stack([weights @ (rows & self.labels), weights @ (rows & ~self.labels)])
            for name, rows in self._decided().items()
        }

    def _decided(self) -> dict[str, np.ndarray]:
        called = self._probability >= self._points.high
        cleared = self._probability < self._points.low
        return {"fracture": called, "uncertain": ~called & ~cleared, "no_fracture": cleared}


class ClassQuestion:
    """Which class, by the highest probability. Per-class measures are one against the rest.

    Names of per-class measures are pairs (class index, measure). Means over classes are over
    those that the radiographs have.
    """

    def __init__(self, predictions: Predictions):
        self.labels = predictions.labels
        self._probabilities = predictions.probabilities
        self._count = len(predictions.classes)
        self._present = [c for c in range(self._count) if np.any(self.labels == c)]
        self._chosen = chosen = predictions.probabilities.argmax(axis=1)
        self.cells = np.eye(self._count**2)[self.labels * self._count + chosen]
        self.rankings = [
            Ranking(self.labels == c, predictions.probabilities[:, c]) for c in range(self._count)
        ]
        self.bins = CalibrationBins(chosen == self.labels, predictions.probabilities.max(axis=1))

    def values(self, weights: np.ndarray) -> Values:
        """All measures by name, or by (class index, name)."""
        per_class = self._per_class(weights)
        total = weights.sum(axis=1)
        of_label = self._probabilities[np.arange(len(self.labels)), self.labels]
        squares = (self._probabilities - np.eye(self._count)[self.labels]) ** 2
        whole = {
            "accuracy": self._hits(weights) / total,
            "balanced_accuracy": self._mean(per_class, "sensitivity"),
            "macro_auroc": self._mean(per_class, "auroc"),
            "macro_auprc": self._mean(per_class, "auprc"),
            "macro_f1": self._mean(per_class, "f1"),
            "log_loss": weights @ log_losses(of_label) / total,
            "brier": weights @ squares.sum(axis=1) / total,
            "ece": self.bins.error(weights),
        }
        return whole | per_class

    def counted(self) -> dict[object, np.ndarray]:
        """Each measure that is a proportion → bool [n], the radiographs in its denominator."""
        counted: dict[object, np.ndarray] = {"accuracy": np.ones(len(self.labels), bool)}
        for c in range(self._count):
            counted[c, "sensitivity"] = self.labels == c
            counted[c, "specificity"] = self.labels != c
            counted[c, "ppv"] = self._chosen == c
        return counted

    def confusion(self, weights: np.ndarray) -> np.ndarray:
        """[replicates, true class, chosen class]."""
        return (weights @ self.cells).reshape(-1, self._count, self._count)

    def _hits(self, weights: np.ndarray) -> np.ndarray:
        return np.trace(self.confusion(weights), axis1=1, axis2=2)

    def _mean(self, per_class: Values, name: str) -> np.ndarray:
        return np.mean([per_class[c, name] for c in self._present], axis=0)

    def _per_class(self, weights: np.ndarray) -> Values:
        table = self.confusion(weights)
        total = table.sum(axis=(1, 2))
        values: Values = {}
        for c, ranking in enumerate(self.rankings):
            hits = table[:, c, c]
            of_class, called = table[:, c].sum(axis=1), table[:, :, c].sum(axis=1)
            curve = ranking.curve(weights)
            values[c, "auroc"], values[c, "auprc"] = curve.auroc(), curve.auprc()
            values[c, "sensitivity"] = ratio(hits, of_class)
            values[c, "specificity"] = ratio(total - of_class - called + hits, total - of_class)
            values[c, "ppv"] = ratio(hits, called)
            values[c, "f1"] = ratio(2 * hits, of_class + called)
        return values
