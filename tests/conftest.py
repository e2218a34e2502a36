"""Tiny models whose answers can be computed by hand, made without torch."""

import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from brightness import SIZE, STRIDE, brightness_graph, two_tone
from kirik.bundle import Bundle, Evidence, Manifest, write_bundle
from kirik.operating_points import OperatingPoints
from kirik.preprocessing import Preprocessing


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """No test touches the user's cache of decoded radiographs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KIRIK_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def make_bundle(tmp_path):
    """Writes a bundle of a brightness graph: make_bundle(name, **of the manifest) → Bundle."""

    def make(name: str = "bright", *, graph: bytes | None = None, files=None, **said) -> Bundle:
        values = {
            "name": name,
            "classes": ("not_fractured", "fractured"),
            "negative": 0,
            "preprocessing": Preprocessing(size=SIZE),
            "operating_points": OperatingPoints(low=0.3, high=0.7),
            "evidence": Evidence(stride=STRIDE, threshold=0.5),
            "network": "brightness",
        } | said
        evidence, size = values["evidence"], values["preprocessing"].size
        content = graph or brightness_graph(
            len(values["classes"]), size=size, stride=evidence and evidence.stride
        )
        extra = {"card.md": b"# A tiny model\n", "metrics.json": b"{}\n"} | (files or {})
        return write_bundle(
            tmp_path / "bundles" / name, Manifest(**values), {"model.onnx": content} | extra
        )

    return make


@pytest.fixture
def few_threads(monkeypatch):
    """The system gives no more threads of a kind than so many: few_threads(is_one, most=0)."""

    def begin(is_one, most: int = 0) -> None:
        start, given = threading.Thread.start, iter(range(most))

        def scarce(thread):
            if is_one(thread) and next(given, None) is None:
                raise RuntimeError("can't start new thread")
            start(thread)

        monkeypatch.setattr(threading.Thread, "start", scarce)

    return begin


@pytest.fixture
def save_radiograph(tmp_path):
    """Saves a PNG or JPEG: save_radiograph("a/b.png", mean level or uint8 array) → Path."""

    def save(name: str, pixels: float | np.ndarray = 0.5, shape=(96, 64), **options) -> Path:
        path = tmp_path / "films" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not isinstance(pixels, np.ndarray):
            pixels = two_tone(pixels, shape)
        Image.fromarray(pixels).save(path, **options)
        return path

    return save
