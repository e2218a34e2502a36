"""Pictures of every page of the reading room, on phantoms, for the README and docs.

    python scripts/screenshots.py --model RUN_OR_BUNDLE [--films FOLDER] [--out docs/pictures]

Needs Playwright and Debian's Chromium (apt-get install chromium). The room is one of its own, in a
temporary folder, and is gone afterwards; phantoms are made where no folder of films is named.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import httpx
from playwright.sync_api import Browser, Page, sync_playwright

DESKTOP, PHONE = (1280, 860), (375, 760)
CSRF = {"X-Requested-With": "kirik"}


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--model", required=True)
    asked.add_argument("--films", type=Path)
    asked.add_argument("--out", type=Path, default=Path("docs/pictures"))
    said = asked.parse_args()
    said.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        films = said.films or phantoms(place / "phantoms")
        server, address = serve(place / "room", said.model)
        try:
            fill(address, films)
            with sync_playwright() as driver:
                browser = driver.chromium.launch(
                    executable_path="/usr/bin/chromium",
                    args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
                )
                take_all(browser, address, said.out)
        finally:
            server.terminate()
            server.wait()


def phantoms(folder: Path) -> Path:
    made = ["data", "phantoms", folder, "--count", "24", "--seed", "7", "--size", "480"]
    subprocess.run([sys.executable, "-m", "kirik", *map(str, made)], check=True)
    return folder


def serve(data: Path, model: str) -> tuple[subprocess.Popen, str]:
    said = ["serve", "--port", "0", "--data", str(data), "--model", model]
    command = [sys.executable, "-m", "kirik", *said]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    for line in server.stdout:
        if found := re.search(r"http://[\d.]+:\d+", line):
            return server, found[0]
    raise SystemExit("kirik serve did not start")


def fill(address: str, films: Path) -> None:
    """Hand the films in, wait until all are read, and judge some."""
    paths = sorted(p for p in films.rglob("*") if p.suffix in (".jpg", ".jpeg", ".png", ".dcm"))
    cut = ("cut-short.jpg", paths[0].read_bytes()[:4000])
    parts = [("files", (path.name, path.read_bytes())) for path in paths]
    with httpx.Client(base_url=f"{address}/api/v1", headers=CSRF, timeout=60) as room:
        room.post("/studies", files=[*parts, ("files", cut)]).raise_for_status()
        while True:
            found = room.get("/studies", params={"limit": 100}).json()
            if not found["counts"]["waiting"]:
                break
        sure = ("fracture", "no_fracture")
        for place, study in enumerate(s for s in found["studies"] if s["decision"] in sure):
            if place % 2 or study["probability"] > 0.97:
                agrees = place % 7 != 1
                opposite = sure[study["decision"] == "fracture"]
                review = {
                    "agrees": agrees,
                    "decision": study["decision"] if agrees else opposite,
                    "comment": "" if agrees else "Growth plate",
                }
                room.post(f"/studies/{study['id']}/reviews", json=review).raise_for_status()


def take_all(browser: Browser, address: str, out: Path) -> None:
    first = httpx.get(f"{address}/api/v1/studies", params={"limit": 1}).json()["studies"][0]["id"]
    viewer = f"/studies/{first}"
    pages = [
        ("room", "/", "en", "light", DESKTOP, "#list .row"),
        ("room-tr", "/", "tr", "dark", DESKTOP, "#list .row"),
        ("room-phone", "/", "en", "light", PHONE, "#list .row"),
        ("room-viewer", viewer, "en", "dark", DESKTOP, "#review form"),
        ("room-viewer-tr", viewer, "tr", "dark", DESKTOP, "#review form"),
        ("room-viewer-phone", viewer, "tr", "dark", PHONE, "#review form"),
        ("room-agreement", "/agreement", "en", "light", DESKTOP, "#by-week svg"),
        ("room-admin", "/admin#trail", "en", "light", DESKTOP, "#trail tbody tr"),
        ("room-login", "/login", "en", "light", DESKTOP, "#sign-in"),
        ("room-about", "/about", "en", "light", DESKTOP, "#facts dd"),
    ]
    for name, path, language, scheme, (width, height), there in pages:
        context = browser.new_context(
            viewport={"width": width, "height": height},
            locale=language,
            color_scheme=scheme,
            reduced_motion="reduce",
        )
        take(context.new_page(), address + path, there, out / f"{name}.png")
        context.close()


def take(page: Page, address: str, there: str, file: Path) -> None:
    page.goto(address)
    page.locator(there).first.wait_for()
    page.wait_for_load_state("load")
    page.wait_for_timeout(1500)  # thumbnails and evidence come a moment later
    page.screenshot(path=file)
    print(f"written: {file}")


if __name__ == "__main__":
    main()
