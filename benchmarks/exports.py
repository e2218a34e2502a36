"""A radiograph as DICOM, and as the JPEG that a viewer exports of it: how far readings lie apart.

    python benchmarks/exports.py RADIOGRAPHS [--model small …] [--count 240] [--out FILE.json]

Each radiograph is read as an uncompressed DICOM file of 8 bits, and as a JPEG of the same pixels in
several qualities. The models that ship are trained on most of FracAtlas: how far a probability of
theirs moves can be told all the same, how right it is cannot.
"""

import json
import tempfile
from pathlib import Path

import cyclopts
import numpy as np
from PIL import Image

from kirik.files import find_files
from kirik.reading.classifier import Classifier, load_model
from kirik.reading.reading import Reading
from reading import as_dicom

QUALITIES = (95, 90, 75)
CLOSE = 0.02


def main(
    radiographs: Path,
    *,
    model: tuple[str, ...] = ("small", "medium", "best"),
    count: int = 240,
    out: Path | None = None,
):
    """Measure, print, and write it as JSON."""
    found = list(find_files([radiographs], print))
    drawn = np.random.default_rng(0).permutation(len(found))[:count]
    with tempfile.TemporaryDirectory() as folder:
        twins = {way: [] for way in ("DICOM", *QUALITIES)}
        for path in (found[i] for i in sorted(drawn)):
            try:
                pixels = Image.open(path).convert("L")
            except OSError:  # a truncated one
                continue
            twins["DICOM"].append(as_dicom(path, Path(folder)))
            for quality in QUALITIES:
                twins[quality].append(Path(folder) / f"{path.stem}-{quality}.jpg")
                pixels.save(twins[quality][-1], quality=quality)
        result = {"radiographs": len(twins["DICOM"]), "close": CLOSE, "models": {}}
        for name in model:
            result["models"][name] = moved(load_model(name), twins)
            print(name, json.dumps(result["models"][name], indent=2), flush=True)
    if out:
        out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def moved(classifier: Classifier, twins: dict) -> dict[str, dict]:
    """By quality: how many of the readings that are none of out of scope moved, and how far."""
    films, *exports = (list(classifier.read_many(files)) for files in twins.values())
    said = {}
    for quality, own in zip(QUALITIES, exports, strict=True):
        pairs = [
            (film, export)
            for film, export in zip(films, own, strict=True)
            if isinstance(film, Reading) and isinstance(export, Reading)
        ]
        judged = [p for p in pairs if None not in (p[0].probability, p[1].probability)]
        moves = np.array([abs(film.probability - export.probability) for film, export in judged])
        said[str(quality)] = {
            "pairs": len(pairs),
            "other_decision": sum(film.decision != export.decision for film, export in pairs),
            f"moved_more_than_{CLOSE}": int((moves > CLOSE).sum()),
            "mean_move": round(float(moves.mean()), 4),
            "largest_move": round(float(moves.max()), 3),
        }
    return said


if __name__ == "__main__":
    cyclopts.run(main)
