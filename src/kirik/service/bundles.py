"""A bundle that comes as a zip: unpacked with care, verified, and tried before anything uses it."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO

from kirik.bundle import MANIFEST, Bundle, load_bundle
from kirik.dataset.unpack import ArchiveLimits, unpack
from kirik.errors import BundleError

_LIMITS = ArchiveLimits(entries=2_000, unpacked_bytes=4 * 2**30)
_SECONDS = 300
_TRY = """
import sys
import numpy as np
from kirik.errors import KirikError
from kirik.reading.classifier import load_model
try:
    classifier = load_model(sys.argv[1], threads=1)
    film = np.tile(np.linspace(0, 1, 512, dtype=np.float32), (640, 1))
    classifier.read(film)
except KirikError as error:
    print(error)
    sys.exit(3)
"""


def unpack_bundle(file: BinaryIO, place: Path) -> Bundle:
    """The bundle in a zip, at its top or in its only folder, unpacked into `place`.

    Raises BundleError where there is none, a file was changed, or its graph cannot read a
    radiograph; and what `unpack` raises for a hostile zip.
    """
    archive, folder = place / "bundle.zip", place / "unpacked"
    with archive.open("wb") as copy:
        shutil.copyfileobj(file, copy, 2**20)
    unpack(archive, folder, limits=_LIMITS)
    archive.unlink()
    bundle = load_bundle(_top(folder))
    _try(bundle.path)
    return bundle


def _top(folder: Path) -> Path:
    if (folder / MANIFEST).is_file():
        return folder
    inside = [path for path in folder.iterdir() if not path.name.startswith(("__MACOSX", "."))]
    if len(inside) == 1 and (inside[0] / MANIFEST).is_file():
        return inside[0]
    raise BundleError(f"no bundle in the zip (no {MANIFEST}); zip the bundle's folder")


def _try(path: Path) -> None:
    """Read a test radiograph with it, in a process of its own that may die of it."""
    try:
        run = subprocess.run(
            [sys.executable, "-c", _TRY, str(path)],
            capture_output=True,
            text=True,
            timeout=_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise BundleError("the bundle took too long to read a test radiograph") from error
    if run.returncode == 3:
        raise BundleError(" ".join(run.stdout.split())[:500])
    if run.returncode:
        raise BundleError("the bundle cannot read a test radiograph; its graph does not run")
