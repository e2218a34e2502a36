"""A real radiograph, and the same as a JPEG: the same pixels, the same decision."""

import io

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.pixels import compress
from pydicom.uid import JPEGLSLossless, RLELossless

from dicom.helpers import REAL, by_dcmtk, content_of
from kirik.bundle import shipped_models
from kirik.radiograph import decode_radiographs, read_radiograph
from kirik.reading.classifier import Classifier, load_model

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not REAL.is_dir(), reason="real DICOM files are not there"),
]


@pytest.fixture(scope="module")
def raw():
    dataset = dcmread(REAL / "RG3_J2KR.dcm")
    dataset.decompress()
    return dataset


def test_real_radiograph_lossless_and_lossy_are_alike():
    lossless = read_radiograph(REAL / "RG3_J2KR.dcm")
    lossy = read_radiograph(REAL / "RG3_J2KI.dcm")
    assert lossless.pixels.shape == (1760, 1760)
    assert lossless.mode == "MONOCHROME1"
    assert np.abs(lossless.pixels - lossy.pixels).mean() < 0.01
    # The tibia's shaft is brighter than the air beside the leg.
    assert lossless.pixels[700, 850] > lossless.pixels[700, 500] + 0.3


@pytest.mark.parametrize("syntax", [None, RLELossless, JPEGLSLossless])
def test_real_radiograph_is_the_same_in_any_lossless_syntax(raw, syntax):
    expected = read_radiograph(REAL / "RG3_J2KR.dcm").pixels
    content = content_of(raw)
    if syntax:
        again = dcmread(io.BytesIO(content))
        compress(again, syntax)
        content = content_of(again)
    assert np.array_equal(next(decode_radiographs(content, "a")).pixels, expected)


@pytest.mark.parametrize(
    "how", [("dcmcjpeg", "+e1"), ("dcmcjpeg", "+el"), ("dcmconv", "+td"), ("dcmconv", "+tb")]
)
def test_real_radiograph_by_dcmtk(raw, tmp_path, how):
    if how[0] == "dcmcjpeg":
        pytest.importorskip("gdcm")
    content = by_dcmtk(raw, tmp_path, *how)
    expected = read_radiograph(REAL / "RG3_J2KR.dcm").pixels
    assert np.array_equal(next(decode_radiographs(content, "a")).pixels, expected)


@pytest.fixture
def export(raw, tmp_path):
    """The radiograph as viewers export it: windowed, inverted, a JPEG of 8 bits."""
    stored = raw.pixel_array.astype(float)
    shown = 1 - np.clip((stored - 549.5) / 1023 + 0.5, 0, 1)
    levels = (shown * 255).round().astype(np.uint8)
    Image.fromarray(levels).save(tmp_path / "a.jpg", quality=90)
    return tmp_path / "a.jpg"


def test_dicom_and_its_jpeg_export_are_of_the_same_brightness(export, make_bundle):
    """To a model that looks at nothing else."""
    classifier = Classifier(make_bundle())
    film, same = (classifier.read(path) for path in (REAL / "RG3_J2KR.dcm", export))
    assert film.probability == pytest.approx(same.probability, abs=0.02)
    assert film.decision == same.decision


@pytest.mark.parametrize("model", shipped_models())
def test_dicom_and_its_jpeg_export_get_the_same_decision(export, model):
    """What a JPEG loses moves the probability by some hundredths."""
    classifier = load_model(model)
    film, same = (classifier.read(path) for path in (REAL / "RG3_J2KR.dcm", export))
    assert film.decision == same.decision != "out_of_scope"
    assert film.probability == pytest.approx(same.probability, abs=0.07)
