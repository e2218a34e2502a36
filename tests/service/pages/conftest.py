"""A reading room that runs as a person would run it, and a browser in front of it.

A test of a page runs twice, in English on a desktop and in Turkish on a phone; what it tests goes
by neither where it runs once (`ON_DESKTOP`, `ON_PHONE`). Chromium is the system's (Debian: apt-get
install chromium); tests are skipped where it, or Playwright, is missing.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from brightness import SIZE, STRIDE, brightness_graph
from kirik.bundle import Evidence, Manifest, write_bundle
from kirik.operating_points import OperatingPoints
from kirik.preprocessing import Preprocessing
from kirik.service.pages.words import words_of

CHROMIUM = (
    os.environ.get("KIRIK_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
)
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
DESKTOP = {"language": "en", "width": 1280, "height": 860}
PHONE = {"language": "tr", "width": 375, "height": 760}
ON_DESKTOP, ON_PHONE = (
    pytest.mark.parametrize("kind", [kind], ids=[name], indirect=True)
    for kind, name in ((DESKTOP, "en-desktop"), (PHONE, "tr-phone"))
)
LEVELS = {"fracture": 0.8, "uncertain": 0.5, "no_fracture": 0.2}
"""Mean brightness that makes the tiny model decide so."""


@dataclass
class Room:
    """A server, and a browser's page in it with its language's words."""

    address: str
    page: object = None
    words: dict = field(default_factory=dict)

    def go(self, path: str = "/") -> None:
        self.page.goto(self.address + path)
        self.page.wait_for_load_state("load")

    def hand_in(self, *files: Path) -> None:
        """Over the API, without a page."""
        import httpx

        parts = [("files", (file.name, file.read_bytes())) for file in files]
        own = {"X-Requested-With": "kirik"}
        answer = httpx.post(f"{self.address}/api/v1/studies", files=parts, headers=own, timeout=30)
        assert answer.status_code in (200, 202), answer.text

    def until(self, expression: str) -> None:
        """Until it is true in the page; Playwright's own wait evaluates, which the CSP forbids."""
        for _ in range(300):
            if self.page.evaluate(expression):
                return
            self.page.wait_for_timeout(100)
        raise AssertionError(f"not so in half a minute: {expression}")

    def wait_read(self, *names: str) -> list[dict]:
        """Until these are read; gives them as the API lists them."""
        import httpx

        for _ in range(300):
            found = [
                httpx.get(f"{self.address}/api/v1/studies", params={"q": name}).json()["studies"]
                for name in names
            ]
            if all(one and one[0]["state"] in ("read", "failed") for one in found):
                return [one[0] for one in found]
            self.page.wait_for_timeout(100)
        raise AssertionError(f"not read in half a minute: {found}")


def film(path: Path, decision: str, seed: int = 0, shape=(256, 256)) -> Path:
    """A PNG that the tiny model decides so; another file for another seed."""
    noise = np.random.default_rng(seed).integers(-12, 13, shape)
    pixels = np.clip(LEVELS[decision] * 255 + noise, 0, 255).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture(scope="session")
def bundle(tmp_path_factory) -> Path:
    """A model that calls bright films fractured, with findings where they are brightest."""
    place = tmp_path_factory.mktemp("model") / "bright"
    manifest = Manifest(
        name="bright",
        classes=("not_fractured", "fractured"),
        negative=0,
        preprocessing=Preprocessing(size=SIZE),
        operating_points=OperatingPoints(low=0.3, high=0.7),
        evidence=Evidence(stride=STRIDE, threshold=0.45),
        network="brightness",
    )
    files = {"model.onnx": brightness_graph(2), "card.md": b"# bright\n\nA *tiny* model.\n"}
    write_bundle(place, manifest, files)
    return place


@pytest.fixture(scope="session")
def serve(bundle, tmp_path_factory) -> Iterator[Callable[[], str]]:
    """Starts `kirik serve` on a free port and an empty folder; gives its address."""
    running = []

    def start() -> str:
        data = tmp_path_factory.mktemp("room")
        said = ["serve", "--port", "0", "--data", data, "--model", bundle, "--threads", "1"]
        server = subprocess.Popen(
            [sys.executable, "-m", "kirik", *map(str, said)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        running.append(server)
        for line in server.stdout:
            if found := re.search(r"http://[\d.]+:\d+", line):
                return found[0]
        raise AssertionError("kirik serve said no address and ended")

    yield start
    for server in running:
        server.terminate()
    for server in running:
        server.wait(timeout=20)


@pytest.fixture(scope="session")
def browser():
    """Debian's Chromium."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs pip install playwright")
    if not CHROMIUM:
        pytest.skip("needs Chromium: apt-get install chromium, or set KIRIK_CHROMIUM")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def address(serve, browser) -> str:
    """Of the room that most tests share; it is open, since it has no account."""
    return serve()


@pytest.fixture(params=[DESKTOP, PHONE], ids=["en-desktop", "tr-phone"])
def kind(request) -> dict:
    return request.param


@pytest.fixture
def visit(browser, kind) -> Iterator[Callable[[str], Room]]:
    """Opens a browser's window on a room; a page's own error fails the test."""
    contexts, errors = [], []

    def open_(address: str, **options) -> Room:
        context = browser.new_context(
            viewport={"width": kind["width"], "height": kind["height"]},
            locale=kind["language"],
            has_touch=kind is PHONE,
            reduced_motion="reduce",
            accept_downloads=True,
            **options,
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(int(os.environ.get("KIRIK_PAGE_PATIENCE", "30")) * 1000)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on(
            "console", lambda said: "Content Security" in said.text and errors.append(said.text)
        )
        words = words_of(kind["language"])
        groups = ("admin", "error", "login", "worklist", "viewer", "said")
        return Room(address, page, {k: v for name in groups for k, v in words[name].items()})

    yield open_
    for context in contexts:
        context.close()
    assert not errors


@pytest.fixture
def room(visit, address) -> Room:
    return visit(address)


@pytest.fixture(scope="module")
def shown() -> dict[str, dict]:
    """Studies, by language, that the tests of a file look at and none changes."""
    return {}


@pytest.fixture
def films(tmp_path, kind) -> dict[str, Path]:
    """A film of each decision, of this test alone."""
    unlike = abs(hash((str(tmp_path), kind["language"]))) % 2**32
    stem = f"{kind['language']}{unlike}"
    return {
        decision: film(tmp_path / f"{stem}-{decision}.png", decision, unlike + place)
        for place, decision in enumerate(LEVELS)
    }
