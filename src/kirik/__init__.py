"""kirik reads plain radiographs for fractures.

    import kirik
    reading = kirik.load_model().read("wrist.jpg")
    reading.decision, reading.probability, reading.findings

What the package offers is imported when it is first asked for, so that `import kirik` is free.
"""

import importlib

_HOME = {
    "load_model": "kirik.reading.classifier",
    "Classifier": "kirik.reading.classifier",
    "Failure": "kirik.reading.reading",
    "Finding": "kirik.reading.reading",
    "Reading": "kirik.reading.reading",
    "KirikError": "kirik.errors",
}

__all__ = [*_HOME, "__version__"]


def __getattr__(name: str):
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version("kirik")
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'kirik' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
