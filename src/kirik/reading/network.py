"""A bundle in its engine: inputs in, calibrated probabilities and evidence maps out.

A `Network` runs a graph, an `Average` runs its members; both have `wants` (the preprocessings
whose inputs they need) and `run`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from kirik.bundle import GRAPH, Bundle, Manifest
from kirik.errors import BundleError, SettingsError
from kirik.preprocessing import Preprocessing
from kirik.reading.cores import usable_cores
from kirik.reading.engines import Engine, open_engine

Inputs = Mapping[Preprocessing, np.ndarray]
"""n radiographs for each preprocessing that a model wants: uint8 [n, size, size]."""


@dataclass(frozen=True)
class Scores:
    """What a network said of n radiographs.

    probabilities: float64 [n, classes]; a row sums to 1, or is NaN where the network failed.
    evidence: float32 [n, rows, columns] in 0…1, or None.
    boxes: float32 [n, 4, rows, columns], each cell's box, see `kirik.bundle`; or None.
    attributes: float64 [n, attributes] in 0…1, in the manifest's order.
    strangeness: float64 [n], to be held against the scope's threshold; or None.
    """

    probabilities: np.ndarray
    evidence: np.ndarray | None
    boxes: np.ndarray | None
    attributes: np.ndarray
    strangeness: np.ndarray | None


class Network:
    """A bundle of kind "network", ready to run. Raises BundleError if its graph is not one."""

    def __init__(self, bundle: Bundle, threads: int | None, providers: Sequence[str], engine: str):
        self.manifest = bundle.manifest
        self.wants = frozenset([bundle.manifest.preprocessing])
        self._where = bundle.path / GRAPH
        self._engine = _engine(bundle, threads, providers, engine)
        self._check_graph()
        self._outputs = _outputs(self.manifest)

    def run(self, inputs: Inputs) -> Scores:
        """Scores of n radiographs. Raises BundleError if the graph breaks its promise."""
        batch = inputs[self.manifest.preprocessing]
        try:
            results = self._engine.run(list(self._outputs), batch[:, None])
        except Exception as error:  # engines' errors share no base of their own
            raise self._broken(" ".join(str(error).split())[:200]) from error
        found = dict(zip(self._outputs, results, strict=True))
        for name, shape in self._outputs.items():
            if found[name].shape != (len(batch), *shape):
                raise self._broken(
                    f"its {name} have the shape {found[name].shape}, not {('n', *shape)}"
                )
        evidence, boxes = found.get("evidence"), found.get("boxes")
        attributes = found.get("attributes", np.zeros((len(batch), 0)))
        return Scores(
            softmax(found["logits"].astype(np.float64) / self.manifest.temperature),
            None if evidence is None else _within(evidence[:, 0], 1).astype(np.float32),
            None if boxes is None else _within(boxes, self.manifest.preprocessing.size),
            _within(attributes.astype(np.float64), 1),
            found["strangeness"].astype(np.float64) if self.manifest.scope else None,
        )

    def _check_graph(self) -> None:
        size = self.manifest.preprocessing.size
        if self._engine.inputs != [("radiograph", "tensor(uint8)", (1, size, size))]:
            raise self._broken(f"its input is not radiograph, uint8 [n, 1, {size}, {size}]")
        missing = _outputs(self.manifest).keys() - set(self._engine.outputs)
        if missing:
            raise self._broken(f"it has no output {', '.join(sorted(missing))}")

    def _broken(self, what: str) -> BundleError:
        return BundleError(f"{self._where}: not a graph that kirik can run: {what}")


class Average:
    """A bundle of kind "average": the mean of its members' calibrated probabilities and maps."""

    def __init__(self, bundle: Bundle, threads: int | None, providers: Sequence[str], engine: str):
        self.manifest = bundle.manifest
        self._members = [
            open_model(member, threads, providers, engine) for member in bundle.members
        ]
        self.wants = frozenset().union(*(member.wants for member in self._members))
        weights = np.array(self.manifest.weights or [1.0] * len(self._members))
        self._weights = weights / weights.sum()

    def run(self, inputs: Inputs) -> Scores:
        """Scores of n radiographs. Raises BundleError if a member's graph breaks its promise."""
        scores = [member.run(inputs) for member in self._members]
        pairs = list(zip(self._weights, scores, strict=True))
        mean = sum(weight * score.probabilities for weight, score in pairs)
        if self.manifest.temperature != 1:
            # Pool, then calibrate (Rahaman and Thiery, NeurIPS 2021, arXiv:2007.08792).
            mean = softmax(np.log(np.maximum(mean, 1e-12)) / self.manifest.temperature)
        evidence, boxes = self._maps(pairs)
        return Scores(mean, evidence, boxes, self._attributes(pairs), self._strangeness(pairs))

    def _strangeness(self, pairs) -> np.ndarray | None:
        if not self.manifest.scope:
            return None
        told = [
            (weight, score.strangeness / member.manifest.scope.threshold)
            for (weight, score), member in zip(pairs, self._members, strict=True)
            if score.strangeness is not None
        ]
        return sum(w * strange for w, strange in told) / sum(w for w, _ in told)

    def _maps(self, pairs) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Mean map and mean boxes on the manifest's grid; a box counts by its cell's evidence."""
        said = self.manifest.evidence
        with_map = [
            (weight, score, member.manifest)
            for (weight, score), member in zip(pairs, self._members, strict=True)
            if score.evidence is not None
        ]
        if not (said and with_map):
            return None, None
        side = map_side(self.manifest)
        maps = [(weight, _resampled(score.evidence, side)) for weight, score, _ in with_map]
        mean = sum(weight * cells for weight, cells in maps) / sum(weight for weight, _ in maps)
        if not said.boxes:
            return mean.astype(np.float32), None
        total = share = 0.0
        for (weight, score, manifest), (_, cells) in zip(with_map, maps, strict=True):
            if score.boxes is not None:
                # Distances on one input are other distances on a larger one.
                scale = self.manifest.preprocessing.size / manifest.preprocessing.size
                part = weight * (cells + 1e-6)[:, None]
                flat = score.boxes.reshape(-1, *score.boxes.shape[2:])
                total = total + part * scale * _resampled(flat, side).reshape(-1, 4, side, side)
                share = share + part
        return mean.astype(np.float32), (total / share).astype(np.float32)

    def _attributes(self, pairs) -> np.ndarray:
        """Mean over the members that tell an attribute."""
        columns = []
        for name in self.manifest.attributes:
            told = [
                (weight, score.attributes[:, member.manifest.attributes.index(name)])
                for (weight, score), member in zip(pairs, self._members, strict=True)
                if name in member.manifest.attributes
            ]
            columns.append(sum(w * said for w, said in told) / sum(w for w, _ in told))
        return np.stack(columns, axis=1) if columns else np.zeros((len(pairs[0][1].attributes), 0))


def open_model(
    bundle: Bundle, threads: int | None, providers: Sequence[str], engine: str
) -> Network | Average:
    """A bundle of either kind, ready to run. Raises BundleError or SettingsError."""
    kind = Average if bundle.manifest.kind == "average" else Network
    return kind(bundle, threads, providers, engine)


def _outputs(manifest: Manifest) -> dict[str, tuple[int, ...]]:
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


def _within(values: np.ndarray, highest: float) -> np.ndarray:
    """A graph may say NaN; a map with a hole in it still shows the rest."""
    return np.clip(np.nan_to_num(values), 0, highest)


def map_side(manifest: Manifest) -> int:
    """Rows, and columns, of a model's evidence map; the last cells may overhang the input."""
    return -(-manifest.preprocessing.size // manifest.evidence.stride)


def _resampled(maps: np.ndarray, side: int) -> np.ndarray:
    if maps.shape[1:] == (side, side):
        return maps
    images = [Image.fromarray(one).resize((side, side), Image.Resampling.BILINEAR) for one in maps]
    return np.stack([np.asarray(image) for image in images])


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
        return open_engine(engine, graph, threads or usable_cores(), providers)
    except SettingsError:
        raise
    except Exception as error:  # engines' errors share no base of their own
        reason = " ".join(str(error).split())[:200]
        raise BundleError(
            f"{bundle.path / GRAPH}: not a graph that kirik can run: {reason}; get the bundle again"
        ) from error
