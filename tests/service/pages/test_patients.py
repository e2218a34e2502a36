"""Patients' names and ids on the pages: for those with that right, and for nobody else."""

import httpx
import numpy as np
import pytest
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from .conftest import ON_DESKTOP
from .test_administration import PASSWORD, sign_in

pytestmark = ON_DESKTOP
ACCOUNTS = {"boss": "administrator", "uzman": "reviewer", "asistan": "reader"}


@pytest.fixture
def film(tmp_path):
    """A radiograph of Ayşe Yılmaz, number Q4711."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SpecificCharacterSet = "ISO_IR 192"
    data.PatientName, data.PatientID = "Yılmaz^Ayşe", "Q4711"
    data.SOPClassUID, data.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1", generate_uid()
    data.StudyInstanceUID, data.Modality = generate_uid(), "CR"
    data.PhotometricInterpretation, data.SamplesPerPixel = "MONOCHROME2", 1
    data.Rows, data.Columns = 200, 200
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 8, 8, 7, 0
    data.WindowCenter, data.WindowWidth = 128, 256
    data.PixelData = np.linspace(160, 228, 40_000).astype(np.uint8).tobytes()
    data["PixelData"].VR = "OB"
    path = tmp_path / "wrist.dcm"
    data.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture(scope="module")
def closed(serve) -> str:
    """The address of a room with an account of each role."""
    address = serve()
    own = {"X-Requested-With": "kirik"}
    with httpx.Client(base_url=f"{address}/api/v1", headers=own, timeout=30) as http:
        for name, role in ACCOUNTS.items():
            said = {"name": name, "password": PASSWORD, "role": role}
            http.post("/users", json=said | {"patients": role != "reader"}).raise_for_status()
            if name == "boss":
                http.headers["X-CSRF-Token"] = signed_in(http)
    return address


@pytest.fixture
def shut(closed, visit, film):
    """A room with an account of each role, and this radiograph in it alone, read."""
    room = visit(closed)
    own = {"X-Requested-With": "kirik"}
    with httpx.Client(base_url=f"{closed}/api/v1", headers=own, timeout=30) as http:
        http.headers["X-CSRF-Token"] = signed_in(http)
        http.post("/studies", files={"files": ("wrist.dcm", film.read_bytes())}).raise_for_status()

        def listed() -> list[dict]:
            return http.get("/studies").raise_for_status().json()["studies"]

        for _ in range(300):
            if all(study["state"] == "read" for study in listed()):
                break
            room.page.wait_for_timeout(100)
        else:
            raise AssertionError("not read in half a minute")
        yield room
        for study in listed():
            http.delete(f"/studies/{study['id']}").raise_for_status()


def signed_in(http: httpx.Client) -> str:
    """The word against forged requests of the session that it begins."""
    http.post("/session", json={"name": "boss", "password": PASSWORD}).raise_for_status()
    return http.cookies["kirik_csrf"]


def enter(room, name: str) -> None:
    room.go("/login")
    sign_in(room, name, PASSWORD)
    room.page.wait_for_url(room.address + "/")
    room.page.locator("#list .row").wait_for()


def seen(room) -> str:
    """All that the page holds, seen or not."""
    room.page.wait_for_timeout(300)
    return room.page.content() + room.page.title()


def test_who_may_see_patients_sees_and_finds_them(shut):
    enter(shut, "uzman")
    row = shut.page.locator("#list .row")
    assert "Yılmaz Ayşe" in row.text_content()
    assert "Q4711" in row.text_content()
    shut.page.fill("#q", "YILMAZ")
    shut.until("location.search.includes('q=')")
    shut.page.locator("#list .row", has_text="Yılmaz").wait_for()
    shut.page.locator("#list .row a").click()
    shut.page.locator("#facts dd", has_text="Yılmaz Ayşe · Q4711").wait_for()
    assert shut.page.locator("#original").is_visible()


def test_who_may_not_sees_finds_and_is_sent_none(shut):
    sent = []

    def keep(answer) -> None:
        if "/api/" in answer.url and "json" in answer.headers.get("content-type", ""):
            sent.append(answer.text())

    enter(shut, "asistan")
    shut.page.on("response", keep)
    assert "Yılmaz" not in seen(shut)
    assert "Q4711" not in seen(shut)
    shut.page.locator("#list .row a").click()
    shut.page.locator("#verdict .decision.fracture").wait_for()
    shut.page.locator("#facts dd").first.wait_for()
    assert "Yılmaz" not in seen(shut)
    assert "Q4711" not in seen(shut)
    assert shut.page.locator("#original").is_hidden()
    shut.go("/agreement")
    shut.page.locator(".tile").first.wait_for()
    assert "Yılmaz" not in seen(shut)
    for word in ("yılmaz", "Q4711"):
        shut.go(f"/?q={word}")
        shut.page.locator("#nothing").wait_for()
    assert sent
    assert not [text for text in sent if "lmaz" in text or "Q4711" in text]


def test_a_reader_is_told_that_reviewing_is_for_others(shut):
    enter(shut, "asistan")
    shut.page.locator("#list .row a").click()
    shut.page.locator("#not-allowed").wait_for()
    assert shut.page.locator("#review form").is_hidden()
    assert shut.page.locator("#delete-place").is_hidden()


def test_a_list_whose_session_has_ended_leads_to_the_sign_in(shut):
    enter(shut, "uzman")
    assert "Yılmaz" in seen(shut)
    shut.page.context.clear_cookies()
    # As when one comes back to the page: the stream begins anew.
    shut.page.evaluate("dispatchEvent(new Event('pagehide'))")
    shut.page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")
    shut.page.wait_for_url("**/login?next=*")
    assert "Yılmaz" not in seen(shut)
