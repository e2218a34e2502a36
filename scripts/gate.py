r"""The scope gate on what is no radiograph of its kind: which share of each kind is refused.

    python scripts/gate.py gather FracAtlas OUT       # on Debian, with poppler-utils and nibabel
    python scripts/gate.py measure OUT --model small --model medium --model best \
        --out docs/study/gate.json

`gather` takes photographs, pages and screenshots out of free packages (Debian's wallpapers and
manuals, scikit-image, scikit-learn), slices of a head's CT and MR (InVesalius' and MRIcron's
examples, the CT also summed up to a radiograph of a skull), one chest film of pydicom's examples,
whole, turned and in parts, pictures that are computed, and radiographs of the data set that are
inverted; OUT gets a folder of each kind. `measure` reads them.
The share of radiographs that are refused wrongly is in the report of an evaluation.
"""

import io
import json
import subprocess
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import cyclopts
import numpy as np
from PIL import Image
from pydicom import dcmread
from scipy.stats import binomtest

from kirik.dataset.check import select
from kirik.dataset.sources import load_index
from kirik.dataset.split import load_split
from kirik.errors import RadiographError
from kirik.radiograph import decode_radiographs, read_radiograph
from kirik.reading.classifier import load_model
from kirik.reading.reading import Reading

DEBIAN = (
    *("mate-backgrounds", "plasma-workspace-wallpapers", "ukui-wallpapers"),
    *("libtasn1-doc", "xfig-doc", "gimp-help-en", "invesalius-examples", "mricron-data"),
)
WHEELS = ("scikit-image", "scikit-learn", "pydicom-data")
BODY_PART = ("BodyPartExamined", "AnatomicRegionSequence")
PAGES, SCREENS, INVERTED, SIDE = (1, 3, 5, 8, 12, 17, 23, 30), 60, 100, 1000
Named = Iterator[tuple[str, Image.Image]]

app = cyclopts.App(help=__doc__)


@app.command
def gather(data: Path, out: Path):
    """Write a folder of JPEGs for each kind into OUT, which must not exist."""
    out.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as folder:
        packages = Path(folder)
        _download(packages)
        volume = _head(packages)
        kinds = {
            "photograph": _photographs(packages),
            "photograph-gray": ((n, i.convert("L")) for n, i in _photographs(packages)),
            "page": _pages(packages),
            "screenshot": _screenshots(packages),
            "ct-slice": _slices(volume, -300, 1200),
            "mr-slice": _mr(packages),
            "skull-projection": _projections(volume),
            "chest-film": _chest(packages),
            "computed": _computed(),
            "inverted-radiograph": _inverted(data),
        }
        for kind, pictures in kinds.items():
            (out / kind).mkdir()
            for number, (name, picture) in enumerate(pictures):
                picture.thumbnail((SIDE, SIDE))
                picture.save(out / kind / f"{number:03d}-{name}.jpg", quality=90)
            print(kind, len(list((out / kind).iterdir())), flush=True)


@app.command
def measure(folder: Path, *, model: list[str], out: Path | None = None):
    """Read every kind's folder, and print and write the share that each model refuses."""
    found = {}
    for name in model:
        classifier = load_model(name)
        found[name] = {}
        for kind in sorted(path for path in folder.iterdir() if path.is_dir()):
            readings = list(classifier.read_many(sorted(kind.glob("*.jpg"))))
            # What cannot be read, such as a blank picture, has no probability either.
            refused = [
                not isinstance(one, Reading) or one.decision == "out_of_scope" for one in readings
            ]
            share = binomtest(sum(refused), len(refused))
            interval = share.proportion_ci(method="wilson")
            bounds = {"low": round(interval.low, 4), "high": round(interval.high, 4)}
            found[name][kind.name] = {"n": share.n, "refused": share.k, **bounds}
            print(name, kind.name, found[name][kind.name], flush=True)
    if out:
        out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def _download(folder: Path) -> None:
    quiet = {"check": True, "cwd": folder, "stdout": subprocess.DEVNULL}
    subprocess.run(["apt-get", "download", *DEBIAN], **quiet)
    subprocess.run(["pip", "download", "--no-deps", *WHEELS], **quiet)
    for package in folder.glob("*.deb"):
        subprocess.run(["dpkg", "-x", package, folder / package.name.split("_")[0]], **quiet)
    for wheel in folder.glob("*.whl"):
        zipfile.ZipFile(wheel).extractall(folder / "wheels")


def _photographs(folder: Path) -> Named:
    """One of each picture, though wallpapers come in many sizes."""
    found = [
        *folder.glob("mate-backgrounds/**/nature/*.jpg"),
        *folder.glob("ukui-wallpapers/**/*.jpg"),
        *folder.glob("wheels/skimage/data/*.png"),
        *folder.glob("wheels/skimage/data/*.jpg"),
        *folder.glob("wheels/sklearn/datasets/images/*.jpg"),
    ]
    for picture in folder.glob("plasma*/**/wallpapers/*"):
        found += sorted(picture.glob("contents/images/*.[jp][pn]g"))[:1]
    for path in sorted(found):
        if min(Image.open(path).size) >= 200 and path.stem != "page":
            yield path.stem[:20], Image.open(path).convert("RGB")


def _pages(folder: Path) -> Named:
    for document in sorted(folder.glob("*doc*/**/*.pdf")):
        for page in PAGES:
            one = ["-f", str(page), "-l", str(page)]
            done = subprocess.run(
                ["pdftoppm", "-r", "100", *one, "-png", document], capture_output=True
            )
            if done.stdout:
                yield document.stem[:20], Image.open(io.BytesIO(done.stdout)).convert("L")


def _screenshots(folder: Path) -> Named:
    taken = 0
    for path in sorted(folder.glob("gimp-help-en/**/*.png")):
        if path.stat().st_size > 25_000 and min(Image.open(path).size) >= 250 and taken < SCREENS:
            taken += 1
            yield path.stem[:20], Image.open(path).convert("RGB").convert("L")


def _head(folder: Path) -> np.ndarray:
    """A head's CT in Hounsfield units, float32 [108, 256, 256]."""
    with tarfile.open(next(folder.glob("invesalius-examples/**/Cranium.inv3"))) as archive:
        [name] = [n for n in archive.getnames() if n.endswith("/matrix.dat")]
        content = archive.extractfile(name).read()
    return np.frombuffer(content, np.int16).reshape(108, 256, 256).astype(np.float32)


def _windowed(slice_: np.ndarray, low: float, high: float) -> Image.Image:
    levels = np.clip((slice_ - low) / (high - low), 0, 1) * 255
    rows, columns = slice_.shape
    return Image.fromarray(levels.astype(np.uint8)).resize((512, 512 * rows // columns))


def _slices(volume: np.ndarray, low: float, high: float) -> Named:
    for axis in range(3):
        for share in np.linspace(0.15, 0.85, 12):
            number = int(share * volume.shape[axis])
            slice_ = np.take(volume, number, axis=axis)
            yield f"{axis}-{number}", _windowed(slice_, low, high)


def _mr(folder: Path) -> Named:
    import nibabel

    for name in ("ch2", "inia19-t1-brain"):
        path = next(folder.glob(f"mricron-data/**/{name}.nii.gz"))
        volume = np.asarray(nibabel.load(path).dataobj, dtype=np.float32)
        for number, slice_ in _slices(volume, 0, float(np.percentile(volume, 99.8))):
            yield f"{name}-{number}", slice_


def _projections(volume: np.ndarray) -> Named:
    """What an X-ray through the head would show, from the front and from the side."""
    for name, axis in (("frontal", 1), ("lateral", 2)):
        through = np.clip(volume + 1000, 0, None).sum(axis)
        through = np.clip(through / np.percentile(through, 99.5), 0, 1)
        for gamma in (1, 0.7):
            yield f"{name}-{gamma}", _windowed(through**gamma, 0, 1)


def _chest(folder: Path) -> Named:
    """A chest without the tags that would have it refused."""
    film = dcmread(next(folder.glob("wheels/**/RG1_UNCR.dcm")))
    for keyword in BODY_PART:
        film.pop(keyword, None)
    content = io.BytesIO()
    film.save_as(content)
    [radiograph] = decode_radiographs(content.getvalue(), "chest")
    whole = Image.fromarray((radiograph.pixels * 255).astype(np.uint8))
    columns, rows = whole.size
    for degrees in (0, 90, 180, 270):
        yield f"turned-{degrees}", whole.rotate(degrees, expand=True)
    yield "mirrored", whole.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    parts = {
        "left": (0, 0, columns // 2, rows),
        "right": (columns // 2, 0, columns, rows),
        "upper": (0, 0, columns, rows // 2),
        "lower": (0, rows // 2, columns, rows),
        "middle": (columns // 4, rows // 4, columns * 3 // 4, rows * 3 // 4),
    }
    for name, box in parts.items():
        yield name, whole.crop(box)
    for name, gamma in (("brighter", 0.6), ("darker", 1.6)):
        yield name, whole.point([round(255 * (level / 255) ** gamma) for level in range(256)])


def _computed() -> Named:
    rng, side = np.random.default_rng(0), 512
    ramp, tiles = np.linspace(0, 255, side), np.indices((side, side)) // 32
    away = np.hypot(*(np.indices((side, side)) - side / 2))
    levels = {
        "noise": rng.integers(0, 255, (side, side)),
        "dark": np.abs(rng.normal(0, 6, (side, side))),
        "gray": rng.normal(128, 3, (side, side)),
        "white": rng.normal(250, 2, (side, side)),
        "ramp": np.tile(ramp, (side, 1)),
        "glow": 255 - away / away.max() * 255,
        "tiles": tiles.sum(0) % 2 * 255,
        "stripes": np.tile(np.arange(side) // 8 % 2 * 255, (side, 1)),
        "disc": np.where(away < 150, 200, 10),
    }
    for name, values in levels.items():
        yield name, Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


def _inverted(data: Path) -> Named:
    index = load_index(data)
    records = select(index, load_split("fracatlas-v1"), "dev")
    for number in np.random.default_rng(0).permutation(len(records))[:INVERTED]:
        try:
            pixels = read_radiograph(records[number].path).pixels
        except RadiographError:
            continue
        yield records[number].path.stem, Image.fromarray((255 - pixels * 255).astype(np.uint8))


if __name__ == "__main__":
    app()
