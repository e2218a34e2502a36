"""Readings a second of a study's models, measured in one run, as the machine is not always as fast.

    python benchmarks/study.py DATA RUN... [--study docs/study] [--split fracatlas-v1] [--rounds 5]

RUN: cross-validated runs that were added to the study. Their bundles are timed; where crossval was
to make none, the network of the first fold. The models take turns, and the median of each one's
rates is written to its metrics.json; `kirik study` then writes the page.
"""

import json
from pathlib import Path
from statistics import median

import cyclopts

from kirik.bundle import load_bundle
from kirik.dataset.sources import load_index
from kirik.dataset.split import load_split
from kirik.shipping import reading_rate


def main(
    data: Path,
    *runs: Path,
    study: Path = Path("docs/study"),
    split: str = "fracatlas-v1",
    rounds: int = 5,
):
    """Time the runs' models in turn."""
    index, parts = load_index(data), load_split(split)
    bundles = {}
    for run in runs:
        made = (run / "bundle").is_dir()
        bundles[run.name] = load_bundle(run if made else run / f"fold{parts.folds[0]}")
    measured = {name: [] for name in bundles}
    for _ in range(rounds):
        for name, bundle in bundles.items():
            measured[name].append(reading_rate(bundle, index, parts))
    for name, rates in measured.items():
        place = study / name / "metrics.json"
        metrics = json.loads(place.read_text(encoding="utf-8"))
        rate = median(one["readings_per_second"] for one in rates)
        metrics["facts"]["cost"] |= rates[0] | {"readings_per_second": rate}
        place.write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")
        print(f"{name}: {rate:g} readings a second")


if __name__ == "__main__":
    cyclopts.run(main)
