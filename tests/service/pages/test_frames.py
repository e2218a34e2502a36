"""A study of several frames in the viewer."""

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from .conftest import LEVELS, ON_DESKTOP

ORDER = ("no_fracture", "fracture", "uncertain")


@pytest.fixture
def series(tmp_path):
    """A DICOM file of three frames, of which the second is the most urgent."""
    rng = np.random.default_rng(abs(hash(str(tmp_path))) % 2**32)
    frames = np.stack([LEVELS[name] * 255 + rng.integers(-40, 41, (200, 200)) for name in ORDER])
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID, data.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1", generate_uid()
    data.StudyInstanceUID, data.Modality = generate_uid(), "CR"
    data.PhotometricInterpretation, data.SamplesPerPixel = "MONOCHROME2", 1
    data.Rows, data.Columns, data.NumberOfFrames = 200, 200, 3
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 8, 8, 7, 0
    data.WindowCenter, data.WindowWidth = 128, 256
    data.PixelData = frames.clip(0, 255).astype(np.uint8).tobytes()
    data["PixelData"].VR = "OB"
    path = tmp_path / f"{data.SOPInstanceUID}.dcm"
    data.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture
def opened(room, series):
    """The viewer of it, as it comes from the work list."""
    room.hand_in(series)
    [room.study] = room.wait_read(series.name)
    assert (room.study["decision"], room.study["frame"]) == ("fracture", 2)
    room.go(f"/?q={series.name}")
    row = room.page.locator("#list .row", has_text=series.name)
    assert room.words["frames"].format(count=3) in row.text_content()
    row.locator("a").click()
    room.page.locator("#verdict .decision.fracture").wait_for()
    room.page.locator("#review form").wait_for()
    return room


def test_the_frame_that_speaks_for_the_study_is_shown_first(opened):
    chosen = opened.page.locator("#frame option:checked").inner_text()
    assert opened.words["frame_of"].format(number=2, count=3) in chosen
    assert opened.words["decision_fracture"] in chosen
    opened.page.locator("#marks .finding").first.wait_for(state="attached")
    assert "frame=2" in opened.page.locator("#pdf").get_attribute("href")


def test_frames_are_turned_by_button_key_and_choice_and_each_has_its_reading(opened):
    page = opened.page
    page.locator("[data-do=frame-next]").click()
    page.locator("#verdict .decision.uncertain").wait_for()
    assert page.locator("[data-do=frame-next]").is_disabled()
    opened.until("!document.querySelector('#film-state').textContent")
    page.keyboard.press("PageUp")
    page.locator("#verdict .decision.fracture").wait_for()
    page.locator("#frame").select_option("1")
    page.locator("#verdict .decision.no_fracture").wait_for()
    opened.until("!document.querySelector('#marks .finding')")
    assert "frame=1" in page.locator("#png").get_attribute("href")
    page.reload()
    page.locator("#verdict .decision.no_fracture").wait_for()


@ON_DESKTOP
def test_turning_quickly_ends_at_the_frame_that_was_asked_for_last(opened):
    page = opened.page
    for frame in ("1", "3", "2", "1", "3"):
        page.locator("#frame").select_option(frame)
    page.locator("#verdict .decision.uncertain").wait_for()
    opened.until("!document.querySelector('#film-state').textContent")
    middle = "document.querySelector('#canvas').getContext('2d').getImageData"
    size = "document.querySelector('#canvas')"
    level = f"{middle}({size}.width >> 1, {size}.height >> 1, 1, 1).data[2]"
    opened.until(f"Math.abs({level} - 128) < 60")


@ON_DESKTOP
def test_what_was_begun_of_a_frame_stays_with_it_and_is_kept_as_its_review(opened):
    page = opened.page
    page.locator(".pill.disagree").click()
    page.fill("#comment", "of frame two")
    page.locator("#frame").select_option("3")
    page.locator("#verdict .decision.uncertain").wait_for()
    opened.until("!document.querySelector('#comment').value")
    assert page.locator("[name=agrees]:checked").count() == 0
    page.locator("#frame").select_option("2")
    opened.until("document.querySelector('#comment').value === 'of frame two'")
    assert page.locator("[name=agrees][value=false]").is_checked()
    held = []
    page.route("**/reviews", lambda route: held.append(route))
    page.locator("#review [type=submit].main").click()
    page.locator("#frame").select_option("3")  # while it is being saved
    page.locator("#verdict .decision.uncertain").wait_for()
    opened.until("!document.querySelector('#comment').value")
    page.fill("#comment", "of frame three")
    held[0].continue_()
    kept = page.locator("#history li").first
    kept.wait_for()
    assert opened.words["frame"].format(number=2) in kept.inner_text()
    assert page.locator("#comment").input_value() == "of frame three"
    page.locator("#frame").select_option("2")
    opened.until("!document.querySelector('#film-state').textContent")
    opened.until("!document.querySelector('#comment').value")
    page.locator("#frame").select_option("3")
    opened.until("document.querySelector('#comment').value === 'of frame three'")
