"""Readings as rows, and back."""

import io
import zlib
from dataclasses import asdict, dataclass

import numpy as np

from kirik.errors import KirikError
from kirik.operating_points import OperatingPoints
from kirik.reading.evidence import Frame
from kirik.reading.reading import Finding, Peak, Reading
from kirik.service import tables
from kirik.service.tables import FAILED, READ, URGENCY

_REGION = "region:"


@dataclass(frozen=True)
class Result:
    """What became of a frame: read, or why not.

    frame: from 1 on. place: how the frame lies in its file; None where it was not decoded.
    """

    frame: int
    result: Reading | KirikError
    place: Frame | None = None


def row_of(study_id: str, model: str, one: Result) -> dict:
    """A frame's columns of the table `readings`. model: that read it."""
    row = {"study_id": study_id, "frame": one.frame, "model": model}
    if one.place is not None:
        height, width = one.place.stored_size
        row |= {"width": width, "height": height, "orientation": one.place.orientation}
    if isinstance(one.result, KirikError):
        return row | {"error": str(one.result), "reason": getattr(one.result, "reason", "model")}
    reading = one.result
    return row | {
        "decision": reading.decision,
        "probability": reading.probability,
        "probabilities": reading.probabilities,
        "low": reading.points and reading.points.low,
        "high": reading.points and reading.points.high,
        "strangeness": reading.strangeness,
        "attributes": {name: float(value) for name, value in reading.attributes.items()},
        "region": region_of(reading.attributes),
        "findings": [_finding(finding) for finding in reading.findings],
        "peak": reading.peak and asdict(reading.peak),
        "warnings": list(reading.warnings),
        "evidence": None if reading.evidence is None else pack_evidence(reading.evidence),
    }


def as_reading(row: tables.Reading, path: str | None = None) -> Reading:
    """The reading of a row, for an overlay or a report."""
    points = None if row.low is None else OperatingPoints(row.low, row.high)
    return Reading(
        path,
        row.decision,
        row.probability,
        row.probabilities,
        row.model,
        frame=row.frame,
        attributes=row.attributes,
        strangeness=row.strangeness,
        findings=tuple(_as_finding(values) for values in row.findings),
        peak=Peak(**row.peak) if row.peak else None,
        evidence=None if row.evidence is None else unpack_evidence(row.evidence),
        points=points,
        warnings=tuple(row.warnings),
    )


def _finding(finding: Finding) -> dict:
    """As a record of `kirik predict` has it, unrounded."""
    values = {name: getattr(finding, name) for name in ("x", "y", "width", "height", "score")}
    if finding.millimetres:
        values["width_mm"], values["height_mm"] = finding.millimetres
    return values


def _as_finding(values: dict) -> Finding:
    box = (values[name] for name in ("x", "y", "width", "height", "score"))
    size = (values["width_mm"], values["height_mm"]) if "width_mm" in values else None
    return Finding(*box, size)


def region_of(attributes: dict) -> str | None:
    """The body region that the model sees, where it is sure of one."""
    regions = [(value, name) for name, value in attributes.items() if name.startswith(_REGION)]
    value, name = max(regions, default=(0.0, ""))
    return name.removeprefix(_REGION) if value >= 0.5 else None


def pack_evidence(evidence: np.ndarray) -> bytes:
    """An evidence map, float32 in 0…1, as bytes for the database: in steps of 1/255, deflated."""
    file = io.BytesIO()
    np.save(file, np.round(np.clip(evidence, 0, 1) * 255).astype(np.uint8), allow_pickle=False)
    return zlib.compress(file.getvalue())


def unpack_evidence(packed: bytes) -> np.ndarray:
    """The inverse of `pack_evidence`: float32 [rows, columns] in 0…1, spanning the radiograph
    turned upright."""
    cells = np.load(io.BytesIO(zlib.decompress(packed)), allow_pickle=False)
    return cells.astype(np.float32) / np.float32(255)


def settled(rows: list[dict]) -> dict:
    """A study's columns when its frames' rows are known: its most urgent frame speaks for it."""
    first = min(rows, key=_order)
    urgency, unlikeliness, _ = _order(first)
    decision = first.get("decision")
    return {
        "frames": len(rows),
        "decision": decision,
        "probability": first.get("probability"),
        "region": first.get("region") or next((r["region"] for r in rows if r.get("region")), None),
        "warnings": sorted({word for row in rows for word in row.get("warnings", ())}),
        "error": first.get("error"),
        "reason": first.get("reason"),
        "state": FAILED if decision is None else READ,
        "urgency": urgency,
        "unlikeliness": unlikeliness,
        "model": first["model"],
    }


def _order(row: dict) -> tuple[int, float, int]:
    decision = row.get("decision")
    # A class's own name, where every class is a fracture, is as urgent as one.
    urgency = URGENCY["failed"] if decision is None else URGENCY.get(decision, URGENCY["fracture"])
    return urgency, -(row.get("probability") or 0.0), row["frame"]
