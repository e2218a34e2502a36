"""Seconds that an audit takes, step by step: `python benchmarks/audit.py DATA_SET [WORKERS]`.

Without a data set it writes 400 phantoms and audits those.
"""

import sys
import tempfile
import time
from pathlib import Path

from kirik.dataset.audit import audit
from kirik.dataset.audit_page import write_audit
from kirik.dataset.confounders import find_confounders
from kirik.dataset.duplicates import find_duplicates
from kirik.dataset.inspect import inspect_files
from kirik.dataset.phantoms import write_phantoms
from kirik.dataset.sources import load_index


def timed(name: str, call):
    start = time.perf_counter()
    value = call()
    print(f"{name:<24}{time.perf_counter() - start:8.2f} s")
    return value


def main(data: Path, workers: int | None) -> None:
    index = timed("index", lambda: load_index(data))
    facts = timed("inspect files", lambda: inspect_files(index, workers=workers))
    timed("find duplicates", lambda: find_duplicates(facts))
    timed("find confounders", lambda: find_confounders(index, facts))
    found = timed("whole audit", lambda: audit(index, workers=workers))
    with tempfile.TemporaryDirectory() as folder:
        timed("write page", lambda: write_audit(found, Path(folder) / "audit.html"))
    print(f"{len(facts)} radiographs, {found.decodable} decoded")


if __name__ == "__main__":
    workers = int(sys.argv[2]) if len(sys.argv) > 2 else None
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]), workers)
    else:
        with tempfile.TemporaryDirectory() as folder:
            write_phantoms(Path(folder) / "phantoms", count=400)
            main(Path(folder) / "phantoms", workers)
