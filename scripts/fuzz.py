"""Damaged files without end: `python scripts/fuzz.py [--count N] [--seed S] [--workers W]`.

Each file is one of the seeds (JPEG, PNG, TIFF, DICOM in ten transfer syntaxes, zips of them),
damaged in one to eight places. All are decoded as a reading decodes them. What is allowed: a
radiograph, or an error of a known reason that names the file. What ends the run with exit code 1,
and leaves the file in FOUND: a decoder that dies or hangs, an error that nobody foresaw, a
patient's name in an error, and memory that grows.
"""

import base64
import io
import random
import tempfile
import zipfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import cyclopts
import gdcm
import numpy as np
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels import compress
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

from kirik.archives import Member
from kirik.errors import RadiographError
from kirik.radiograph import Limits
from kirik.reading.decoder import Decoders, DecodingLimits
from kirik.reading.reading import Failure
from kirik.reading.sources import find_sources

FOUND = Path("fuzz-found")
SECRET = "Yilmaz^Ayse"
REFUSALS = {
    *("missing", "empty", "not_an_image", "unsupported", "too_large", "truncated", "damaged"),
    *("wrong_modality", "wrong_body_part", "several_frames", "too_small", "blank"),
}
REQUEST = {
    "do": "prepare",
    "settings": [{"size": 64, "fit": "letterbox"}],
    "stride": 8,
    "later": [],
}
GROWTH = 200 * 2**20
"""Bytes that a child may have more at the end than after its first files."""


def main(*, count: int = 100_000, seed: int = 0, workers: int = 2, only: int | None = None):
    """Decode `count` damaged files; `only` repeats one of them by its number."""
    seeds, said, problems = make_seeds(), Counter(), []
    limits = DecodingLimits(seconds=20, memory=2 * 2**30, sizes=Limits(pixels=20_000_000))
    decoders = Decoders(limits)
    numbers = range(count) if only is None else [only]
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(workers) as pool:

        def one(number: int) -> tuple[int, str, bytes]:
            name, content = damaged(seeds, f"{seed}-{number}")
            path = Path(folder) / f"{number}{Path(name).suffix}"
            path.write_bytes(content)
            try:
                return number, outcome(path, decoders), content
            finally:
                path.unlink()

        waiting = iter(numbers)
        while some := list(islice(waiting, 500)):
            for number, what, content in pool.map(one, some):
                said[what] += 1
                if what not in REFUSALS and what != "read":
                    problems.append(f"{number}: {what}")
                    FOUND.mkdir(exist_ok=True)
                    (FOUND / f"{seed}-{number}").write_bytes(content)
            print(f"{some[-1] + 1} of {count}: {dict(said.most_common())}", flush=True)
    grown = decoders.growth()
    decoders.close()
    if grown > GROWTH:
        problems.append(f"a child grew by {grown / 2**20:.0f} MiB")
    print(f"children grew by at most {grown / 2**20:.0f} MiB")
    print("\n".join(problems) or "nothing found")
    raise SystemExit(bool(problems))


def outcome(path: Path, decoders: Decoders) -> str:
    """What became of a file: read, a reason, or what must not be."""
    last = "read"
    for source in islice(find_sources([path], decoders), 20):
        if isinstance(source, Failure):
            last = judged(source.error, source.reason, path)
            continue
        try:
            for header, _ in decoders.ask(source, REQUEST):
                last = judged(header.get("error"), header.get("reason", "read"), source)
        except RadiographError as error:
            last = judged(str(error), error.reason, source)
    return last


def judged(error: str | None, reason: str, source: Path | Member) -> str:
    if error is None:
        return "read"
    told = str(source.archive if isinstance(source, Member) else source)
    if SECRET.lower()[:6] in error.lower().replace(told.lower(), ""):
        return "leak"
    if "\n" in error or told not in error:
        return "form"
    return reason


def damaged(seeds: dict[str, bytes], key: str) -> tuple[str, bytes]:
    """A seed's name and its content with damages, always the same for a key."""
    rng = random.Random(key)
    name = rng.choice(sorted(seeds))
    content = bytearray(seeds[name])
    for _ in range(rng.choice((1, 1, 2, 4, 8))):
        rng.choice(DAMAGES)(content, rng, seeds)
        if not content:
            break
    return name, bytes(content)


def flip(content: bytearray, rng: random.Random, _) -> None:
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)


def overwrite(content: bytearray, rng: random.Random, _) -> None:
    start = rng.randrange(len(content))
    content[start : start + rng.choice((1, 2, 4, 16))] = rng.randbytes(rng.choice((1, 2, 4, 16)))


def lie(content: bytearray, rng: random.Random, _) -> None:
    """Overwrite as a number would be: nothing, one, the largest, minus one."""
    width, order = rng.choice((1, 2, 4)), rng.choice(("little", "big"))
    value = rng.choice((0, 1, 2 ** (8 * width - 1) - 1, 2 ** (8 * width) - 1, 255, 256))
    start = rng.randrange(min(len(content), rng.choice((64, 512, len(content)))))
    content[start : start + width] = (value % 2 ** (8 * width)).to_bytes(width, order)


def cut(content: bytearray, rng: random.Random, _) -> None:
    del content[rng.randrange(len(content)) :]


def drop(content: bytearray, rng: random.Random, _) -> None:
    start = rng.randrange(len(content))
    del content[start : start + rng.choice((1, 2, 8, 100))]


def repeat(content: bytearray, rng: random.Random, _) -> None:
    start = rng.randrange(len(content))
    piece = content[start : start + rng.choice((1, 4, 32, 500))]
    content[start:start] = piece * rng.choice((1, 2, 50))


def splice(content: bytearray, rng: random.Random, seeds: dict[str, bytes]) -> None:
    other = seeds[rng.choice(sorted(seeds))]
    content[rng.randrange(len(content)) :] = other[rng.randrange(len(other)) :]


HTJ2K_STREAM = (
    "|4;u>04YEK0000e0000U00000000000000e0000U0000000000009pH0sl|{2mk^A000XAQUDA90ssL31q1{@0smY8"
    "6Cj9?kdTm&kdTm&kdTmwh=~7W02crOPjF>!N>E53R%LP^FfKASE;BCwkN^q*00000ZU6!QlfVEf0B`?8%K<_(0Kfne"
    "fbjr_bO68r6994i0D^P?zyK9Mjyrbj_}AhKbpXHs7J$IOz`(%3z`*b7dU|n!cmTivEwDzT(P%UpjYgx<Xfzu9e}F<d"
    "dU|?#dT|1N0RPz"
)
DAMAGES = (flip, overwrite, lie, lie, cut, drop, repeat, splice)


def make_seeds() -> dict[str, bytes]:
    """Small files of every kind that kirik reads."""
    noise = np.random.default_rng(0)
    film = np.clip(np.linspace(20, 220, 80)[None] + noise.normal(0, 9, (60, 80)), 0, 255)
    film = film.astype(np.uint8)
    deep = film.astype(np.uint16) * 16
    seeds = {}
    for name, pixels, options in (
        ("a.jpg", film, {}),
        ("progressive.jpg", film, {"progressive": True}),
        ("color.jpg", np.stack([film] * 3, axis=2), {}),
        ("a.png", film, {}),
        ("deep.png", deep, {}),
        ("a.tif", deep, {}),
        ("lzw.tif", film, {"compression": "tiff_lzw"}),
        ("deflate.tif", film, {"compression": "tiff_adobe_deflate"}),
    ):
        seeds[name] = picture(pixels, name, **options)
    seeds["plain.dcm"] = dicom(deep, ExplicitVRLittleEndian)
    seeds["frames.dcm"] = dicom(np.stack([deep] * 3), ExplicitVRLittleEndian)
    seeds["deflated.dcm"] = dicom(deep, DeflatedExplicitVRLittleEndian)
    seeds["rle.dcm"] = dicom(deep, RLELossless)
    seeds["jls.dcm"] = dicom(deep, JPEGLSLossless)
    seeds["jpeg.dcm"] = dicom(film, JPEGBaseline8Bit, picture(film, "a.jpg"))
    seeds["rgb.dcm"] = dicom(np.stack([film] * 3, axis=2), ExplicitVRLittleEndian)
    for name, syntax in (
        ("lossless.dcm", "JPEGLosslessProcess14_1"),
        ("twelve.dcm", "JPEGExtendedProcess2_4"),
        ("j2k.dcm", "JPEG2000Lossless"),
    ):
        seeds[name] = by_gdcm(deep, syntax)
    # 30 × 40 pixels, written by OpenJPH; nothing that kirik installs writes HTJ2K.
    seeds["htj2k.dcm"] = dicom(deep[:30, :40], HTJ2KLossless, base64.b85decode(HTJ2K_STREAM))
    for name in ("a.jpg", "plain.dcm"):
        members = {f"one/{name}": seeds[name], "two/a.png": seeds["a.png"]}
        seeds[f"{Path(name).stem}.zip"] = packed(members)
    seeds["nested.zip"] = packed({"inner.zip": seeds["a.zip"], "a.jpg": seeds["a.jpg"]})
    return seeds


def packed(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            # Not by name alone, which would put the time into it.
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def by_gdcm(pixels: np.ndarray, syntax: str) -> bytes:
    """A DICOM file whose frame GDCM has compressed."""
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "before.dcm", Path(folder) / "after.dcm"
        before.write_bytes(dicom(pixels, ExplicitVRLittleEndian))
        reader, writer = gdcm.ImageReader(), gdcm.ImageWriter()
        change = gdcm.ImageChangeTransferSyntax()
        reader.SetFileName(str(before))
        reader.Read()
        change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)))
        change.SetInput(reader.GetImage())
        change.Change()
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        writer.SetFileName(str(after))
        writer.Write()
        written = dcmread(after)
    # Of what GDCM writes around it, the time would be another in each run.
    stream = get_frame(written.PixelData, 0, number_of_frames=1)
    return dicom(pixels, written.file_meta.TransferSyntaxUID, stream)


def picture(pixels: np.ndarray, name: str, **options) -> bytes:
    buffer = io.BytesIO()
    kind = {".jpg": "JPEG", ".png": "PNG", ".tif": "TIFF"}[Path(name).suffix]
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def dicom(pixels: np.ndarray, syntax: str, stream: bytes | None = None) -> bytes:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    dataset.SOPInstanceUID = generate_uid(entropy_srcs=["fuzz"])
    dataset.Modality, dataset.PatientName, dataset.PatientID = "CR", SECRET, SECRET
    colors = pixels.ndim == 3 and pixels.shape[2] == 3
    dataset.Rows, dataset.Columns = pixels.shape[:2] if colors else pixels.shape[-2:]
    dataset.SamplesPerPixel = 3 if colors else 1
    dataset.PhotometricInterpretation = "RGB" if colors else "MONOCHROME2"
    if colors:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = 8 * pixels.dtype.itemsize
    dataset.BitsStored = 12 if pixels.dtype == np.uint16 else 8
    dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, 0
    dataset.WindowCenter, dataset.WindowWidth = 2048, 4096
    if pixels.ndim == 3 and not colors:
        dataset.NumberOfFrames = len(pixels)
    dataset.PixelData = pixels.tobytes()
    if stream:
        dataset.PixelData = encapsulate([stream])
        dataset["PixelData"].VR = "OB"
        dataset.file_meta.TransferSyntaxUID = syntax
    elif syntax in (RLELossless, JPEGLSLossless):
        compress(dataset, syntax, generate_instance_uid=False)
    else:
        dataset.file_meta.TransferSyntaxUID = syntax
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


if __name__ == "__main__":
    cyclopts.run(main)
