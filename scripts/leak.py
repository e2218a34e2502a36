"""The protocol that inflated figures, to be measured: augment first, split afterwards, at random.

    python scripts/leak.py DATA OUT [--split fracatlas-v1] [--seed 0]

DATA: a data set of small files, such as `kirik data shrink` writes. Writes OUT/data.csv, whose
fractured radiographs were brought up to the number of the others with AutoAugment copies (policy
imagenet), and OUT/leaky.csv, a split of it in which every file is its own group, so that copies of
one radiograph, and views of one exam, stand on both sides. `kirik crossval OUT/data.csv --split
OUT/leaky.csv --balance none` then measures what the same network seems to reach.

    python scripts/leak.py originals PREDICTIONS

PREDICTIONS: the predictions.csv of such a report. Measures again without the copies, which says how
much was leak, and how much that copies are easy.

    python scripts/leak.py shared PREDICTIONS CLEAN

CLEAN: the predictions.csv of the same network's report on a fold of the clean split. Compares both
on the radiographs that both measured, over the clean split's groups.
"""

import sys
from dataclasses import replace
from pathlib import Path

import cyclopts
import numpy as np
from PIL import Image

from kirik.dataset.check import select
from kirik.dataset.index import Index, Record
from kirik.dataset.sources import load_index, write_index
from kirik.dataset.split import Assignment, Split, load_split, write_split
from kirik.errors import KirikError
from kirik.evaluation.compare import compare
from kirik.evaluation.metrics import headline, measure
from kirik.evaluation.predictions import read_predictions
from kirik.radiograph import read_radiograph

FOLDS = 4
COPY = "-copy"
app = cyclopts.App()


@app.default
def main(data: Path, out: Path, *, split: str = "fracatlas-v1", seed: int = 0):
    """Write the augmented data set and its leaky split."""
    import torch

    index = load_index(data)
    records = select(index, load_split(split), "dev")
    (out / "images").mkdir(parents=True)
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    copies = _copies(records, index.negative, out / "images")
    everything = sorted([*records, *copies], key=lambda record: record.id)
    write_index(
        Index(out, "csv", index.classes, index.negative, tuple(everything)), out / "data.csv"
    )
    folds = rng.permutation(np.arange(len(everything)) % FOLDS) + 1
    assignments = {
        record.id: Assignment(record.id, record.id, "dev", int(fold))
        for record, fold in zip(everything, folds, strict=True)
    }
    write_split(Split("leaky", assignments), out / "leaky.csv")
    print(f"{len(records)} radiographs and {len(copies)} copies: {out}")


def _copies(records: list[Record], negative: int, folder: Path) -> list[Record]:
    """AutoAugment copies of fractured radiographs, as many as the classes differ by."""
    import torch

    from kirik.training.augment import RadiographAutoAugment

    fractured = [record for record in records if record.label != negative]
    lacking = len(records) - 2 * len(fractured)
    augment, made = RadiographAutoAugment("imagenet"), []
    for number in range(lacking):
        record = fractured[number % len(fractured)]
        pixels = torch.from_numpy(np.round(read_radiograph(record.path).pixels * 255))
        copy = augment(pixels.to(torch.uint8)[None])[0].numpy()
        name = f"{Path(record.id).stem}{COPY}{number // len(fractured) + 1}.jpg"
        Image.fromarray(copy).save(folder / name, quality=90)
        # Their outlines are left out: the original project had none.
        made.append(replace(record, id=name, path=folder / name, boxes=(), polygons=()))
    return made


@app.command
def originals(predictions: Path, *, bootstrap: int = 2000):
    """Print the figures of the radiographs that are no copies, each a group of its own."""
    read = read_predictions(predictions)
    own = read.select(np.array([COPY not in name for name in read.ids]))
    print(f"{len(own.ids)} of {len(read.ids)} are no copies")
    print(headline(measure(own, bootstrap=bootstrap)))


@app.command
def shared(predictions: Path, clean: Path, *, bootstrap: int = 2000):
    """Print the AUROC of both on the radiographs that both measured, and the paired difference."""
    leaky, fair = read_predictions(predictions), read_predictions(clean)
    common = set(leaky.ids) & set(fair.ids)
    runs = []
    for name, read in (("clean", fair), ("leaky", leaky)):
        own = read.select(np.array([one in common for one in read.ids]))
        runs.append((name, own, measure(own, bootstrap=0)))
        print(f"{name}: {runs[-1][2]['fracture']['auroc']['value']:.3f} on {len(own.ids)}")
    [difference] = compare(runs, bootstrap=bootstrap).differences
    found = difference.figures["auroc"]
    print(f"difference {found['value']:.3f} ({found['low']:.3f} to {found['high']:.3f})")


if __name__ == "__main__":
    try:
        app()
    except KirikError as error:
        sys.exit(f"leak.py: {error}")
