"""What is refused for what it says it is."""

import io

import numpy as np
import pytest
from pydicom import Dataset, dcmwrite
from pydicom.uid import JPEGLSLossless

from dicom.helpers import (
    COLUMNS,
    DX,
    DX_RAW,
    ROWS,
    SECONDARY,
    compressed,
    content_of,
    dicom,
    told_as,
)

# Real files hold such words; pydicom says so when it writes them.
pytestmark = pytest.mark.filterwarnings("ignore:Invalid value for VR CS")


@pytest.mark.parametrize(
    "tags",
    [
        {"SOPClassUID": DX, "Modality": "DX"},
        {"SOPClassUID": SECONDARY, "Modality": "RG"},
        {"SOPClassUID": SECONDARY, "Modality": "OT"},
        {"SOPClassUID": DX, "Modality": "DR"},
        {"Modality": "XR"},
        {"Modality": None},
        {"SOPClassUID": DX, "Modality": "DX", "PresentationIntentType": "FOR PRESENTATION"},
    ],
)
def test_radiographs_of_every_usual_kind(read, stored, tags):
    assert read(dicom(stored, **tags)).pixels.shape == (ROWS, COLUMNS)


@pytest.mark.parametrize(
    ("tags", "reason", "says"),
    [
        ({"Modality": "CT"}, "wrong_modality", "CT image"),
        ({"Modality": "MG"}, "wrong_modality", "mammogram"),
        ({"Modality": "SR", "PixelData": None}, "wrong_modality", "structured report"),
        ({"Modality": "PR", "PixelData": None}, "wrong_modality", "presentation state"),
        ({"Modality": "YILMAZ"}, "wrong_modality", "no radiograph"),
        ({"Modality": "CT", "SOPClassUID": SECONDARY}, "wrong_modality", "CT image"),
        ({"SOPClassUID": DX_RAW, "Modality": "DX"}, "unsupported", "raw detector"),
        ({"PresentationIntentType": "FOR PROCESSING"}, "unsupported", "raw detector"),
        ({"BitsAllocated": 1, "BitsStored": 1}, "unsupported", "1 bits"),
        ({"BitsAllocated": 32}, "unsupported", "32 bits"),
        ({"PixelData": None}, "truncated", "before its pixels"),
        ({"Rows": None}, "damaged", "without Rows"),
        ({"Columns": None}, "damaged", "without Columns"),
        ({"Rows": 30_000, "Columns": 30_000}, "too_large", "30,000×30,000"),
        ({"Rows": 0}, "damaged", "without pixels"),
        ({"Rows": ROWS + 1}, "truncated", "before its pixels"),
        ({"BitsStored": None}, "damaged", "without BitsStored"),
        ({"PixelRepresentation": None}, "damaged", "without PixelRepresentation"),
        ({"SamplesPerPixel": None}, "damaged", "without SamplesPerPixel"),
        ({"PhotometricInterpretation": None}, "damaged", "without PhotometricInterpretation"),
        ({"PhotometricInterpretation": "RGB"}, "damaged", "damaged"),
    ],
)
def test_what_is_refused_and_why(refusal, stored, tags, reason, says):
    error = refusal(dicom(stored, **tags))
    assert error.reason == reason
    assert says in str(error)


def region(meaning: str, code: str = "") -> list[Dataset]:
    item = Dataset()
    item.CodeMeaning, item.CodeValue, item.CodingSchemeDesignator = meaning, code, "SCT"
    return [item]


@pytest.mark.parametrize(
    ("tags", "says"),
    [
        ({"BodyPartExamined": "CHEST"}, "the chest"),
        ({"BodyPartExamined": "THORAX PA"}, "the chest"),
        ({"BodyPartExamined": "SKULL"}, "the skull"),
        ({"BodyPartExamined": "CSPINE"}, "the spine"),
        ({"BodyPartExamined": "L-SPINE"}, "the spine"),
        ({"BodyPartExamined": "LUMBAR_SPINE"}, "the spine"),
        ({"BodyPartExamined": "LSSPINE"}, "the spine"),
        ({"BodyPartExamined": "TLSPINE"}, "the spine"),
        ({"BodyPartExamined": "CTSPINE"}, "the spine"),
        ({"BodyPartExamined": "ABD"}, "the abdomen"),
        ({"BodyPartExamined": "UPRURTRACT"}, "the abdomen"),
        ({"BodyPartExamined": "EYE"}, "the eye"),
        ({"BodyPartExamined": "AORTA"}, "the vessels"),
        ({"BodyPartExamined": "CORONARYARTERY"}, "the vessels"),
        ({"BodyPartExamined": "SUBMANDIBULAR"}, "the jaw"),
        ({"BodyPartExamined": "ABDOMEN"}, "the abdomen"),
        ({"BodyPartExamined": "BREAST"}, "the breast"),
        ({"BodyPartExamined": "TEETH"}, "the teeth"),
        ({"BodyPartExamined": "JAW"}, "the jaw"),
        ({"BodyPartExamined": "AKCIGER"}, "the chest"),
        ({"BodyPartExamined": "SIRT"}, "the chest"),
        ({"BodyPartExamined": "BEL"}, "the spine"),
        ({"BodyPartExamined": "BAS"}, "the skull"),
        ({"BodyPartExamined": "DIS"}, "the teeth"),
        ({"BodyPartExamined": "TORACE"}, "the chest"),
        ({"BodyPartExamined": "GABBIA TORACICA"}, "the chest"),
        ({"BodyPartExamined": "POITRINE"}, "the chest"),
        ({"BodyPartExamined": "RIPPEN"}, "the chest"),
        ({"BodyPartExamined": "COSTILLAS"}, "the chest"),
        ({"BodyPartExamined": "SCHAEDEL"}, "the skull"),
        ({"BodyPartExamined": "CRANEO"}, "the skull"),
        ({"BodyPartExamined": "CRANE"}, "the skull"),
        ({"BodyPartExamined": "HALSWIRBELSAEULE"}, "the spine"),
        ({"BodyPartExamined": "RACHIS"}, "the spine"),
        ({"BodyPartExamined": "COLONNA"}, "the spine"),
        ({"BodyPartExamined": "COLUNA"}, "the spine"),
        ({"BodyPartExamined": "ADDOME"}, "the abdomen"),
        ({"BodyPartExamined": "ABDOMEN PELVIS"}, "the abdomen"),
        ({"BodyPartExamined": "THORAX/PELVIS"}, "the chest"),
        (
            {"BodyPartExamined": "PELVIS", "AnatomicRegionSequence": region("Colon")},
            "the abdomen",
        ),
        ({"AnatomicRegionSequence": region("", "416949008")}, "the abdomen"),
        ({"AnatomicRegionSequence": region("", "818982008")}, "the abdomen"),
        ({"AnatomicRegionSequence": region("", "416775004")}, "the chest"),
        ({"BodyPartExamined": "KRANYUM"}, "the skull"),
        ({"BodyPartExamined": "WATERS"}, "the skull"),
        ({"BodyPartExamined": "PNS"}, "the skull"),
        ({"BodyPartExamined": "SEFALOMETRI"}, "the skull"),
        ({"BodyPartExamined": "CEPHALOMETRIC"}, "the skull"),
        ({"BodyPartExamined": "OPG"}, "the teeth"),
        ({"BodyPartExamined": "PANORAMIK"}, "the teeth"),
        ({"BodyPartExamined": "SAKRUM"}, "the spine"),
        ({"BodyPartExamined": "KOKSIKS"}, "the spine"),
        ({"BodyPartExamined": "DORSAL"}, "the spine"),
        ({"BodyPartExamined": "DORSAL LAT"}, "the spine"),
        ({"BodyPartExamined": "KOSTA"}, "the chest"),
        ({"BodyPartExamined": "HEMITHORAX"}, "the chest"),
        ({"BodyPartExamined": "HEMITORAKS"}, "the chest"),
        ({"BodyPartExamined": "AYAKTA BATIN"}, "the abdomen"),
        ({"BodyPartExamined": "DUSG"}, "the abdomen"),
        ({"BodyPartExamined": "KOPF HALS"}, "the skull"),
        ({"BodyPartExamined": "HALS"}, "the neck"),
        ({"BodyPartExamined": "LWK"}, "the spine"),
        ({"BodyPartExamined": "BWK"}, "the spine"),
        ({"BodyPartExamined": "TETE"}, "the skull"),
        ({"BodyPartExamined": "COTES"}, "the chest"),
        ({"BodyPartExamined": "CABEZA"}, "the skull"),
        ({"BodyPartExamined": "CUELLO"}, "the neck"),
        ({"BodyPartExamined": "PECHO"}, "the chest"),
        ({"BodyPartExamined": "TESTA"}, "the skull"),
        ({"BodyPartExamined": "COLLO"}, "the neck"),
        ({"BodyPartExamined": "COSTE"}, "the chest"),
        ({"AnatomicRegionSequence": region("Sch\u00e4del")}, "the skull"),
        ({"AnatomicRegionSequence": region("Chest")}, "the chest"),
        ({"AnatomicRegionSequence": region("Brustkorb", "816094009")}, "the chest"),
        ({"AnatomicRegionSequence": region("", "T-D4000")}, "the abdomen"),
        ({"AnatomicRegionSequence": region("Thoracic spine")}, "the spine"),
    ],
)
def test_other_body_parts_are_refused(refusal, stored, tags, says):
    error = refusal(dicom(stored, **tags))
    assert error.reason == "wrong_body_part"
    assert says in str(error)


@pytest.mark.parametrize(
    "tags",
    [
        {"BodyPartExamined": ""},
        {"BodyPartExamined": "EXTREMITY"},
        {"BodyPartExamined": "HAND"},
        {"BodyPartExamined": "PELVIS"},
        {"BodyPartExamined": "SHOULDER"},
        {"BodyPartExamined": "HIP"},
        {"BodyPartExamined": "OMUZ"},
        {"BodyPartExamined": "BAS PARMAK"},
        {"BodyPartExamined": "JAMBE BAS"},
        {"BodyPartExamined": "TETE RADIALE"},
        {"BodyPartExamined": "COU DE PIED"},
        {"BodyPartExamined": "COTE DROIT"},
        {"BodyPartExamined": "OBERARMKOPF"},
        {"BodyPartExamined": "SCHENKELHALS"},
        {"BodyPartExamined": "DORSAL FOOT"},
        {"BodyPartExamined": "EL DORSAL"},
        {"BodyPartExamined": "HALS FEMUR"},
        {"BodyPartExamined": "HUMERUS KOPF"},
        {"BodyPartExamined": "TESTA OMERO"},
        {"BodyPartExamined": "COLLO DEL PIEDE"},
        {"BodyPartExamined": "CABEZA DEL RADIO"},
        {"BodyPartExamined": "CUELLO PERONE"},
        {"BodyPartExamined": "PANORAMIK BACAK"},
        {"BodyPartExamined": "AYAKTA DIZ"},
        {"BodyPartExamined": "AYAKTA AYAK"},
        {"BodyPartExamined": "ABDOMEN HIP"},
        {"BodyPartExamined": "PELVIS SACRUM"},
        {"BodyPartExamined": "BECKEN"},
        {"BodyPartExamined": "BASSIN"},
        {"BodyPartExamined": "PHAL DIS"},
        {"BodyPartExamined": "UNKNOWN"},
        {"BodyPartExamined": "WHOLEBODY"},  # as each film of a skeletal survey says
        {"BodyPartExamined": "ILIUM"},
        {"BodyPartExamined": "CHESTNUT LEG"},
        {"BodyPartExamined": "HEAD OF FEMUR"},
        {"AnatomicRegionSequence": region("Entire body", "38266002")},
        {"AnatomicRegionSequence": region("Head of radius")},
        {"AnatomicRegionSequence": region("Carpal bone")},
        {"AnatomicRegionSequence": []},
    ],
)
def test_limbs_and_unknown_words_pass(read, stored, tags):
    assert read(dicom(stored, **tags)).pixels.shape == (ROWS, COLUMNS)


@pytest.mark.parametrize(
    ("end", "says"),
    [
        ("88.11", "structured report"),
        ("88.59", "key object selection"),
        ("11.1", "presentation state"),
        ("2", "CT image"),
        ("2.2", "CT image"),
        ("12.1", "angiogram"),
        ("12.2.1", "fluoroscopy"),
        ("13.1.4", "mammogram"),
        ("130", "PET image"),
        ("77.1.4", "no radiograph by its modality or SOP class"),
        ("481.1", "no radiograph by its modality or SOP class"),
    ],
)
def test_class_is_believed_before_the_modality(refusal, stored, end, says):
    error = refusal(dicom(stored, SOPClassUID=f"1.2.840.10008.5.1.4.1.1.{end}"))
    assert error.reason == "wrong_modality"
    assert says in str(error)


def test_of_a_makers_own_class_the_modality_is_believed(read, refusal, stored):
    own = {"SOPClassUID": "1.2.392.200036.9116.7.8.1.1.1"}
    assert read(dicom(stored, **own)).pixels.shape == (ROWS, COLUMNS)
    assert refusal(dicom(stored, Modality="US", **own)).reason == "wrong_modality"


def test_dicomdir_is_named(refusal, stored):
    dataset = dicom(stored, PixelData=None, SOPClassUID="1.2.840.10008.1.3.10", Modality=None)
    buffer = io.BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    error = refusal(buffer.getvalue())
    assert error.reason == "unsupported"
    assert "DICOMDIR" in str(error)


@pytest.mark.parametrize("keyword", ["FloatPixelData", "DoubleFloatPixelData"])
def test_floating_point_pixels(refusal, stored, keyword):
    dataset = dicom(stored, PixelData=None)
    dtype = np.float32 if keyword == "FloatPixelData" else np.float64
    setattr(dataset, keyword, stored.astype(dtype).tobytes())
    error = refusal(dataset)
    assert error.reason == "unsupported"
    assert "floating-point" in str(error)


@pytest.mark.parametrize(
    ("syntax", "says"),
    [("1.2.840.10008.1.2.4.100", "MPEG2"), ("1.2.3.4.5", "an unknown method")],
)
def test_unknown_compression_is_named(refusal, stored, syntax, says):
    content = content_of(compressed(stored, JPEGLSLossless))
    error = refusal(told_as(content, JPEGLSLossless, syntax))
    assert error.reason == "unsupported"
    assert says in str(error)


@pytest.mark.parametrize("element", ["BodyPartExamined", "CodeMeaning"])
@pytest.mark.parametrize("letters", ["utf-8", "iso8859-9", "cp1254"])
@pytest.mark.parametrize(
    ("word", "part"),
    [("GÖĞÜS", "chest"), ("AKCİĞER", "chest"), ("akciğer", "chest"), ("BAŞ", "skull")],
)
def test_body_parts_in_turkish_letters(refusal, stored, word, part, letters, element):
    """Without a character set that would tell of them."""
    told = word.encode(letters)
    told += b" " * (len(told) % 2)
    text = "Q" * len(told)
    tags = {"AnatomicRegionSequence": region(text)}
    if element == "BodyPartExamined":
        tags = {element: text}
    content = content_of(dicom(stored, **tags))
    error = refusal(content.replace(b"Q" * len(told), told))
    assert error.reason == "wrong_body_part"
    assert part in str(error)
