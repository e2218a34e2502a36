"""Pictures of every page of the reading room, on phantoms, for the README and docs.

    python scripts/screenshots.py [--model RUN_OR_BUNDLE] [--out docs/pictures/room]

Each page in English and Turkish, on a desktop and on a phone, as WebP. Needs Playwright and
Debian's Chromium (apt-get install chromium). The room is one of its own, in a temporary folder, and
is gone afterwards; its people and its patient are made up, and its radiographs are phantoms.
"""

import argparse
import io
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import numpy as np
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, sync_playwright
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

WINDOWS = {"": (1280, 860), "-phone": (375, 760)}
SCHEMES = {"en": "light", "tr": "dark"}
OWN = {"X-Requested-With": "kirik"}
PASSWORD = "a bone on dark ground"
PEOPLE = {"ayse": "administrator", "mehmet": "reviewer", "zeynep": "reader"}
DRAWN = """Promise.all([...document.images]
    .filter((image) => image.getBoundingClientRect().top < innerHeight)
    .map((image) => image.decode().catch(() => null)))"""
"""Waits for all pictures in sight, however busy the machine is."""
MOST = {"out_of_scope": 2, "uncertain": 4}
"""More of such phantoms would only crowd the list."""


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--model", default="small")
    asked.add_argument("--out", type=Path, default=Path("docs/pictures/room"))
    said = asked.parse_args()
    said.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        films = phantoms(Path(folder) / "phantoms")
        server, address = serve(Path(folder) / "room", said.model)
        try:
            with httpx.Client(base_url=f"{address}/api/v1", headers=OWN, timeout=60) as room:
                furnish(room)
                studies = fill(room, films)
            with sync_playwright() as driver:
                browser = driver.chromium.launch(
                    executable_path="/usr/bin/chromium",
                    args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
                )
                take_all(browser, address, studies, said.out)
        finally:
            server.terminate()
            server.wait()


def phantoms(folder: Path) -> list[Path]:
    made = ["data", "phantoms", folder, "--count", "60", "--seed", "7", "--size", "480"]
    subprocess.run([sys.executable, "-m", "kirik", *map(str, made)], check=True)
    return sorted(folder.rglob("*.jpg"))


def serve(data: Path, model: str) -> tuple[subprocess.Popen, str]:
    said = ["serve", "--port", "0", "--data", str(data), "--model", model]
    command = [sys.executable, "-m", "kirik", *said]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    for line in server.stdout:
        if found := re.search(r"http://[\d.]+:\d+", line):
            return server, found[0]
    raise SystemExit("kirik serve did not start")


def sign_in(room: httpx.Client, name: str) -> None:
    room.cookies.clear()
    room.headers.pop("X-CSRF-Token", None)
    room.post("/session", json={"name": name, "password": PASSWORD}).raise_for_status()
    room.headers["X-CSRF-Token"] = room.cookies["kirik_csrf"]


def furnish(room: httpx.Client) -> None:
    """People and devices; whoever asks is the administrator afterwards."""
    for name, role in PEOPLE.items():
        said = {"name": name, "password": PASSWORD, "role": role, "patients": role != "reader"}
        room.post("/users", json=said).raise_for_status()
        if name == "ayse":
            sign_in(room, name)
    for name in ("xray-room-1", "xray-room-2"):
        room.post("/tokens", json={"name": name, "role": "reader", "own": True}).raise_for_status()
    room.put("/storage", json={"retention_days": 365}).raise_for_status()


def fill(room: httpx.Client, films: list[Path]) -> dict[str, dict]:
    """Hand films in, have them read and judged; one study of each kind that is shown."""
    parts = [(path.name, path.read_bytes()) for path in films]
    parts += [("cut-short.jpg", parts[0][1][:5000])]
    parts += [("wrist.dcm", dicom(films[:3]))]
    files = [("files", part) for part in parts]
    room.post("/studies", files=files).raise_for_status()
    studies, kept = read(room), {}
    for study in studies:
        kept[study["decision"]] = kept.get(study["decision"], 0) + 1
        if kept[study["decision"]] > MOST.get(study["decision"], 99):
            room.delete(f"/studies/{study['id']}").raise_for_status()
    sign_in(room, "mehmet")
    studies = read(room)
    judge(room, [study for study in studies if study["frames"] == 1])
    first = next(study for study in studies if study["frames"] == 1)
    return {
        "viewer": first,
        "frames": next(study for study in studies if (study["frames"] or 1) > 1),
        "not-read": next(study for study in studies if study["state"] == "failed"),
    }


def read(room: httpx.Client) -> list[dict]:
    while True:
        found = room.get("/studies", params={"limit": 200}).json()
        if not found["counts"]["waiting"]:
            return found["studies"]
        time.sleep(0.5)


def judge(room: httpx.Client, studies: list[dict]) -> None:
    """Reviews, some of which overrule a reading."""
    sure = ("fracture", "no_fracture")
    for place, study in enumerate(one for one in studies if one["decision"] in sure):
        if place % 5 == 4:
            continue
        agrees = place % 6 != 2
        opposite = sure[study["decision"] == "fracture"]
        review = {
            "agrees": agrees,
            "decision": study["decision"] if agrees else opposite,
            "comment": ""
            if agrees
            else ("Growth plate" if opposite == "no_fracture" else "Cortex"),
        }
        room.post(f"/studies/{study['id']}/reviews", json=review).raise_for_status()


def dicom(films: list[Path]) -> bytes:
    """A file of several frames, of a patient who is made up."""
    frames = [np.asarray(Image.open(film).convert("L").resize((400, 480))) for film in films]
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SpecificCharacterSet = "ISO_IR 192"
    data.PatientName, data.PatientID = "Örnek^Hasta", "000-123"
    data.SOPClassUID, data.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1", generate_uid()
    data.StudyInstanceUID, data.Modality = generate_uid(), "CR"
    data.PhotometricInterpretation, data.SamplesPerPixel = "MONOCHROME2", 1
    (data.Rows, data.Columns), data.NumberOfFrames = frames[0].shape, len(frames)
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 8, 8, 7, 0
    data.PixelData = np.stack(frames).tobytes()
    data["PixelData"].VR = "OB"
    file = io.BytesIO()
    data.save_as(file, enforce_file_format=True)
    return file.getvalue()


def pages(studies: dict[str, dict]) -> dict[str, tuple[str, str]]:
    """By name: the path, and what is there when it has been filled."""
    viewers = {name: (f"/studies/{study['id']}", "#facts dd") for name, study in studies.items()}
    return {
        "list": ("/", "#list .row"),
        **viewers,
        "agreement": ("/agreement", "#by-week svg"),
        "accounts": ("/admin#accounts", "#accounts tbody tr"),
        "tokens": ("/admin#tokens", "#tokens tbody tr"),
        "model": ("/admin#model", "#model dd"),
        "trail": ("/admin#trail", "#trail tbody tr"),
        "storage": ("/admin#storage", "#storage .tile"),
        "about": ("/about", "#facts dd"),
        "nowhere": ("/nowhere", "h1"),
        "login": ("/login", "#sign-in"),
    }


def take_all(browser: Browser, address: str, studies: dict[str, dict], out: Path) -> None:
    for language, scheme in SCHEMES.items():
        for window, (width, height) in WINDOWS.items():
            context = browser.new_context(
                viewport={"width": width, "height": height},
                locale=language,
                color_scheme=scheme,
                reduced_motion="reduce",
            )
            enter(context, address)
            for name, (path, there) in pages(studies).items():
                if name == "login":
                    context.clear_cookies()
                take(context, address + path, there, out / f"{name}-{language}{window}.webp")
            context.close()


def enter(context: BrowserContext, address: str) -> None:
    said = json.dumps({"name": "ayse", "password": PASSWORD})
    headers = OWN | {"Content-Type": "application/json"}
    answer = context.request.post(f"{address}/api/v1/session", data=said, headers=headers)
    assert answer.ok, answer.status_text


def take(context: BrowserContext, address: str, there: str, file: Path) -> None:
    page = context.new_page()
    page.goto(address)
    page.locator(there).first.wait_for(state="attached")
    page.wait_for_load_state("load")
    page.wait_for_timeout(1200)  # thumbnails and evidence come a moment later
    page.evaluate(DRAWN)
    picture = Image.open(io.BytesIO(page.screenshot()))
    picture.convert("RGB").save(file, "WEBP", quality=75, method=6)
    print(f"written: {file} ({file.stat().st_size / 1000:.0f} kB)")
    page.close()


if __name__ == "__main__":
    main()
