"""A picture of AutoAugment copies beside their originals, so that a person can judge a policy."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from kirik.dataset.index import Index
from kirik.dataset.places import refuse_folder
from kirik.errors import DataSetError, RadiographError, SettingsError
from kirik.output.overlay import font
from kirik.preprocessing import Preprocessing
from kirik.radiograph import read_radiograph
from kirik.training.augment import RadiographAutoAugment

SIDE = 192
COPIES = 6
GAP = 6
TITLE = 22
GROUND, INK = 90, 255
FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}

TEXTS = {
    "en": {"original": "original", "copy": "copy {number}"},
    "tr": {"original": "özgün", "copy": "{number}. kopya"},
}


def write_preview(
    index: Index, out: Path, *, policy: str, count: int, seed: int, language: str = "en"
) -> None:
    """Write a PNG or JPEG: each row an original, then six copies of it.

    Radiographs that cannot be read are passed over.
    Raises DataSetError if no radiograph can be read, SettingsError if the file cannot be written
    or its name does not end as a picture's, OutputError if it would count as a radiograph.
    """
    if out.suffix.lower() not in FORMATS:
        raise SettingsError(f"{out}: not a picture's name; end it in .png or .jpg")
    refuse_folder(out.parent, index)
    originals = _originals(index, count, seed)
    torch.manual_seed(seed)
    augment = RadiographAutoAugment(policy)
    rows = []
    for original in originals:
        tensor = torch.from_numpy(original)[None]
        rows.append([original, *(augment(tensor)[0].numpy() for _ in range(COPIES))])
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        _sheet(rows, language).save(out, FORMATS[out.suffix.lower()])
    except OSError as error:
        raise SettingsError(f"{out}: cannot be written ({error.strerror})") from error


def _originals(index: Index, count: int, seed: int) -> list[np.ndarray]:
    """Up to `count` radiographs drawn at random: uint8 [SIDE, SIDE] each."""
    originals = []
    for position in np.random.default_rng(seed).permutation(len(index.records)):
        if len(originals) == count:
            break
        try:
            radiograph = read_radiograph(index.records[position].path)
        except RadiographError:
            continue
        originals.append(Preprocessing(size=SIDE).apply(radiograph))
    if not originals:
        raise DataSetError(f"{index.root}: none of its radiographs can be read")
    return originals


def _sheet(rows: list[list[np.ndarray]], language: str) -> Image.Image:
    """The rows under each other, each column with its title."""
    words = TEXTS[language]
    titles = [words["original"], *(words["copy"].format(number=n + 1) for n in range(COPIES))]
    step = SIDE + GAP
    sheet = Image.new("L", (len(titles) * step + GAP, TITLE + len(rows) * step + GAP), GROUND)
    draw = ImageDraw.Draw(sheet)
    for column, title in enumerate(titles):
        left = GAP + column * step
        draw.text((left, GAP), title, INK, font(14))
        for row, tiles in enumerate(rows):
            sheet.paste(Image.fromarray(tiles[column]), (left, TITLE + GAP + row * step))
    return sheet
