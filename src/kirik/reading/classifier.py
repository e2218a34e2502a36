"""A bundle, made ready to read radiographs: files, arrays, one or many, with ONNX Runtime alone."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from kirik.bundle import Bundle, Manifest, find_bundle, load_bundle
from kirik.errors import KirikError, RadiographError
from kirik.files import shown
from kirik.operating_points import OUT_OF_SCOPE, decide
from kirik.preprocessing import Preprocessing
from kirik.radiograph import Radiograph, radiograph_from_array, read_radiograph
from kirik.reading import evidence as maps
from kirik.reading.batch import read_in_order
from kirik.reading.network import CPU, Scores, open_model
from kirik.reading.reading import Failure, Reading

Source = Path | str | np.ndarray | Radiograph

_LEAST_SIDE = 32
"""A radiograph with fewer pixels than this across shows no bone that could be judged."""

_LEAST_SPREAD = 0.02
"""Less than this between the 1st and 99th percentile is an empty exposure, or a lost window."""


@dataclass(frozen=True)
class Prepared:
    """A radiograph brought to the model's inputs, its full pixels let go.

    inputs: uint8 [size, size] for each preprocessing that the model wants.
    """

    path: str | None
    inputs: dict[Preprocessing, np.ndarray]
    frame: maps.Frame
    warnings: tuple[str, ...]


class Classifier:
    """Reads radiographs with one bundle. Safe to share among threads.

    threads: that one radiograph's computation uses; as many as there are cores where None.
    providers: ONNX Runtime's names, the preferred first, such as CUDAExecutionProvider.
    gate: whether a radiograph unlike those trained on is out of scope; off, all are judged, and
        their `strangeness` can be looked at.
    findings_from: give every finding of at least this score, whatever the decision, as a
        measurement of findings needs them; where None, those that a reading shows.

    Raises BundleError if a graph cannot be run, SettingsError if a provider is not there.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        threads: int | None = None,
        providers: Sequence[str] = (CPU,),
        gate: bool = True,
        findings_from: float | None = None,
    ):
        self.bundle = bundle
        self._gate, self._findings_from = gate, findings_from
        self.manifest = bundle.manifest
        self.classes = bundle.manifest.classes
        self.name = _name(bundle.manifest)
        self._model = open_model(bundle, threads, providers)

    def read(self, source: Source) -> Reading:
        """Read one radiograph: a file, a `Radiograph`, or an array for `radiograph_from_array`.

        Raises RadiographError if it is not one.
        """
        [result] = self.judge([self.prepare(source)])
        if isinstance(result, KirikError):
            raise result
        return result

    def read_many(
        self, paths: Iterable[Path | str], *, batch_size: int = 16, workers: int | None = None
    ) -> Iterator[Reading | Failure]:
        """Read files, giving one Reading or Failure for each, in their order, as they are done.

        Files are decoded in `workers` threads while the network runs, and only two batches are
        held ahead. The batch's size does not change what is read.
        """
        return read_in_order(self, paths, batch_size=batch_size, workers=workers)

    def prepare(self, source: Source) -> Prepared:
        """Decode a radiograph and bring it to the model's inputs.

        Raises RadiographError, as `read_radiograph` does, and for what shows nothing: its reason
        is then too_small or blank.
        """
        path = str(source) if isinstance(source, Path | str) else None
        if path is not None:
            radiograph = read_radiograph(Path(path))
        elif isinstance(source, np.ndarray):
            radiograph = radiograph_from_array(source)
        elif isinstance(source, Radiograph):
            radiograph = source
        else:
            raise RadiographError(
                f"{type(source).__name__} is no radiograph; give a path or a numpy array",
                reason="not_an_image",
            )
        _check_shows_something(radiograph, path or "array")
        inputs = {setting: setting.apply(radiograph) for setting in self._model.wants}
        stride = self.manifest.evidence.stride if self.manifest.evidence else 1
        frame = maps.Frame.of(radiograph, self.manifest.preprocessing, stride)
        return Prepared(path, inputs, frame, _warnings(frame))

    def judge(self, prepared: Sequence[Prepared]) -> list[Reading | KirikError]:
        """Readings of prepared radiographs, in one run of the network.

        A radiograph that makes the network fail gives a RadiographError in its place.
        """
        batch = {
            setting: np.stack([one.inputs[setting] for one in prepared])
            for setting in self._model.wants
        }
        scores = self._model.run(batch)
        return [self._reading(one, scores, row) for row, one in enumerate(prepared)]

    def _reading(self, prepared: Prepared, scores: Scores, row: int) -> Reading | KirikError:
        probabilities = scores.probabilities[row]
        if not np.isfinite(probabilities).all():
            where = prepared.path or "array"
            what = f"{where}: the model {self.name} gives no number for it; read it by eye"
            return RadiographError(what, reason="model")
        strange = None if scores.strangeness is None else float(scores.strangeness[row])
        if self._gate and strange is not None and not strange <= self.manifest.scope.threshold:
            return Reading(prepared.path, OUT_OF_SCOPE, None, {}, self.name, strangeness=strange)
        decision, probability = self._decide(probabilities)
        frame = prepared.frame
        reading = Reading(
            prepared.path,
            decision,
            probability,
            dict(zip(self.classes, probabilities.tolist(), strict=True)),
            self.name,
            attributes=dict(zip(self.manifest.attributes, scores.attributes[row], strict=True)),
            strangeness=strange,
            points=self.manifest.operating_points,
            warnings=prepared.warnings,
        )
        if scores.evidence is None:
            return reading
        cells = scores.evidence[row]
        boxes = None if scores.boxes is None else scores.boxes[row]
        shown_from = self._shown_from(decision)
        return replace(
            reading,
            findings=maps.findings(cells, frame, shown_from, boxes) if shown_from else (),
            peak=maps.peak(cells, frame),
            evidence=maps.over_radiograph(cells, frame),
        )

    def _shown_from(self, decision: str) -> float | None:
        """The score from which findings are given; None where none are."""
        if self._findings_from is not None:
            return self._findings_from
        return None if decision == "no_fracture" else self.manifest.evidence.threshold

    def _decide(self, probabilities: np.ndarray) -> tuple[str, float | None]:
        """The decision, and the probability of a fracture where there is such a thing."""
        negative, points = self.manifest.negative, self.manifest.operating_points
        if negative is None:
            return self.classes[int(probabilities.argmax())], None
        probability = float(1 - probabilities[negative])
        return decide(probability, points), probability


def load_model(
    path: Path | str | None = None,
    *,
    threads: int | None = None,
    providers: Sequence[str] = (CPU,),
    gate: bool = True,
) -> Classifier:
    """The classifier of a bundle (or of the training run that made it), its files verified.

    path: where None, the bundle that the environment variable KIRIK_MODEL names, or else the
        one that ships with kirik.
    gate: False judges what is out of scope, too.

    Raises BundleError if there is none, or it is damaged; SettingsError as `Classifier` does.
    """
    bundle = load_bundle(find_bundle(path))
    return Classifier(bundle, threads=threads, providers=providers, gate=gate)


def _name(manifest: Manifest) -> str:
    """The model as a reading names it; a first version goes without saying."""
    first = manifest.version == "1"
    return manifest.name if first else f"{manifest.name}, version {manifest.version}"


def _warnings(frame: maps.Frame) -> tuple[str, ...]:
    """Stable words for what makes a reading of this radiograph doubtful."""
    # Above 2, more than half of the input's pixels would be made up.
    return ("low_resolution",) if frame.scale > 2 else ()


def _check_shows_something(radiograph: Radiograph, where: str) -> None:
    """A network gives a sure answer for an empty picture, too: so that it is never asked."""
    rows, columns = radiograph.stored_size
    if min(rows, columns) < _LEAST_SIDE:
        raise RadiographError(
            f"{shown(where)}: {columns}×{rows} pixels are too few to judge (at least {_LEAST_SIDE} "
            "on each side); export it larger",
            reason="too_small",
        )
    step = max(1, min(rows, columns) // 512)  # enough pixels for percentiles, and quick
    low, high = np.percentile(radiograph.pixels[::step, ::step], (1, 99))
    if high - low < _LEAST_SPREAD:
        raise RadiographError(
            f"{shown(where)}: nothing to see in it: all pixels are nearly alike; "
            "export it again with a window",
            reason="blank",
        )
