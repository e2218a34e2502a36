"""Several frames in one file: each by itself, one at a time, and a damaged one alone."""

import io
import struct

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset
from pydicom.encaps import (
    encapsulate,
    encapsulate_extended,
    generate_frames,
    parse_basic_offsets,
    parse_fragments,
)
from pydicom.pixels import compress
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from dicom.helpers import SECRET, compressed, content_of, dicom, encapsulated
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


def tabled(parts: list[bytes], offsets: list[int] | None, fragments: int = 1) -> bytes:
    """These frames in so many fragments each, behind a basic offset table of these offsets, or
    without any."""
    bare = encapsulate(parts, fragments_per_frame=fragments, has_bot=False)[8:]
    if offsets is None:
        return bare
    table = struct.pack(f"<{len(offsets)}I", *offsets)
    return b"\xfe\xff\0\xe0" + struct.pack("<I", len(table)) + table + bare


def parts_of(dataset: Dataset, count: int = 3) -> list[bytes]:
    return list(generate_frames(dataset.PixelData, number_of_frames=count))


def offsets_of(parts: list[bytes], fragments: int = 1) -> list[int]:
    """Where each of these frames begins, behind the basic offset table."""
    return parse_basic_offsets(encapsulate(parts, fragments_per_frame=fragments))


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
@pytest.mark.parametrize("fragments", [1, 3])
def test_no_offset_table_gives_a_frame_the_pixels_of_another(opened, films, syntax, fragments):
    dataset = series(films, syntax)
    expected = [radiograph.pixels for radiograph in opened(dataset)]
    parts = parts_of(dataset)
    first, second, third = offsets_of(parts, fragments)
    tables = [[first, second, third], [], None, [first, second, first], [first, third, second]]
    tables += [[0, 0, 0], [first, third], [8, second + 8, third + 8], [first, 2, 2**32 - 8]]
    for table in tables:
        dataset.PixelData = tabled(parts, table, fragments)
        shown = [radiograph.pixels for radiograph in opened(dataset)]
        assert np.array_equal(shown, expected), table


def test_no_extended_offset_table_gives_a_frame_the_pixels_of_another(opened, films):
    dataset = series(films, JPEGLSLossless)
    expected = [radiograph.pixels for radiograph in opened(dataset)]
    dataset.PixelData, offsets, lengths = encapsulate_extended(parts_of(dataset))
    for told in [(offsets, lengths), (bytes(24), lengths), (offsets, bytes(24)), (offsets, b"")]:
        dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths = told
        assert np.array_equal([radiograph.pixels for radiograph in opened(dataset)], expected), told


@pytest.mark.parametrize("fragments", [1, 3])
def test_one_frame_is_read_whatever_its_offset_table_tells(read, stored, fragments):
    dataset = compressed(stored, JPEGLSLossless)
    expected, parts = read(dataset).pixels, parts_of(dataset, 1)
    whole = encapsulate(parts, fragments_per_frame=fragments, has_bot=False)
    its_fragments = [start - 8 for start in parse_fragments(whole)[1]][1:]
    for table in ([0], [8], [0, 0], [99_999_999], its_fragments, [], None):
        dataset.PixelData = tabled(parts, table, fragments)
        assert np.array_equal(read(dataset).pixels, expected), table


@pytest.mark.parametrize("told", [None, 1, 2])
@pytest.mark.parametrize("syntax", [None, RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_frame_that_is_not_told_of_is_not_passed_over_in_silence(opened, films, syntax, told):
    dataset = series(films, syntax)
    dataset.NumberOfFrames = told
    results = list(opened(dataset).results())
    assert [one.reason for one in results] == ["damaged"] * (told or 1)
    assert f"{told or 1} by its header and 3 by its pixels" in str(results[-1])


def test_frames_in_boxes_that_are_not_told_of(refusal, films):
    boxed = [io.BytesIO() for _ in films]
    for film, buffer in zip(films, boxed, strict=True):
        Image.fromarray(film).save(buffer, "JPEG2000", no_jp2=False)
    dataset = encapsulated(films[0], JPEG2000Lossless, *(one.getvalue() for one in boxed))
    assert "1 by its header and 3 by its pixels" in str(refusal(dataset))


@pytest.mark.parametrize("count", [1, 3])
def test_plain_pixels_may_be_filled_up_by_less_than_a_frame(opened, films, count):
    dataset = series(films[:count])
    expected = [radiograph.pixels for radiograph in opened(dataset)]
    dataset.PixelData += bytes(films[0].nbytes - 2)
    assert np.array_equal([radiograph.pixels for radiograph in opened(dataset)], expected)


@pytest.mark.parametrize("fragments", [1, 3])
def test_frames_that_are_missing_are_errors_of_their_own_if_the_others_are_known(
    opened, films, fragments
):
    dataset = series(films, JPEGLSLossless)
    dataset.PixelData = tabled(parts_of(dataset), [], fragments)
    dataset.NumberOfFrames = 5
    given = [None] * 3 + ["truncated"] * 2 if fragments == 1 else ["damaged"] * 5
    assert [getattr(one, "reason", None) for one in opened(dataset).results()] == given


@pytest.mark.parametrize(("damaged", "given"), [(0, ["damaged", None, None]), (1, ["damaged"] * 3)])
def test_beginning_of_a_frame_in_several_fragments_is_damaged(opened, films, damaged, given):
    """That of the first is known all the same; of another it cannot be told where it begins."""
    dataset = series(films, JPEGLSLossless)
    parts = parts_of(dataset)
    parts[damaged] = bytes(8) + parts[damaged][8:]
    dataset.PixelData = tabled(parts, offsets_of(parts, 3), 3)
    assert [getattr(one, "reason", None) for one in opened(dataset).results()] == given


@pytest.mark.parametrize(("held", "reason"), [(1, None), (3, "damaged")])
def test_first_fragment_that_is_longer_than_the_file(opened, films, held, reason):
    """It is there all the same, but others may not lie in it."""
    dataset = series(films[:held], JPEGLSLossless)
    data = bytearray(tabled(parts_of(dataset, held), []))
    struct.pack_into("<I", data, 12, 2**31)
    dataset.PixelData, dataset.NumberOfFrames = bytes(data), 1
    [result] = opened(dataset).results()
    assert getattr(result, "reason", None) == reason


def test_compressed_pixels_of_a_stated_length_hold_their_end_mark(opened, films):
    dataset = series(films, JPEGLSLossless)
    content = bytearray(content_of(dataset))
    start = content.index(b"\xe0\x7f\x10\0OB\0\0\xff\xff\xff\xff") + 12
    struct.pack_into("<I", content, start - 4, len(content) - start)
    for given, expected in zip(opened(bytes(content)), opened(dataset), strict=True):
        assert np.array_equal(given.pixels, expected.pixels)


def test_frame_is_decoded_when_it_is_asked_for(opened, films, monkeypatch):
    asked = []
    import kirik.dicom as module

    decode = module.frame_samples
    monkeypatch.setattr(
        module, "frame_samples", lambda *args: asked.append(args[1]) or decode(*args)
    )
    frames = opened(series(films))
    assert asked == []
    next(frames)
    assert asked == [0]


def test_damaged_frame_is_an_error_of_its_own_and_the_others_are_given(opened, films):
    dataset = series(films, JPEGLSLossless)
    parts = parts_of(dataset)
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
    parts = parts_of(dataset)
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
