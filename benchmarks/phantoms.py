"""How many phantoms a second one core writes, JPEG and tables included.

OMP_NUM_THREADS=1 python benchmarks/phantoms.py [--count 100] [--size 450] [--json FILE]
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

from kirik.dataset.phantoms import make_phantom, write_phantoms


def measure(count: int, size: int, image_format: str) -> dict[str, float | int | str]:
    """Radiographs per second of CPU time and of wall time, in this one process."""
    make_phantom(0, size=size)
    with tempfile.TemporaryDirectory() as directory:
        wall, processor = time.perf_counter(), time.process_time()
        write_phantoms(Path(directory), count=count, size=size, image_format=image_format)
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
    return {
        "count": count,
        "size": size,
        "format": image_format,
        "per_second": round(count / wall, 1),
        "per_cpu_second": round(count / processor, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--size", type=int, default=450)
    parser.add_argument("--format", default="jpeg", choices=["jpeg", "png", "dicom", "mixed"])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    result = measure(options.count, options.size, options.format)
    print(f"{result['per_second']} radiographs/s ({result['per_cpu_second']} per second of CPU)")
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
