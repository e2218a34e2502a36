"""Functional groups: what a file says of one frame, or of all, counts as at the top level."""

import struct
import time
import tracemalloc
from copy import deepcopy
from itertools import product

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from dicom.helpers import SECRET, content_of, dicom
from kirik.dicom.identity import anonymous
from kirik.errors import RadiographError
from kirik.radiograph import Limits

WORDS = "1.2.840.10008.5.1.4.1.1.7.3"
SHARED, PER_FRAME = "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"
ITEM, SQ = b"\xfe\xff\0\xe0", b"SQ\0\0"
IN_SHARED, IN_FRAMES = b"\0\x52\x29\x92", b"\0\x52\x30\x92"
ANATOMY, REGION, WINDOW = b"\x20\0\x71\x90", b"\x08\0\x18\x22", b"\x28\0\x32\x91"


def item(**tags) -> Dataset:
    dataset = Dataset()
    for keyword, value in tags.items():
        setattr(dataset, keyword, Sequence([value]) if isinstance(value, Dataset) else value)
    return dataset


def window(center: int, width: int, **more) -> Dataset:
    return item(FrameVOILUTSequence=item(WindowCenter=center, WindowWidth=width, **more))


def rescale(slope: int, intercept: int) -> Dataset:
    told = item(RescaleSlope=slope, RescaleIntercept=intercept, RescaleType="US")
    return item(PixelValueTransformationSequence=told)


def measures(*spacing: float) -> Dataset:
    return item(PixelMeasuresSequence=item(PixelSpacing=list(spacing), SliceThickness=1))


def region(meaning: str, code: str = "1") -> Dataset:
    return item(CodeValue=code, CodingSchemeDesignator="SCT", CodeMeaning=meaning)


def anatomy(meaning: str, code: str = "1") -> Dataset:
    told = item(AnatomicRegionSequence=region(meaning, code), FrameLaterality="U")
    return item(FrameAnatomySequence=told)


HAND, CHEST = anatomy("Hand", "85562004"), anatomy("Chest", "51185008")


def series(stored, shared=None, own=None, frames=2, **tags) -> Dataset:
    """Some frames of the same pixels, with these functional groups."""
    tags = {"SOPClassUID": WORDS, "NumberOfFrames": frames, **tags}
    for keyword, groups in ((SHARED, shared and [shared]), (PER_FRAME, own)):
        if groups is not None:
            tags[keyword] = Sequence(groups)
    return dicom(stored, PixelData=stored.tobytes() * frames, **tags)


def unbounded(dataset: Dataset) -> Dataset:
    """The same, whose sequences and items tell no length."""
    for element in dataset:
        if element.VR == "SQ":
            element.is_undefined_length = True
            for one in element.value:
                one.is_undefined_length_sequence_item = True
                unbounded(one)
    return dataset


@pytest.fixture
def shown(opened):
    """The grays of each frame, or why there are none."""

    def grays(source) -> list:
        results = opened(source).results()
        return [getattr(one, "reason", None) or one.pixels.tolist() for one in results]

    return grays


TOP = {
    "window": (window(1500, 900), {"WindowCenter": 1500, "WindowWidth": 900}),
    "sigmoid": (
        window(1500, 900, VOILUTFunction="SIGMOID"),
        {"WindowCenter": 1500, "WindowWidth": 900, "VOILUTFunction": "SIGMOID"},
    ),
    "rescale": (rescale(-1, 4095), {"RescaleSlope": -1, "RescaleIntercept": 4095}),
}


@pytest.mark.parametrize("kind", TOP)
@pytest.mark.parametrize("where", ["shared", "own"])
def test_a_group_shows_what_the_top_level_would(shown, read, stored, where, kind):
    group, tags = TOP[kind]
    groups = {"shared": group} if where == "shared" else {"own": [group, group]}
    expected = read(dicom(stored, **tags)).pixels.tolist()
    assert expected != read(dicom(stored)).pixels.tolist()
    assert shown(series(stored, **groups)) == [expected] * 2


SYNTAXES = [
    *(ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian),
    DeflatedExplicitVRLittleEndian,
]


@pytest.mark.parametrize(("syntax", "endless"), list(product(SYNTAXES, [False, True])))
def test_the_frames_own_before_the_shared_before_the_top_level(
    shown, read, stored, syntax, endless
):
    rows = [(1500, 900), (2500, 1200), (2000, 3000)]
    own = [window(*rows[0]), Dataset(), window(*rows[2])]
    dataset = series(stored, window(*rows[1]), own, 3, WindowCenter=2048, WindowWidth=4096)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset = unbounded(dataset) if endless else dataset
    alone = [read(dicom(stored, WindowCenter=c, WindowWidth=w)).pixels.tolist() for c, w in rows]
    if syntax == ExplicitVRBigEndian:
        dataset.PixelData = stored.astype(">u2").tobytes() * 3
    assert shown(dataset) == alone


def test_frames_without_an_item_have_what_is_left(shown, read, stored):
    top = {"WindowCenter": 2048, "WindowWidth": 4096}
    own, other = window(1500, 900), read(dicom(stored, **top)).pixels.tolist()
    first, *rest = shown(series(stored, own=[own], frames=3, **top))
    assert first != other
    assert rest == [other] * 2
    empty = [item(FrameVOILUTSequence=[]), item(FrameVOILUTSequence=Dataset())]
    assert shown(series(stored, own=empty, **top)) == [other] * 2


def test_a_group_takes_the_place_of_the_whole(shown, read, stored):
    lut = item(LUTDescriptor=[4096, 0, 12], LUTData=np.arange(4096)[::-1].astype("<u2").tobytes())
    lut["LUTDescriptor"].VR, lut["LUTData"].VR = "US", "OW"
    luts = {keyword: Sequence([lut]) for keyword in ("VOILUTSequence", "ModalityLUTSequence")}
    group = window(1500, 900)
    group.update(rescale(1, 0))
    plain = read(dicom(stored, WindowCenter=1500, WindowWidth=900)).pixels.tolist()
    assert shown(series(stored, group, VOILUTFunction="SIGMOID", **luts)) == [plain] * 2
    within = item(FrameVOILUTSequence=item(VOILUTSequence=lut))
    by_lut = read(dicom(stored, VOILUTSequence=Sequence([lut]))).pixels.tolist()
    assert shown(series(stored, within, WindowCenter=1500, WindowWidth=900)) == [by_lut] * 2


def test_spacing_of_each_frame(opened, stored):
    own = [measures(0.2, 0.1), Dataset(), measures(0.3, 0.3)]
    frames = list(opened(series(stored, measures(0.15, 0.15), own, 3, PixelSpacing=[1, 1])))
    assert [one.spacing for one in frames] == [(0.2, 0.1), (0.15, 0.15), (0.3, 0.3)]
    assert [one.aspect for one in frames] == [2, 1, 1]


@pytest.mark.parametrize("endless", [False, True])
@pytest.mark.parametrize(
    ("shared", "own", "top", "refused"),
    [
        (CHEST, None, None, "all"),
        (None, [CHEST, CHEST], None, "all"),
        (None, [CHEST, HAND], None, [1]),
        (HAND, [Dataset(), CHEST], "Chest", [2]),
        (HAND, None, "Chest", []),
        (window(2048, 4096), [Dataset()], "Chest", "all"),
        (None, [anatomy("GÖĞÜS"), Dataset()], None, [1]),
        (CHEST, [anatomy("Hand"), anatomy("Femur")], "Chest", []),
    ],
)
def test_a_frame_of_another_body_part_is_refused(
    opened, refusal, stored, shared, own, top, refused, endless
):
    dataset = series(stored, shared, own, SpecificCharacterSet="ISO_IR 192")
    if top:
        dataset.AnatomicRegionSequence = Sequence([region(top)])
    content = content_of(unbounded(dataset) if endless else dataset)
    content = content.replace(b"ISO_IR 192", b"ISO_IR 6  ")  # as of writers who do not tell it
    if refused == "all":
        error = refusal(content)
        assert (error.reason, error.frame) == ("wrong_body_part", None)
        return
    results = list(opened(content).results())
    errors = [one for one in results if isinstance(one, RadiographError)]
    assert [one.frame for one in errors] == refused
    assert {one.reason for one in errors} <= {"wrong_body_part"}
    assert all("frame" in str(one) for one in errors)


def element(tag: bytes, value: bytes, kind: bytes = SQ) -> bytes:
    return tag + kind + struct.pack("<I", len(value)) + value


def one_item(value: bytes) -> bytes:
    return ITEM + struct.pack("<I", len(value)) + value


def nested(depth: int) -> bytes:
    """An item within a sequence within an item; each tells its length."""
    sizes = (20 * rest + 12 for rest in range(depth, 0, -1))
    heads = (
        ITEM + struct.pack("<I", size) + WINDOW + SQ + struct.pack("<I", size - 12)
        for size in sizes
    )
    return b"".join(heads)


MANY = b"\xfe\xff\0\xe0\0\0\0\0" * 300_000
SHORT = b"\x08\0\x50\0SH\0\0" * 300_000
HOSTILE = {
    "items": (MANY, [None, None]),
    "elements": (one_item(SHORT), "damaged"),
    "items of a group": (one_item(element(WINDOW, MANY)), [None, None]),
    "elements of a group": (one_item(element(WINDOW, one_item(SHORT))), ["damaged", None]),
    "regions": (one_item(element(ANATOMY, one_item(element(REGION, MANY)))), [None, None]),
    "elements of a region": (
        one_item(element(ANATOMY, one_item(element(REGION, one_item(SHORT))))),
        ["damaged", None],
    ),
    "nested": (nested(50_000), [None, None]),
    "no item": (b"Yilmaz^Ayse " * 20, [None, None]),
    "half an item": (ITEM, "damaged"),
    "half a group": (one_item(element(WINDOW, ITEM)), ["damaged", None]),
    "longer than it is": (ITEM + b"\xf0\xff\xff\xff" + element(WINDOW, b""), [None, None]),
    "empty": (b"", [None, None]),
}
"""What stands in the place of all frames' groups, and how each frame of two ends; or the file."""


def with_element(stored, tag: bytes, value: bytes, kind: bytes = SQ) -> bytes:
    """Two frames' file with an element before the pixels."""
    content = content_of(series(stored, WindowCenter=2048, WindowWidth=4096))
    at = content.rindex(b"\xe0\x7f\x10\0")
    return content[:at] + element(tag, value, kind) + content[at:]


def outcome(opened, content: bytes) -> list | str:
    """Why each frame, or the file, is no radiograph, and None where it is one."""
    try:
        results = list(opened(content).results())
    except RadiographError as error:
        results = error
    assert "Yilmaz" not in str(results)
    if isinstance(results, RadiographError):
        return results.reason
    return [getattr(one, "reason", None) for one in results]


@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize("tag", [IN_SHARED, IN_FRAMES])
def test_hostile_groups_end_soon(opened, stored, caplog, tag, hostile):
    value, expected = HOSTILE[hostile]
    if tag == IN_SHARED and "damaged" in expected:
        expected = "damaged"  # which is of each frame, and so the file's
    content, start = with_element(stored, tag, value), time.process_time()
    assert outcome(opened, content) == expected
    assert time.process_time() - start < 3
    assert caplog.text == ""


@pytest.mark.parametrize("hostile", ["items", "items of a group", "regions"])
def test_hostile_groups_take_little_memory(opened, stored, hostile):
    content = with_element(stored, IN_FRAMES, HOSTILE[hostile][0])
    tracemalloc.start()
    outcome(opened, content)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12 * len(content)  # unbounded it would be about 100 times as much


@pytest.mark.parametrize("kind", [b"UN\0\0", b"OB\0\0", b"UT\0\0"])
def test_groups_of_another_kind(shown, read, stored, kind):
    within = b"\x28\0\x50\x10DS\4\x001500\x28\0\x51\x10DS\4\x00900 "
    content = with_element(stored, IN_SHARED, one_item(element(WINDOW, one_item(within))), kind)
    told = (1500, 900) if kind[:2] == b"UN" else (2048, 4096)  # UN: whoever copied knew it not
    alone = read(dicom(stored, WindowCenter=told[0], WindowWidth=told[1])).pixels.tolist()
    assert shown(content) == [alone] * 2


@pytest.mark.parametrize("tag", [REGION, b"\x28\0\0\x30", b"\x28\0\x10\x30"])
@pytest.mark.parametrize(("value", "expected"), [HOSTILE["items"], HOSTILE["elements"]])
def test_sequences_of_the_file_itself_are_bounded(opened, stored, tag, value, expected):
    if tag == b"\x28\0\0\x30" and value == MANY:
        expected = ["damaged"] * 2  # by a LUT without entries
    content, start = with_element(stored, tag, value), time.process_time()
    assert outcome(opened, content) == expected
    assert time.process_time() - start < 3


OWN = {
    "windows": [window(1500, 900), window(2500, 1200)],
    "one refused": [CHEST, HAND],
    "all refused": [CHEST, CHEST],
    "rescale": [rescale(-1, 4095), Dataset()],
}


@pytest.mark.parametrize("endless", [False, True])
@pytest.mark.parametrize("own", OWN)
def test_groups_without_names_show_the_same(opened, shown, stored, own, endless):
    own = deepcopy(OWN[own])
    for groups in own:
        groups.update(item(FrameContentSequence=item(FrameComments=SECRET, FrameLabel=SECRET)))
        if "FrameAnatomySequence" not in groups:
            groups.update(anatomy(f"Hand {SECRET}"))
        groups.FrameAnatomySequence[0].AnatomicRegionSequence[0].LongCodeValue = SECRET
    dataset = series(stored, window(2000, 3000, WindowCenterWidthExplanation=SECRET), own)
    content = content_of(unbounded(dataset) if endless else dataset)
    clear = anonymous(content, "a", Limits(), b"k" * 32)
    assert b"YILMAZ" not in clear.upper()
    assert outcome(opened, clear) == outcome(opened, content)
    if outcome(opened, content) != "wrong_body_part":
        assert shown(clear) == shown(content)
