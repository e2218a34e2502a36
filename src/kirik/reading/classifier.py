"""A bundle, made ready to read radiographs: files, arrays, one or many; torch is not needed."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from kirik.archives import Member
from kirik.bundle import Bundle, Manifest, find_bundle, load_bundle
from kirik.errors import KirikError, RadiographError
from kirik.files import shown
from kirik.operating_points import OUT_OF_SCOPE, decide
from kirik.radiograph import Radiograph, radiograph_from_array
from kirik.reading import evidence as maps
from kirik.reading.batch import read_in_order
from kirik.reading.decoder import Decoders, shared_decoders
from kirik.reading.engines import CPU
from kirik.reading.models import open_model
from kirik.reading.network import Scores
from kirik.reading.prepare import Later, Prepared, Wanted, prepare
from kirik.reading.reading import Failure, Finding, Reading
from kirik.stores import Remote

Source = Path | str | Member | Remote | np.ndarray | Radiograph


class Classifier:
    """Reads radiographs with one bundle. Safe to share among threads.

    threads: that one radiograph's computation uses; as many as there are cores where None.
    providers: ONNX Runtime's names, the preferred first, such as CUDAExecutionProvider.
    engine: one of `kirik.reading.engines.ENGINES`.
    gate: whether a radiograph unlike those trained on is out of scope; off, all are judged, and
        their `strangeness` can be looked at.
    findings_from: give every finding of at least this score, whatever the decision, as a
        measurement of findings needs them; where None, those that a reading shows.
    decoders: the processes that decode files, and their limits; where None, those that all
        classifiers of this process share.

    Raises BundleError if a graph cannot be run, SettingsError if there is no such engine here.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        threads: int | None = None,
        providers: Sequence[str] = (CPU,),
        engine: str = "onnxruntime",
        gate: bool = True,
        findings_from: float | None = None,
        decoders: Decoders | None = None,
    ):
        self.bundle = bundle
        self._gate = gate and bundle.manifest.scope is not None
        self._findings_from = findings_from
        self.manifest = bundle.manifest
        self.classes = bundle.manifest.classes
        self.name = _name(bundle.manifest)
        self.decoders = decoders or shared_decoders()
        self._model = open_model(bundle, threads, providers, engine)
        self.heavy = self._model.heavy
        own = bundle.manifest.preprocessing
        others = sorted(self._model.wants - {own}, key=lambda setting: setting.size)
        stride = bundle.manifest.evidence.stride if bundle.manifest.evidence else 1
        self._wanted = Wanted((own, *others), stride, self._model.later)

    def read(self, source: Source) -> Reading:
        """Read one radiograph: a file, a `Radiograph`, or an array for `radiograph_from_array`.

        Raises RadiographError if it is not one, and for a file of several frames, which
        `read_many` reads.
        """
        frames = self.frames(source)
        one = next(frames)
        if others := sum(1 for _ in frames):  # counted, not kept: a file may have thousands
            raise RadiographError(
                f"{shown(str(source))}: has {1 + others} frames; read them with read_many",
                reason="several_frames",
            )
        [result] = [one] if isinstance(one, KirikError) else self.judge([one])
        if isinstance(result, KirikError):
            raise result
        return result

    def read_many(
        self,
        sources: Iterable[Path | str | Member | Remote],
        *,
        batch_size: int = 16,
        workers: int | None = None,
    ) -> Iterator[Reading | Failure]:
        """Read files, giving one Reading or Failure for each of their frames, in order, as they
        are done.

        Files are decoded in `workers` processes while the network runs, and only three batches of
        frames are held at a time, however many a file has. Neither the workers' number nor the
        batch's size changes what is read. Raises SettingsError for one file instead of several.
        What `sources` raises instead of a further file is raised after all results of those before.
        """
        return read_in_order(self, sources, batch_size=batch_size, workers=workers)

    def frames(self, source: Source) -> Iterator[Prepared | RadiographError]:
        """Decode a radiograph and bring it to the model's inputs: one for each frame of a file, as
        they are asked for.

        A file is decoded in another process, see `kirik.reading.decoder`. A frame that cannot be
        read is an error in its place. Raises RadiographError where the whole file cannot be, as
        `read_radiograph` does, or shows nothing: its reason is then too_small or blank.
        """
        if isinstance(source, np.ndarray):
            source = radiograph_from_array(source)
        if isinstance(source, Radiograph):
            yield prepare(source, None, self._wanted)
            return
        if not isinstance(source, Path | str | Member | Remote):
            raise RadiographError(
                f"{type(source).__name__} is no radiograph; give a path or a numpy array",
                reason="not_an_image",
            )
        wanted = self._wanted
        request = {
            "do": "prepare",
            "settings": [asdict(setting) for setting in wanted.settings],
            "stride": wanted.stride,
            "later": [i for i, setting in enumerate(wanted.settings) if setting in wanted.later],
        }
        for header, arrays in self.decoders.ask(source, request):
            if "error" in header:
                why, number = header["reason"], header["number"]
                yield RadiographError(header["error"], reason=why, frame=number)
            else:
                yield Prepared(
                    source,
                    header["number"],
                    dict(zip(wanted.settings, arrays, strict=True)),
                    maps.Frame.from_json(header["frame"]),
                    tuple(header["warnings"]),
                )

    def judge(self, prepared: Sequence[Prepared]) -> list[Reading | KirikError]:
        """Readings of prepared radiographs, in one run of the network.

        A radiograph that makes the network fail gives a RadiographError in its place.
        """
        if not prepared:
            return []
        batch = {}
        for setting in self._wanted.settings:
            given = [one.inputs[setting] for one in prepared]
            late = setting in self._wanted.later
            batch[setting] = Later(setting, given) if late else np.stack(given)
        scores = self._model.run(batch)
        return [self._reading(one, scores, row) for row, one in enumerate(prepared)]

    def _reading(self, prepared: Prepared, scores: Scores, row: int) -> Reading | KirikError:
        probabilities = scores.probabilities[row]
        if not np.isfinite(probabilities).all():
            where = shown(prepared.path or "array")
            what = f"{where}: the model {self.name} gives no number for it; read it by eye"
            return RadiographError(what, reason="model")
        strange = None if scores.strangeness is None else float(scores.strangeness[row])
        if self._gate and strange is not None and not strange <= self.manifest.scope.threshold:
            return Reading(
                prepared.path,
                OUT_OF_SCOPE,
                None,
                {},
                self.name,
                frame=prepared.number,
                source=prepared.source,
                strangeness=strange,
            )
        decision, probability = self._decide(probabilities)
        frame = prepared.frame
        reading = Reading(
            prepared.path,
            decision,
            probability,
            dict(zip(self.classes, probabilities.tolist(), strict=True)),
            self.name,
            frame=prepared.number,
            source=prepared.source,
            attributes=dict(zip(self.manifest.attributes, scores.attributes[row], strict=True)),
            strangeness=strange,
            points=self.manifest.operating_points,
            warnings=prepared.warnings,
        )
        if scores.evidence is None:
            return reading
        cells = scores.evidence[row]
        peak = maps.peak(cells, frame)
        return replace(
            reading,
            findings=self._findings(decision, peak.score, scores, row, frame),
            peak=peak,
            evidence=maps.over_radiograph(cells, frame),
        )

    def _findings(
        self, decision: str, highest: float, scores: Scores, row: int, frame: maps.Frame
    ) -> tuple[Finding, ...]:
        """highest: the map's highest score."""
        if decision == "no_fracture" and self._findings_from is None:
            return ()
        if scores.parts:
            own = [(part.weight, part.evidence[row], part.boxes[row]) for part in scores.parts]
            found = maps.fused_findings(own, frame)
            start = self._shown_from(found[0].score if found else 0)
            return tuple(one for one in found if start is not None and one.score >= start)
        start = self._shown_from(highest)
        if start is None:
            return ()
        boxes = None if scores.boxes is None else scores.boxes[row]
        return maps.findings(scores.evidence[row], frame, start, boxes)

    def _shown_from(self, highest: float) -> float | None:
        """The score from which findings are given; None where none are.

        The strongest one is given at least, unless it is fainter than `FAINTEST`, so that a person
        who must decide knows where to look first. highest: the strongest one's score.
        """
        if self._findings_from is not None:
            return self._findings_from
        if highest < maps.FAINTEST:
            return None
        evidence = self.manifest.evidence
        if highest >= evidence.threshold:
            return evidence.threshold
        # Without boxes a finding is what lies around its peak, and needs some room.
        return highest if evidence.boxes else highest / 2

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
    engine: str = "onnxruntime",
    gate: bool = True,
    decoders: Decoders | None = None,
) -> Classifier:
    """The classifier of a bundle (or of the training run that made it), its files verified.

    path: where None, the bundle that the environment variable KIRIK_MODEL names, or else the
        one that ships with kirik.
    engine, gate, decoders: see `Classifier`.

    Raises BundleError if there is none, or it is damaged; SettingsError as `Classifier` does.
    """
    bundle = load_bundle(find_bundle(path))
    return Classifier(
        bundle,
        threads=threads,
        providers=providers,
        engine=engine,
        gate=gate,
        decoders=decoders,
    )


def _name(manifest: Manifest) -> str:
    """The model as a reading names it; a first version goes without saying."""
    first = manifest.version == "1"
    return manifest.name if first else f"{manifest.name}, version {manifest.version}"
