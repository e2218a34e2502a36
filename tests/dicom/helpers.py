"""DICOM files for tests, written element by element."""

import io
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import compress
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, generate_uid

ROWS, COLUMNS = 30, 40
CR = "1.2.840.10008.5.1.4.1.1.1"
DX = "1.2.840.10008.5.1.4.1.1.1.1"
DX_RAW = "1.2.840.10008.5.1.4.1.1.1.1.1"
SECONDARY = "1.2.840.10008.5.1.4.1.1.7"
REAL = Path(__file__).parents[3] / "shared" / "dicom"
SECRET = "Yilmaz^Ayse"


def dicom(pixels: np.ndarray, bits: int = 12, **tags) -> Dataset:
    """A CR of these pixels; `tags` set elements, and None removes one."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = CR, generate_uid()
    dataset.Modality, dataset.PatientName, dataset.PatientID = "CR", SECRET, SECRET
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.SamplesPerPixel = 1 if pixels.ndim == 2 else 3
    dataset.PhotometricInterpretation = "MONOCHROME2" if pixels.ndim == 2 else "RGB"
    dataset.BitsAllocated = pixels.dtype.itemsize * 8
    dataset.BitsStored, dataset.HighBit = bits, bits - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    if pixels.ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.PixelData = pixels.tobytes()
    for keyword, value in tags.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    return dataset


def compressed(pixels: np.ndarray, syntax: str) -> Dataset:
    """A CR of these pixels, lossless; JPEG 2000 by Pillow, as pydicom may have no encoder."""
    dataset = dicom(pixels)
    if syntax != JPEG2000Lossless:
        compress(dataset, syntax)
        return dataset
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG2000", no_jp2=True)
    dataset.PixelData = encapsulate([buffer.getvalue()])
    dataset["PixelData"].VR = "OB"
    dataset.BitsStored, dataset.HighBit = 16, 15
    dataset.file_meta.TransferSyntaxUID = syntax
    return dataset


def in_letters(dataset: Dataset, keyword: str, vr: str, value: str) -> None:
    """Put text where numbers belong, as pydicom would not."""
    content, tag = value.encode() + b" " * (len(value) % 2), Tag(keyword)
    dataset[tag] = RawDataElement(tag, vr, len(content), content, 0, False, True, True)


def content_of(dataset: Dataset, **options) -> bytes:
    buffer = io.BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True, **options)
    return buffer.getvalue()


def encapsulated(pixels: np.ndarray, syntax: str, *frames: bytes, **tags) -> Dataset:
    """A CR of these compressed frames; `pixels` only tells the size and the depth."""
    dataset = dicom(pixels, **tags)
    dataset.PixelData = encapsulate(list(frames))
    dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = syntax
    return dataset


def by_dcmtk(dataset: Dataset, folder: Path, tool: str, *options: str) -> bytes:
    """The file as a tool of DCMTK writes it anew; skips the test where there is none."""
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed (Debian: dcmtk)")
    before, after = folder / "before.dcm", folder / "after.dcm"
    before.write_bytes(content_of(dataset))
    subprocess.run([tool, *options, before, after], check=True, capture_output=True, timeout=60)
    return after.read_bytes()


def by_gdcm(dataset: Dataset, folder: Path, syntax: str) -> bytes:
    """The file as GDCM writes it, in one of `gdcm.TransferSyntax`'s; needs no tool beside."""
    gdcm = pytest.importorskip("gdcm")
    before, after = folder / "before.dcm", folder / "after.dcm"
    before.write_bytes(content_of(dataset))
    reader, change, writer = (
        gdcm.ImageReader(),
        gdcm.ImageChangeTransferSyntax(),
        gdcm.ImageWriter(),
    )
    reader.SetFileName(str(before))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    writer.SetFileName(str(after))
    assert writer.Write()
    return after.read_bytes()


def of_16_bits(words: np.ndarray, folder: Path, syntax: str, **tags) -> Dataset:
    """A CR of these samples, all of whose bits GDCM compressed; `tags` then tell what they hold."""
    content = by_gdcm(dicom(words, bits=16), folder, syntax)
    dataset = dcmread(io.BytesIO(content))
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    return dataset


def told_as(content: bytes, syntax: str, other: str) -> bytes:
    """The same file, whose header tells another transfer syntax."""
    before = syntax.encode() + b"\0" * (len(syntax) % 2)
    after = other.encode() + b"\0" * (len(other) % 2)
    sizes = (len(one).to_bytes(2, "little") for one in (before, after))
    assert content.count(before) == 1
    return content.replace(next(sizes) + before, next(sizes) + after)
