"""What it would cost to decode large JPEGs at a part of their size: probabilities that move.

    python benchmarks/reduced.py RADIOGRAPHS --model BUNDLE [--out docs/performance/reduced.json]

All JPEGs that have at least four times the input's pixels on their longer side are prepared from
their full size, and from 1/2, 1/4 and 1/8 of it (libjpeg's scaled transform, the rest of the way by
the same filter). To judge the moves by: the full size with one level added to, or taken from, one
pixel in twenty at random.
"""

import json
from pathlib import Path

import cyclopts
import numpy as np
from PIL import Image

from kirik.bundle import GRAPH, find_bundle, load_bundle
from kirik.files import find_files
from kirik.radiograph import read_radiograph
from kirik.reading.cores import usable_cores
from kirik.reading.engines import CPU, open_engine
from kirik.reading.network import calibrated

LEAST, ROOM = 4, 0.002


def main(radiographs: Path, *, model: Path, most: int = 300, out: Path | None = None):
    """Measure, print, and write it as JSON."""
    bundle = load_bundle(find_bundle(model))
    preprocessing, manifest = bundle.manifest.preprocessing, bundle.manifest
    engine = open_engine("onnxruntime", bundle.read(GRAPH), usable_cores(), [CPU])
    files = [p for p in find_files([radiographs], print) if large(p, LEAST * preprocessing.size)]
    files = files[:most]
    ways = {name: [] for name in ("full", "1/2", "1/4", "1/8", "noise")}
    rng = np.random.default_rng(0)
    for path in files:
        ways["full"].append(full := preprocessing.apply(read_radiograph(path)))
        longer = max(Image.open(path).size)
        for part in (2, 4, 8):
            reduced = read_radiograph(path, at_least=longer // part)
            ways[f"1/{part}"].append(preprocessing.apply(reduced))
        step = rng.choice([-1, 0, 1], full.shape, p=[0.025, 0.95, 0.025]) * (full > 0)
        ways["noise"].append(np.clip(full + step, 0, 255).astype(np.uint8))
    inputs = {name: np.stack(found) for name, found in ways.items()}
    said = {}
    for name, batch in inputs.items():
        logits = engine.run(["logits"], batch[:, None])[0].astype(np.float64)
        said[name] = 1 - calibrated(logits, manifest)[:, manifest.negative]
    result = {
        "model": manifest.name,
        "radiographs": len(files),
        "ways": {
            name: told(np.abs(said[name] - said["full"]), inputs[name] != inputs["full"])
            for name in ways
            if name != "full"
        },
    }
    print(json.dumps(result, indent=2))
    if out:
        out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def large(path: Path, least: int) -> bool:
    image = Image.open(path)
    return image.format == "JPEG" and max(image.size) >= least


def told(moves: np.ndarray, changed: np.ndarray) -> dict[str, float]:
    return {
        "pixels_changed": round(float(changed.mean()), 4),
        "mean_move": round(float(moves.mean()), 5),
        "largest_move": round(float(moves.max()), 4),
        f"moved_more_than_{ROOM}": round(float((moves > ROOM).mean()), 3),
    }


if __name__ == "__main__":
    cyclopts.run(main)
