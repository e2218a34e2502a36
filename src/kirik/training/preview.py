"""A picture of AutoAugment copies beside their originals, so that a person can judge a policy."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from kirik.dataset.index import Index
from kirik.errors import DataSetError, RadiographError, SettingsError
from kirik.preprocessing import Preprocessing
from kirik.radiograph import read_radiograph
from kirik.training.augment import RadiographAutoAugment

SIDE = 192
COPIES = 6
GAP = 6


def write_preview(index: Index, out: Path, *, policy: str, count: int, seed: int) -> None:
    """Write a PNG: each row an original, then six copies of it. Unreadable files are passed over.

    Raises DataSetError if no radiograph can be read, SettingsError if the file cannot be written.
    """
    rng = np.random.default_rng(seed)
    originals = []
    for position in rng.permutation(len(index.records)):
        if len(originals) == count:
            break
        try:
            radiograph = read_radiograph(index.records[position].path)
        except RadiographError:
            continue
        originals.append(Preprocessing(size=SIDE).apply(radiograph))
    if not originals:
        raise DataSetError(f"{index.root}: none of its radiographs can be read")
    torch.manual_seed(seed)
    augment = RadiographAutoAugment(policy)
    sheet = np.full((len(originals) * (SIDE + GAP) + GAP, (COPIES + 1) * (SIDE + GAP) + GAP), 90)
    for row, original in enumerate(originals):
        tensor = torch.from_numpy(original)[None]
        copies = [augment(tensor)[0].numpy() for _ in range(COPIES)]
        for column, tile in enumerate([original, *copies]):
            top, left = GAP + row * (SIDE + GAP), GAP + column * (SIDE + GAP)
            sheet[top : top + SIDE, left : left + SIDE] = tile
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(sheet.astype(np.uint8)).save(out, "PNG")
    except OSError as error:
        raise SettingsError(f"{out}: cannot be written ({error.strerror})") from error
