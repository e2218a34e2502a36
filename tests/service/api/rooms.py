"""A reading room that runs, and what is handed into it."""

import io
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from kirik.client import Client
from kirik.reading.classifier import load_model
from kirik.service import accounts, tokens
from kirik.service.core import Core
from kirik.service.worker import Worker

OWN = {"X-Requested-With": "kirik"}


def png(level: float = 0.5, shape: tuple[int, int] = (96, 96), seed: int = 0) -> bytes:
    """A film of two grays with a mark that makes each seed's bytes its own."""
    middle = round(level * 255)
    pixels = np.full(shape, middle, np.uint8)
    pixels[:, : shape[1] // 2] -= min(8, middle)
    pixels[:, shape[1] // 2 :] += min(8, 255 - middle)
    for place, digit in enumerate(f"{seed:024b}"):
        pixels[0, place] ^= int(digit)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def named(level: float, kind: str) -> bytes:
    """A film as PNG, JPEG or TIFF that names Ayse Yilmaz, Q4711, beside its pixels."""
    file, image = io.BytesIO(), Image.open(io.BytesIO(png(level)))
    note, exif = PngInfo(), Image.Exif()
    note.add_text("Description", "Yilmaz^Ayse Q4711")
    exif[0x010E] = "Yilmaz^Ayse Q4711"
    image.save(file, kind, exif=exif, **({"pnginfo": note} if kind == "PNG" else {}))
    return file.getvalue()


@dataclass
class Room:
    """A running reading room."""

    core: Core
    url: str
    model: Path
    app: object = field(repr=False, default=None)
    closing: list = field(default_factory=list, repr=False)

    def http(self, token: str | None = None, **options) -> httpx.Client:
        """A plain HTTP client, which sends what the room's own pages send."""
        headers = OWN | ({"Authorization": f"Bearer {token}"} if token else {})
        headers |= options.pop("headers", {})
        client = httpx.Client(base_url=f"{self.url}/api/v1", headers=headers, timeout=30, **options)
        self.closing.append(client)
        return client

    def client(self, token: str | None = None) -> Client:
        client = Client(self.url, token, patience=5)
        self.closing.append(client)
        return client

    def token(self, role: str = "reader", name: str | None = None, **rights) -> str:
        """A device's token; an account is made first, so that all must sign in."""
        self.account("admin", "administrator")
        with self.core.database.writing() as session:
            name = name or f"device-{role}-{time.monotonic_ns()}"
            return tokens.make(session, name, role, by="test", **rights)[1]

    def account(self, name: str, role: str, password: str = "bone on dark ground 7", **rights):
        with self.core.database.writing() as session:
            if name not in [one.name for one in accounts.listed(session)]:
                accounts.add(session, name, password, role, **rights)
        return name, password

    def read(self) -> None:
        """Have all that waits read."""
        classifier = load_model(self.model, threads=1, decoders=self.core.decoders)
        Worker(self.core, classifier).run(threading.Event(), until_idle=True)

    def read_anew(self) -> None:
        """Have all that waits read by the model that is in use by now."""
        Worker(self.core).run(threading.Event(), until_idle=True)

    def submit(self, *contents: bytes, http: httpx.Client | None = None) -> list[str]:
        """Hand files in and have them read; the studies' ids, in order."""
        answer = send(http or self.http(), *contents)
        assert answer.status_code in (200, 202), answer.text
        self.read()
        return [study["id"] for study in answer.json()["studies"]]


def refused(answer: httpx.Response, status: int, reason: str) -> dict:
    """The problem that an answer is, as it must be."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    said = answer.json()
    assert (said["status"], said["reason"]) == (status, reason)
    assert said["type"] == "about:blank"
    assert said["title"]
    assert said["detail"]
    return said


def send(http: httpx.Client, *contents: bytes, name: str = "film.png") -> httpx.Response:
    """Hand files in."""
    return http.post("/studies", files=[("files", (name, content)) for content in contents])
