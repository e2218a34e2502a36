"""A phantom as an image file: JPEG, PNG, or DICOM of computed or digital radiography.

The same phantom gives the same bytes. No file holds a patient: the elements that DICOM requires
of one are there and empty.
"""

from pathlib import Path

import numpy as np
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    generate_uid,
)

from kirik.dataset.phantoms.phantom import Phantom

SUFFIXES = {"jpeg": ".jpg", "png": ".png", "dicom": ".dcm"}
EMPTY = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
    "AcquisitionDate",
    "AcquisitionTime",
    "SeriesNumber",
)
ORIENTATIONS = {"frontal": "AP", "lateral": "LL", "oblique": "LLO"}
BODY_PARTS = {"hand": "HAND", "leg": "LEG", "shoulder": "SHOULDER"}


def save_phantom(phantom: Phantom, path: Path, image_format: str, *, exam: int, view: int) -> None:
    """Write one file. exam and view are numbers from which DICOM's identifiers are made."""
    if image_format == "dicom":
        _dicom(phantom, path, exam, view).save_as(path, enforce_file_format=True)
        return
    image = Image.fromarray((phantom.pixels * 255 + 0.5).astype(np.uint8))
    if image_format == "jpeg":
        image.save(path, "JPEG", quality=90)
    else:
        image.save(path, "PNG", compress_level=3)


def _dicom(phantom: Phantom, path: Path, exam: int, view: int) -> FileDataset:
    """CR with 12 bits stored and DX with 16 in turn, bone bright or dark in turn."""
    digital, inverted = bool((exam + view) % 2), bool((exam // 2 + view) % 2)
    storage = DigitalXRayImageStorageForPresentation if digital else ComputedRadiographyImageStorage
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = storage
    meta.MediaStorageSOPInstanceUID = _uid("image", exam, view)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = FileDataset(path, {}, file_meta=meta, preamble=b"\0" * 128)
    file.SpecificCharacterSet = "ISO_IR 192"
    for keyword in EMPTY:
        setattr(file, keyword, None)
    file.SOPClassUID, file.SOPInstanceUID = storage, meta.MediaStorageSOPInstanceUID
    file.StudyInstanceUID = _uid("study", exam)
    file.SeriesInstanceUID = _uid("series", exam, view)
    file.Modality = "DX" if digital else "CR"
    file.ImageType = ["ORIGINAL", "PRIMARY", ""]
    file.Manufacturer = "kirik phantoms"
    file.InstanceNumber = view + 1
    file.BodyPartExamined = BODY_PARTS[phantom.region]
    file.PatientOrientation = None
    file.ViewPosition = ORIENTATIONS[phantom.view] if not digital else None
    file.BurnedInAnnotation = "NO"
    file.Laterality = phantom.side
    if digital:
        _add_digital(file, phantom.side, inverted)
    _add_pixels(file, phantom, bits=16 if digital else 12, inverted=inverted)
    return file


def _add_digital(file: FileDataset, side: str, inverted: bool) -> None:
    """What the DX modules ask for beyond CR's."""
    file.PresentationIntentType = "FOR PRESENTATION"
    file.ImageLaterality = side
    file.AnatomicRegionSequence = Sequence()
    file.ViewCodeSequence = Sequence()
    file.AcquisitionContextSequence = Sequence()
    file.DetectorType = None
    file.PixelIntensityRelationship = "LOG"
    file.PixelIntensityRelationshipSign = 1 if inverted else -1
    file.PresentationLUTShape = "INVERSE" if inverted else "IDENTITY"
    file.LossyImageCompression = "00"
    file.RescaleIntercept, file.RescaleSlope, file.RescaleType = 0, 1, "US"


def _add_pixels(file: FileDataset, phantom: Phantom, *, bits: int, inverted: bool) -> None:
    top = 2**bits - 1
    stored = np.round(phantom.pixels.astype(np.float64) * top).astype("<u2")
    file.SamplesPerPixel = 1
    file.PhotometricInterpretation = "MONOCHROME1" if inverted else "MONOCHROME2"
    file.Rows, file.Columns = stored.shape
    file.BitsAllocated, file.BitsStored, file.HighBit = 16, bits, bits - 1
    file.PixelRepresentation = 0
    file.ImagerPixelSpacing = [f"{phantom.spacing:.6f}"] * 2
    file.WindowCenter, file.WindowWidth = f"{(top + 1) / 2:.1f}", f"{top + 1}"
    file.PixelData = (top - stored if inverted else stored).astype("<u2").tobytes()


def _uid(*parts: object) -> str:
    return generate_uid(entropy_srcs=["kirik phantom", *(str(part) for part in parts)])
