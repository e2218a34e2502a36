"""Do probabilities mean what they say: temperature and bias, calibration error, reliability.

C. Guo et al., On Calibration of Modern Neural Networks, ICML 2017, arXiv:1706.04599.
A. Alexandari et al., Maximum Likelihood with Bias-Corrected Calibration is Hard-To-Beat at Label
Shift Adaptation, ICML 2020, arXiv:1901.06852.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize, minimize_scalar
from scipy.special import log_softmax, logit

BINS = 15
TEMPERATURES = (0.2, 10.0)
_SMALLEST = 1e-7


def fit_temperature(
    logits_or_probs: np.ndarray, labels: np.ndarray, *, probabilities: bool | None = None
) -> float:
    """The temperature T that makes softmax(logits / T) most likely, 0.2 ≤ T ≤ 10.

    logits_or_probs: [n] logits of a fracture, or [n, classes] logits; or probabilities of either
    shape. labels: [n], bool or class index. probabilities: which of them; by default taken for
    probabilities if all lie in 0…1 (and, with classes, rows sum to 1).
    A weak log-normal prior around 1, worth about one radiograph, keeps few or perfectly separated
    radiographs from driving T to an end; with fewer than two classes T is 1.
    """
    scores, labels = np.asarray(logits_or_probs, float), np.asarray(labels).astype(int)
    if len(np.unique(labels)) < 2:
        return 1.0
    logits = _as_logits(scores, probabilities)
    rows = np.arange(len(labels))

    def cost(log_temperature: float) -> float:
        likely = log_softmax(logits / np.exp(log_temperature), axis=1)[rows, labels]
        return -likely.sum() + log_temperature**2 / 2

    ends = np.log(TEMPERATURES)
    return float(np.exp(minimize_scalar(cost, bounds=ends, method="bounded").x))


@dataclass(frozen=True)
class Calibration:
    """Probabilities are softmax(logits / temperature + bias).

    bias: of each class; none where empty.
    """

    temperature: float = 1.0
    bias: tuple[float, ...] = ()

    def apply(self, probabilities: np.ndarray) -> np.ndarray:
        """Probabilities [n, classes] as the calibration has them."""
        logits = np.log(np.clip(np.asarray(probabilities, float), _SMALLEST, 1))
        bias = np.array(self.bias) if self.bias else 0.0
        return np.exp(log_softmax(logits / self.temperature + bias, axis=1))


def fit_calibration(probabilities: np.ndarray, labels: np.ndarray) -> Calibration:
    """Temperature and bias that make the labels most likely (Alexandari et al. 2020).

    probabilities: [n, classes]. labels: class indices [n]. The bias mends a class's share where a
    temperature alone, which leaves 0.5 where it is, cannot. Weak normal priors, around 0, on the
    temperature's logarithm and the biases, whose sum is 0, hold few radiographs back, as in
    `fit_temperature`; with fewer than two classes there is nothing to calibrate.
    """
    labels = np.asarray(labels).astype(int)
    if len(np.unique(labels)) < 2:
        return Calibration()
    logits = _as_logits(np.asarray(probabilities, float), True)
    rows, ends = np.arange(len(labels)), np.log(TEMPERATURES)
    mine = np.eye(logits.shape[1])[labels]

    def cost(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        """Negative log-likelihood with the priors', and its gradient."""
        logarithm, bias = parameters[0], parameters[1:]
        scaled = logits / np.exp(logarithm)
        likely = log_softmax(scaled + bias, axis=1)
        off = np.exp(likely) - mine
        slope = np.append(-(off * scaled).sum(), off.sum(axis=0)) + parameters
        return -likely[rows, labels].sum() + (parameters**2).sum() / 2, slope

    start = np.zeros(1 + logits.shape[1])
    bounds = [tuple(ends)] + [(None, None)] * logits.shape[1]
    found = minimize(cost, start, jac=True, bounds=bounds, method="L-BFGS-B").x
    return Calibration(float(np.exp(found[0])), tuple(found[1:].tolist()))


def _as_logits(scores: np.ndarray, probabilities: bool | None) -> np.ndarray:
    """[n, classes] of logits, whatever was given."""
    if probabilities is None:
        inside = bool(np.all((scores >= 0) & (scores <= 1)))
        probabilities = inside and (
            scores.ndim == 1 or np.allclose(scores.sum(axis=1), 1, atol=1e-3)
        )
    if scores.ndim == 1:
        values = logit(np.clip(scores, _SMALLEST, 1 - _SMALLEST)) if probabilities else scores
        return np.stack([np.zeros_like(values), values], axis=1)
    return np.log(np.clip(scores, _SMALLEST, 1)) if probabilities else scores


def log_losses(probability_of_label: np.ndarray) -> np.ndarray:
    """−log of the probability given to each true label; a probability of 0 counts as 1e-7."""
    return -np.log(np.clip(probability_of_label, _SMALLEST, 1))


class CalibrationBins:
    """At most 15 bins of equal mass over the given probabilities; equal ones share a bin.

    correct: bool [n], whether what the probability was for is true. probability: [n].
    Bins of equal mass rather than equal width: most radiographs have a small probability, and
    wide empty bins hide the error (Nguyen & O'Connor, EMNLP 2015).
    """

    def __init__(self, correct: np.ndarray, probability: np.ndarray, bins: int = BINS):
        edges = np.unique(np.quantile(probability, np.linspace(0, 1, bins + 1)[1:-1]))
        place = np.searchsorted(edges, probability, side="right")
        self._member = np.eye(len(edges) + 1)[place]
        self._said = self._member * probability[:, None]
        self._true = self._member * np.asarray(correct, float)[:, None]

    def error(self, weights: np.ndarray) -> np.ndarray:
        """Expected calibration error of each weighting: [replicates, n] → [replicates]."""
        gaps = np.abs(weights @ self._said - weights @ self._true)
        return gaps.sum(axis=1) / weights.sum(axis=1)

    def reliability(self) -> "Reliability":
        """Mean probability and share that is true, bin by bin; empty bins are left out."""
        count = self._member.sum(axis=0)
        full = count > 0
        return Reliability(
            (self._said.sum(axis=0)[full] / count[full]),
            (self._true.sum(axis=0)[full] / count[full]),
            count[full].astype(int),
        )


@dataclass(frozen=True)
class Reliability:
    """A reliability diagram's points: mean probability, observed share, radiographs; [bins]."""

    said: np.ndarray
    observed: np.ndarray
    count: np.ndarray
