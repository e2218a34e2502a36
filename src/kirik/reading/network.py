"""A bundle's network in its engine: inputs in, calibrated probabilities and evidence maps out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from kirik.bundle import GRAPH, Bundle, Manifest
from kirik.errors import BundleError, SettingsError
from kirik.preprocessing import Preprocessing
from kirik.reading.cores import usable_cores
from kirik.reading.engines import Engine, open_engine
from kirik.reading.prepare import Later

Inputs = Mapping[Preprocessing, np.ndarray | Later]
"""n radiographs for each preprocessing that a model wants: uint8 [n, size, size]."""


class Part(NamedTuple):
    """What a member's maps say of n radiographs, on the grid of the average that it is in.

    weight: what it counts. evidence, boxes: as in `Scores`.
    """

    weight: float
    evidence: np.ndarray
    boxes: np.ndarray


@dataclass(frozen=True)
class Scores:
    """What a network said of n radiographs.

    probabilities: float64 [n, classes]; a row sums to 1, or is NaN where the network failed.
    evidence: float32 [n, rows, columns] in 0…1, or None.
    boxes: float32 [n, 4, rows, columns], each cell's box, see `kirik.bundle`; None without, and of
        an average.
    attributes: float64 [n, attributes] in 0…1, in the manifest's order.
    strangeness: float64 [n], to be held against the scope's threshold; or None.
    parts: of an average, each member's own maps with boxes, whose findings are fused; else none.
    """

    probabilities: np.ndarray
    evidence: np.ndarray | None
    boxes: np.ndarray | None
    attributes: np.ndarray
    strangeness: np.ndarray | None
    parts: tuple[Part, ...] = ()


_SHORT = ("allocate", "bad_alloc", "new thread")
"""What engines and Python say where memory or threads run out."""


class Network:
    """A bundle of kind "network", ready to run. Raises BundleError if its graph is not one."""

    def __init__(self, bundle: Bundle, threads: int | None, providers: Sequence[str], engine: str):
        self.manifest = bundle.manifest
        self.wants, self.later = frozenset([bundle.manifest.preprocessing]), frozenset()
        self._where = bundle.path / GRAPH
        self._engine = _engine(bundle, threads, providers, engine)
        self.heavy = self._engine.heavy
        self._check_graph()
        self._outputs = outputs_of(self.manifest)

    def run(self, inputs: Inputs) -> Scores:
        """Scores of n radiographs. Raises BundleError if the graph breaks its promise."""
        batch = inputs[self.manifest.preprocessing]
        try:
            results = self._engine.run(list(self._outputs), batch[:, None])
        except SettingsError:
            raise
        except Exception as error:  # engines' errors share no base of their own
            said = " ".join(str(error).split())[:200]
            if any(words in said for words in _SHORT):
                message = (
                    f"{self._where}: too much for this machine's limits (see ulimit -a): {said}"
                )
                raise SettingsError(message) from error
            raise self._broken(said) from error
        found = dict(zip(self._outputs, results, strict=True))
        for name, shape in self._outputs.items():
            if found[name].shape != (len(batch), *shape):
                raise self._broken(
                    f"its {name} have the shape {found[name].shape}, not {('n', *shape)}"
                )
        evidence, boxes = found.get("evidence"), found.get("boxes")
        attributes = found.get("attributes", np.zeros((len(batch), 0)))
        return Scores(
            calibrated(found["logits"].astype(np.float64), self.manifest),
            None if evidence is None else within(evidence[:, 0], 1).astype(np.float32),
            None if boxes is None else within(boxes, self.manifest.preprocessing.size),
            within(attributes.astype(np.float64), 1),
            found["strangeness"].astype(np.float64) if self.manifest.scope else None,
        )

    def _check_graph(self) -> None:
        size = self.manifest.preprocessing.size
        if self._engine.inputs != [("radiograph", "tensor(uint8)", (1, size, size))]:
            raise self._broken(f"its input is not radiograph, uint8 [n, 1, {size}, {size}]")
        missing = outputs_of(self.manifest).keys() - set(self._engine.outputs)
        if missing:
            raise self._broken(f"it has no output {', '.join(sorted(missing))}")

    def _broken(self, what: str) -> BundleError:
        return BundleError(f"{self._where}: not a graph that kirik can run: {what}")


def outputs_of(manifest: Manifest) -> dict[str, tuple[int, ...]]:
    """The graph's outputs that a reading needs, each with its shape after the first axis."""
    outputs = {"logits": (len(manifest.classes),)}
    if manifest.evidence:
        side = map_side(manifest)
        outputs["evidence"] = (1, side, side)
        if manifest.evidence.boxes:
            outputs["boxes"] = (4, side, side)
    if manifest.scope:
        outputs["strangeness"] = ()
    if manifest.attributes:
        outputs["attributes"] = (len(manifest.attributes),)
    return outputs


def within(values: np.ndarray, highest: float) -> np.ndarray:
    """A graph may say NaN; a map with a hole in it still shows the rest."""
    return np.clip(np.nan_to_num(values), 0, highest)


def map_side(manifest: Manifest) -> int:
    """Rows, and columns, of a model's evidence map; the last cells may overhang the input."""
    return -(-manifest.preprocessing.size // manifest.evidence.stride)


def calibrated(logits: np.ndarray, manifest: Manifest) -> np.ndarray:
    """A model's probabilities, float64 [n, classes], from what it says before its calibration."""
    bias = np.array(manifest.bias) if manifest.bias else 0.0
    return softmax(logits / manifest.temperature + bias)


def softmax(logits: np.ndarray) -> np.ndarray:
    """float64 [n, classes] whose rows sum to 1; a row with a NaN or an infinity becomes NaN."""
    with np.errstate(invalid="ignore"):
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    powers[~np.isfinite(logits).all(axis=1)] = np.nan
    return powers / powers.sum(axis=1, keepdims=True)


def _engine(bundle: Bundle, threads: int | None, providers: Sequence[str], engine: str) -> Engine:
    if threads is not None and threads < 1:
        raise SettingsError(f"threads {threads}: it must be 1 or more")
    graph = bundle.read(GRAPH)
    try:
        side = bundle.manifest.preprocessing.size
        return open_engine(engine, graph, threads or usable_cores(), providers, side=side)
    except SettingsError:
        raise
    except Exception as error:  # engines' errors share no base of their own
        reason = " ".join(str(error).split())[:200]
        raise BundleError(
            f"{bundle.path / GRAPH}: not a graph that kirik can run: {reason}; get the bundle again"
        ) from error
