"""From finished runs to the bundle of a model: what was chosen is entered, weights are stored
in fewer bits."""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from kirik.bundle import GRAPH, WIDE, Bundle, Manifest, Scope, write_bundle
from kirik.card import model_card
from kirik.dataset.check import select
from kirik.dataset.index import Index, Record
from kirik.dataset.split import Split
from kirik.drafts import drafting
from kirik.errors import RadiographError
from kirik.evaluation.calibration import Calibration
from kirik.evaluation.metrics import Metrics
from kirik.joining import member_files
from kirik.operating_points import OperatingPoints
from kirik.preprocessing import Preprocessing
from kirik.radiograph import Radiograph, read_radiograph
from kirik.reading.classifier import Classifier
from kirik.reading.cores import usable_cores
from kirik.reading.network import outputs_of

COMPARED = 32
"""Radiographs on which weights in fewer bits must give nearly the same probabilities."""
DRAFTS = "bundles"
"""Where a run drafts bundles of which it makes one."""
TIMED = 200
"""Radiographs read for the rate that a study tells."""


@dataclass(frozen=True)
class Choices:
    """What is chosen on readings of radiographs that a network did not train on.

    shown_from: the score from which a finding is shown; None without an evidence map. scope: None
    where nothing is out of it.
    """

    calibration: Calibration
    points: OperatingPoints | None
    shown_from: float | None
    scope: Scope | None


def examples_of(index: Index, split: Split) -> list[Radiograph]:
    """Some readable radiographs of the development part."""
    return list(islice(_readable(select(index, split, "dev")), COMPARED))


def _readable(records: Iterable[Record]) -> Iterator[Radiograph]:
    for record in records:
        with suppress(RadiographError):
            yield read_radiograph(record.path)


def rewrite(
    place: Path,
    bundle: Bundle,
    name: str,
    chosen: Choices,
    summary: dict,
    examples: Sequence[Radiograph],
) -> Bundle:
    """Write a network's or a cascade's bundle with what was chosen and a summary of the figures,
    its weights in fewer bits. examples: radiographs on which that changes next to nothing."""
    manifest = with_choices(bundle.manifest, chosen, summary).model_copy(update={"name": name})
    return compacted(place, bundle, manifest, examples)


def compacted(
    place: Path, bundle: Bundle, manifest: Manifest, examples: Sequence[Radiograph], wide: int = 1
) -> Bundle:
    """Write a network's or a cascade's bundle under a manifest, its weights in fewer bits: see
    `kirik.training.compact`.

    wide: side of the examples, over that of what the network sees, which is their middle.
    """
    from kirik.training.compact import compact

    files = {n: p for n, p in bundle.files.items() if n != "card.md" and "/" not in n}
    files["card.md"] = model_card(manifest, bundle.members).encode()
    if bundle.manifest.kind == "network":
        size = manifest.preprocessing.size
        inputs = np.stack([Preprocessing(size=wide * size).apply(one) for one in examples])
        middle = slice((wide - 1) * size // 2, (wide + 1) * size // 2)
        told = {"embedding", *outputs_of(manifest)}
        files[GRAPH] = compact(bundle.read(GRAPH), inputs[:, None, middle, middle], told)
        return write_bundle(place, manifest, files, replace=True)
    with drafting(place.absolute().parent / DRAFTS) as folder:
        members = [
            compacted(folder / member.path.name, member, member.manifest, examples, over)
            for member, over in zip(bundle.members, (1, WIDE), strict=True)
        ]
        return write_bundle(place, manifest, member_files(manifest, members) | files, replace=True)


def cost_of(bundle: Bundle) -> dict[str, float]:
    """What a bundle's networks cost together, a cascade's where it looks at all that it may, and
    one that several cascades begin with once: see `kirik.training.cost`."""
    from kirik.training.cost import network_cost
    from kirik.training.settings import TrainingSettings

    gflops = parameters = 0.0
    for times, network in _networks(bundle):
        manifest = network.manifest
        settings = TrainingSettings.parse(manifest.provenance["settings"], str(network.path))
        cost = network_cost(settings, evidence=manifest.evidence is not None)
        gflops += times * cost["gflops"]
        parameters += cost["parameters"]
    size = bundle.manifest.preprocessing.size
    return {"size": size, "parameters": round(parameters, 3), "gflops": round(gflops, 3)}


def _networks(bundle: Bundle) -> list[tuple[int, Bundle]]:
    """How often each network is run for a radiograph, at most."""
    kind, members = bundle.manifest.kind, bundle.members
    if kind == "network":
        return [(1, bundle)]
    if kind == "cascade":
        return [(1, members[0]), (bundle.manifest.looks + bundle.manifest.close_ups, members[1])]
    found, seen = [], set()
    for member in members:
        own = _networks(member)
        if member.manifest.kind == "cascade":
            first = own[0][1].content
            own = own[1:] if first in seen else own
            seen.add(first)
        found += own
    return found


def megabytes(bundle: Bundle) -> float:
    """Of its graphs, members' included."""
    graphs = [path for name, path in bundle.files.items() if Path(name).name == GRAPH]
    return round(sum(path.stat().st_size for path in graphs) / 1e6, 2)


def costs(bundle: Bundle, index: Index, split: Split) -> dict:
    """What a study tells of a model's cost: its networks', its size, and how fast it reads here."""
    return cost_of(bundle) | {"megabytes": megabytes(bundle)} | reading_rate(bundle, index, split)


def reading_rate(bundle: Bundle, index: Index, split: Split) -> dict:
    """Readings per second from files, by this machine's cores, of a fold's radiographs."""
    paths = [record.path for record in select(index, split, f"fold{split.folds[0]}")][:TIMED]
    classifier = Classifier(bundle)
    list(classifier.read_many(paths[:8]))
    start = time.perf_counter()
    list(classifier.read_many(paths))
    rate = len(paths) / (time.perf_counter() - start)
    return {"readings_per_second": round(rate, 1), "cores": usable_cores()}


def with_choices(manifest: Manifest, chosen: Choices, summary: dict) -> Manifest:
    """The manifest with what was chosen, and a summary of the figures."""
    evidence = manifest.evidence
    if evidence and chosen.shown_from is not None:
        evidence = evidence.model_copy(update={"threshold": chosen.shown_from})
    return manifest.model_copy(
        update={
            "temperature": chosen.calibration.temperature,
            "bias": chosen.calibration.bias,
            "operating_points": chosen.points,
            "scope": chosen.scope,
            "evidence": evidence,
            "provenance": manifest.provenance | {"out_of_fold": summary},
        }
    )


def shared_provenance(bundle: Bundle) -> dict:
    """What a fold's network has in common with the other folds'."""
    facts = bundle.manifest.provenance
    return {key: value for key, value in facts.items() if key not in ("fold", "trained_on")}


def summary_of(metrics: Metrics) -> dict:
    """The out-of-fold figures that a model card names, as [value, low, high]."""
    figures = dict(metrics["fracture"] or metrics["by_class"])
    figures |= (figures.get("three_way") or {}) | metrics.get("localization", {})
    return {
        name: [None if v is None else round(v, 6) for v in figures[name].values()]
        for name in _SUMMED
        if isinstance(figures.get(name), dict)
    }


_SUMMED = (
    *("auroc", "auprc", "macro_auroc", "sensitivity_at_specificity_90", "ece", "brier"),
    *("share_uncertain", "error_in_decided", "error_in_fracture", "error_in_no_fracture"),
    *("peak_on_fracture", "map50", "fractures_found", "false_per_normal"),
)
