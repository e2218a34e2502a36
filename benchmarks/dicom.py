"""Milliseconds to read one radiograph in each transfer syntax: `python benchmarks/dicom.py FILE`.

FILE is a DICOM radiograph of one sample a pixel. It is written anew in each syntax for which
there is an encoder: pydicom's, and those of DCMTK where it is installed. HTJ2K has none.
"""

import io
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.pixels import compress
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from kirik.radiograph import decode_radiographs

BY_PYDICOM = {"RLE": RLELossless, "JPEG-LS": JPEGLSLossless, "JPEG 2000": JPEG2000Lossless}
BY_DCMTK = {
    "plain": ("dcmconv", "+te"),
    "big endian": ("dcmconv", "+tb"),
    "deflated": ("dcmconv", "+td"),
    "JPEG Lossless SV1": ("dcmcjpeg", "+e1"),
    "JPEG Lossless": ("dcmcjpeg", "+el"),
    "JPEG of 12 bits": ("dcmcjpeg", "+ee", "+bt"),
    "JPEG of 8 bits": ("dcmcjpeg", "+eb"),
}


def by_pydicom(dataset: Dataset, syntax: str) -> bytes:
    again, buffer = dcmread(io.BytesIO(content_of(dataset))), io.BytesIO()
    compress(again, syntax)
    again.save_as(buffer)
    return buffer.getvalue()


def by_dcmtk(dataset: Dataset, tool: str, *options: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "before.dcm", Path(folder) / "after.dcm"
        before.write_bytes(content_of(dataset))
        subprocess.run([tool, *options, before, after], check=True, capture_output=True)
        return after.read_bytes()


def content_of(dataset: Dataset) -> bytes:
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


def measure(content: bytes, expected: np.ndarray) -> tuple[float, float]:
    """Milliseconds, best of five, and the largest difference of a gray in 0…1."""
    taken = []
    for _ in range(5):
        start = time.perf_counter()
        radiograph = next(decode_radiographs(content, "benchmark"))
        taken.append(time.perf_counter() - start)
    return min(taken) * 1000, float(np.abs(radiograph.pixels - expected).max())


def main(path: Path) -> None:
    dataset = dcmread(path)
    dataset.decompress()
    expected = next(decode_radiographs(path.read_bytes(), path.name)).pixels
    print(f"{expected.shape[0]} × {expected.shape[1]} pixels, {dataset.BitsStored} bits stored")
    works = {name: (by_pydicom, (syntax,)) for name, syntax in BY_PYDICOM.items()}
    works |= {name: (by_dcmtk, words) for name, words in BY_DCMTK.items()}
    for name, (write, words) in works.items():
        try:
            content = write(dataset, *words)
        except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
            print(f"{name:<20} not written: {type(error).__name__}")
            continue
        milliseconds, difference = measure(content, expected)
        size = len(content) / 1024
        print(f"{name:<20}{milliseconds:6.0f} ms {size:8,.0f} KiB  differs by {difference:.4f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
