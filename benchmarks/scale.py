"""What a million and a hundred million radiographs take on a cluster, from rates measured here.

    python benchmarks/scale.py RADIOGRAPHS --model BUNDLE [--count 400]

Measures on this machine, best when it does nothing else: one process of the cluster pinned to one
core (fetching, decoding and the network together), all cores over a local Ray cluster, what a
process holds in memory, what a row takes on disk, and what Ray needs for a partition. Writes
docs/scale.json, and the tables of docs/scale.md from it.
"""

import json
import math
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import cyclopts
import numpy as np

from kirik.cluster import EACH, read_partition
from kirik.files import find_files
from kirik.output.folder import Folder
from kirik.partitions import find_all, part_name, write_plan
from kirik.reading.classifier import Classifier, load_model
from kirik.reading.cluster import connected, over_cluster
from kirik.reading.cores import usable_cores
from reading import _children, _proportional, processor

DOCS = Path(__file__).parent.parent / "docs"
MACHINE = 16
"""Cores of the machines that the tables count in."""
LIST_SECONDS, LISTED = 0.1, 1000
"""Assumed: an object store's answer to one request for names takes so long, and names so many."""


def main(radiographs: Path, *, model: Path, count: int = 400, docs: Path = DOCS):
    """Measure, write scale.json, and put its figures into scale.md."""
    found = list(find_files([radiographs], lambda *_: None))
    rng = np.random.default_rng(0)
    files = [str(found[i]) for i in sorted(rng.permutation(len(found))[:count])]
    with tempfile.TemporaryDirectory() as folder:
        said = {
            "machine": {"cores": usable_cores(), "processor": processor()},
            "load_before": round(os.getloadavg()[0], 1),
            "files": len(files),
            "bytes_per_file": round(np.mean([Path(path).stat().st_size for path in files])),
            **one_core(files, model, f"{folder}/one"),
            **all_cores(files, model, f"{folder}/all"),
            "partitions_per_second": round(partitions_per_second(model), 1),
        }
    said["efficiency"] = round(
        said["cluster_per_second"] / (said["core_per_second"] * usable_cores()), 2
    )
    print(json.dumps(said, indent=2))
    (docs / "scale.json").write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")
    fill(docs / "scale.md", tables(said))


def planned(files: list[str], classifier: Classifier, place: str, each: int):
    folder = Folder(place)
    names = {"model": classifier.name, "digest": classifier.bundle.digest, "inputs": tuple(files)}
    run = write_plan(folder, find_all(files, classifier.decoders), **names, each=each)
    pieces = [{"number": n, "span": run.span(n)} for n in range(len(run.ends))]
    return folder, run, pieces


def one_core(files: list[str], model: Path, place: str) -> dict:
    """One process, as `over_cluster` starts it, its decoders on the same core."""
    with pinned():
        classifier = load_model(model, threads=1)
        folder, run, [piece] = planned(files, classifier, place, len(files))
        list(classifier.read_many(files[:8], workers=2))  # warm
        start = time.perf_counter()
        read_partition(place, run.id, classifier.classes, classifier, 2, piece)
        seconds = time.perf_counter() - start
        classifier.decoders.close()
    size = len(folder.read(part_name(0)))
    return {
        "model": {"name": classifier.name, "size": classifier.manifest.preprocessing.size},
        "core_per_second": round(len(files) / seconds, 2),
        "bytes_per_row": round(size / len(files)),
    }


@contextmanager
def pinned() -> Iterator[None]:
    """This process, and what it starts, on one core."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def all_cores(files: list[str], model: Path, place: str) -> dict:
    """Over Ray on all cores of this machine: the rate from the first partition's end to the last's,
    and what comes before that."""
    classifier = load_model(model, threads=1)
    _, run, pieces = planned(files, classifier, place, max(1, len(files) // 20))
    work, outcomes, times = partial(_weighed, place, run.id, classifier.classes), [], []
    start = time.perf_counter()
    with connected() as ray:
        for outcome in over_cluster(ray, classifier.bundle, work, pieces):
            times.append(time.perf_counter() - start)
            outcomes.append(outcome)
    # The first ones of all cores were begun together, before the clock of the rest.
    first = min(usable_cores(), len(pieces) - 1)
    rest = sum(run.size(outcome["number"]) for outcome in outcomes[first:])
    return {
        "cluster_per_second": round(rest / (times[-1] - times[first - 1]), 2),
        "process_mebibytes": round(max(outcome["held"] for outcome in outcomes) / 1024),
        "seconds_to_first": round(times[0], 1),
    }


def _weighed(place, run_id, classes, classifier, workers, piece) -> dict:
    """A partition's outcome, and the KiB that its process and its decoders hold after it."""
    outcome = read_partition(place, run_id, classes, classifier, workers, piece)
    held = sum(_proportional(pid) for pid in [os.getpid(), *_children(os.getpid())])
    return outcome | {"held": held}


def _nothing(classifier, workers: int, piece: dict) -> dict:
    return {}


def partitions_per_second(model: Path, count: int = 500) -> float:
    """How many partitions Ray's driver can hand out, if there were no work in them."""
    classifier = load_model(model, threads=1)
    with connected() as ray:
        done = over_cluster(ray, classifier.bundle, _nothing, [{}] * count)
        next(done)
        start = time.perf_counter()
        for _ in done:
            pass
        return (count - 1) / (time.perf_counter() - start)


def tables(said: dict) -> str:
    """Markdown: what was measured, and what follows for two archives."""
    core = said["core_per_second"] * min(1, said["efficiency"])
    lines = [
        f"Measured on {said['machine']['cores']} cores of {said['machine']['processor']} (load "
        f"before: {said['load_before']}), with {said['model']['name']}, which "
        f"sees up to {said['model']['size']} pixels, {said['files']} files of "
        f"{said['bytes_per_file'] / 1e3:,.0f} kB:",
        "",
        "| | |",
        "| --- | --- |",
        f"| readings per second and core, all included | {said['core_per_second']:g} |",
        f"| … over Ray, all {said['machine']['cores']} cores, together | "
        f"{said['cluster_per_second']:g} ({said['efficiency']:.0%} of the cores' sum) |",
        f"| memory of a process with its decoders | {said['process_mebibytes']} MiB |",
        f"| a row of the output | {said['bytes_per_row']} bytes |",
        f"| from the command to the first finished partition | {said['seconds_to_first']:g} s |",
        f"| partitions that the driver hands out | {said['partitions_per_second']:g} a second |",
        "",
        f"So, at {core:.1f} readings a second and core, with machines of {MACHINE} cores:",
        "",
        "| | 1,000,000 radiographs | 100,000,000 radiographs |",
        "| --- | --- | --- |",
    ]
    sizes = (1e6, 1e8)
    rows = {
        "core hours": lambda n: f"{n / core / 3600:,.0f}",
        **{
            f"{count} machine{'s'[: count > 1]}": lambda n, count=count: duration(
                # Whole partitions: the last core to end counts.
                said["seconds_to_first"] + math.ceil(n / EACH / count / MACHINE) * EACH / core
            )
            for count in (1, 10, 100)
        },
        "files to read": lambda n: volume(n * said["bytes_per_file"]),
        "output": lambda n: volume(n * said["bytes_per_row"]),
        "manifest, at 100 bytes a name": lambda n: volume(n * 100),
        f"partitions of {EACH:,}": lambda n: f"{n / EACH:,.0f}",
        "names from an object store": lambda n: duration(n / LISTED * LIST_SECONDS),
    }
    lines += [f"| {name} | {' | '.join(map(tell, sizes))} |" for name, tell in rows.items()]
    flow = core * MACHINE * said["bytes_per_file"] * 8 / 1e6
    memory = MACHINE * said["process_mebibytes"] / 1024
    lines += [
        "",
        f"A machine of {MACHINE} cores reads {core * MACHINE:,.0f} radiographs a second, for which "
        f"{flow:,.0f} Mbit/s come in over the network, and holds {memory:.1f} GiB. The driver "
        f"keeps up with {said['partitions_per_second'] * EACH / core:,.0f} cores at "
        f"{EACH:,} files a partition.",
    ]
    return "\n".join(lines)


def duration(seconds: float) -> str:
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.0f} {unit}"
    return f"{seconds:,.0f} seconds"


def volume(size: float) -> str:
    for unit, length in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if size >= length:
            return f"{size / length:,.1f} {unit}"
    return f"{size:,.0f} bytes"


def fill(document: Path, text: str) -> None:
    """Put the tables between the document's marks."""
    begin, end = "<!-- measured: make by benchmarks/scale.py -->", "<!-- end of measured -->"
    before, _, rest = document.read_text(encoding="utf-8").partition(begin)
    _, _, after = rest.partition(end)
    document.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")


if __name__ == "__main__":
    cyclopts.run(main)
