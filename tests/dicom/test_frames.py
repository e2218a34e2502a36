"""Several frames in one file: each by itself, one at a time, and a damaged one alone."""

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.encaps import encapsulate, encapsulate_extended, generate_frames
from pydicom.pixels import compress
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from dicom.helpers import SECRET, compressed, content_of, dicom
from kirik.errors import RadiographError
from kirik.radiograph import Limits, Radiograph, read_radiograph, read_radiographs

WINDOW = {"WindowCenter": 2048, "WindowWidth": 4096}


@pytest.fixture
def films(stored) -> np.ndarray:
    """Three unlike frames, uint16 [3, 30, 40]."""
    return np.stack([stored, stored[:, ::-1], stored // 2])


def series(films: np.ndarray, syntax: str | None = None, **tags) -> Dataset:
    """A data set of these frames."""
    tags = WINDOW | {"NumberOfFrames": len(films), "PixelData": films.tobytes()} | tags
    dataset = dicom(films[0], **tags)
    if syntax == JPEG2000Lossless:
        single = [compressed(film, syntax) for film in films]
        parts = [next(generate_frames(one.PixelData, number_of_frames=1)) for one in single]
        dataset.PixelData = encapsulate(parts)
        dataset["PixelData"].VR = "OB"
        dataset.file_meta.TransferSyntaxUID = syntax
    elif syntax:
        compress(dataset, syntax)
    return dataset


@pytest.mark.parametrize("syntax", [None, RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_each_frame_is_the_radiograph_that_it_would_be_alone(opened, read, films, syntax):
    frames = opened(series(films, syntax))
    assert frames.count == 3
    for number, (radiograph, film) in enumerate(zip(frames, films, strict=True), 1):
        assert radiograph.frame == number
        assert np.array_equal(radiograph.pixels, read(dicom(film, **WINDOW)).pixels)


@pytest.mark.parametrize("table", ["none", "basic", "extended"])
def test_frames_are_found_with_any_offset_table(opened, films, table):
    dataset = series(films, JPEGLSLossless)
    expected = [radiograph.pixels for radiograph in opened(dataset)]
    parts = list(generate_frames(dataset.PixelData, number_of_frames=3))
    if table == "extended":
        dataset.PixelData, offsets, lengths = encapsulate_extended(parts)
        dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths = offsets, lengths
    else:
        dataset.PixelData = encapsulate(parts, has_bot=table == "basic")
    assert np.array_equal([radiograph.pixels for radiograph in opened(dataset)], expected)


def test_frame_is_decoded_when_it_is_asked_for(opened, films, monkeypatch):
    asked = []
    import kirik.dicom as module

    decode = module.stored_values
    monkeypatch.setattr(
        module, "stored_values", lambda *args: asked.append(args[1]) or decode(*args)
    )
    frames = opened(series(films))
    assert asked == []
    next(frames)
    assert asked == [0]


def test_damaged_frame_is_an_error_of_its_own_and_the_others_are_given(opened, films):
    dataset = series(films, JPEGLSLossless)
    parts = list(generate_frames(dataset.PixelData, number_of_frames=3))
    parts[1] = parts[1][:20] + bytes(len(parts[1]) - 20)
    dataset.PixelData = encapsulate(parts)
    results = list(opened(dataset).results())
    assert [isinstance(one, Radiograph) for one in results] == [True, False, True]
    assert results[1].frame == 2
    assert "frame 2 of 3" in str(results[1])
    assert "yilmaz" not in str(results[1]).lower()
    assert results[2].frame == 3


def test_iterator_goes_on_after_an_error(opened, films):
    dataset = series(films, RLELossless)
    parts = list(generate_frames(dataset.PixelData, number_of_frames=3))
    dataset.PixelData = encapsulate([b"\xff" * 64, *parts[1:]])
    frames = opened(dataset)
    with pytest.raises(RadiographError) as caught:
        next(frames)
    assert caught.value.frame == 1
    assert [radiograph.frame for radiograph in frames] == [2, 3]


def test_whole_frames_of_a_cut_file_are_given(opened, films):
    content = content_of(series(films))
    results = list(opened(content[: -films[0].nbytes - 9]).results())
    assert [getattr(one, "reason", None) for one in results] == [None, "truncated", "truncated"]


def test_one_radiograph_is_not_taken_from_several(tmp_path, films):
    (tmp_path / "a.dcm").write_bytes(content_of(series(films)))
    with pytest.raises(RadiographError, match="3 frames") as caught:
        read_radiograph(tmp_path / "a.dcm")
    assert caught.value.reason == "several_frames"
    assert SECRET not in str(caught.value)
    assert [one.frame for one in read_radiographs(tmp_path / "a.dcm")] == [1, 2, 3]


def test_one_frame_has_no_number(opened, stored):
    frames = opened(dicom(stored, NumberOfFrames=1))
    assert frames.count == 1
    assert next(frames).frame is None


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        (Limits(frames=2), 3),
        (Limits(frame_pixels=3 * 30 * 40 - 1), 3),
        (Limits(), 2**31 - 1),
    ],
)
def test_too_many_frames_are_refused_before_one_is_decoded(refusal, films, limits, told):
    error = refusal(series(films, NumberOfFrames=told), limits=limits)
    assert error.reason == "too_large"
    assert error.frame is None


@pytest.mark.parametrize("told", [-1, -(2**31)])
def test_less_than_no_frames(refusal, films, told):
    assert refusal(series(films, NumberOfFrames=told)).reason == "damaged"
