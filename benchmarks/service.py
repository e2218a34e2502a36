"""Many clients at one reading room: errors, lost studies, the page's time, readings per second.

    python benchmarks/service.py RADIOGRAPHS --model BUNDLE [--clients 50] [--seconds 120]
        [--pause 2] [--out FILE.json]

First the engine alone reads the files. Then `kirik serve` is started on a data folder in which so
many studies wait that the worker is never without work, and the clients, each in turn with itself,
hand files in, every one of them new (a comment is added to a JPEG, a text to a PNG), with a pause
in between. Meanwhile a reader asks for the work list's page and its first 50 studies once a second,
as a browser does. All of it, clients too, runs on this machine's cores. At last every study that
was accepted is looked for, and waited for.

`reading_share` is readings per second while the clients are at it over those of the engine alone,
in the same run. `processor_seconds` says who used the cores meanwhile.
"""

import asyncio
import io
import json
import os
import platform
import socket
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections import Counter
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import cyclopts
import httpx
import numpy as np

from kirik.client import Client
from kirik.files import find_files
from kirik.reading.classifier import load_model
from kirik.reading.cores import usable_cores
from kirik.service.core import open_core
from kirik.service.intake import Upload, take_in
from kirik.service.settings import ServiceSettings

OWN = {"X-Requested-With": "kirik"}


@dataclass
class Load:
    """What was seen while the clients were at it.

    accepted: ids. answers: how often each status, or the name of what went wrong. uploads, pages,
    lists: seconds of each. readings: (moment, how many so far, how many wait). processor: seconds
    of the cores by who used them.
    """

    accepted: set[str] = field(default_factory=set)
    answers: Counter = field(default_factory=Counter)
    uploads: list[float] = field(default_factory=list)
    pages: list[float] = field(default_factory=list)
    lists: list[float] = field(default_factory=list)
    readings: list[tuple[float, int, int]] = field(default_factory=list)
    processor: dict[str, float] = field(default_factory=dict)


def main(
    radiographs: Path,
    *,
    model: Path,
    clients: int = 50,
    seconds: float = 120,
    pause: float = 2.0,
    count: int = 100,
    drain: float = 600,
    remark: str = "",
    out: Path | None = None,
):
    """Measure, print the result as JSON, and write it.

    pause: seconds of a client between two uploads. count: different radiographs. drain: seconds to
    wait at most, afterwards, until all that was accepted is read. remark: what a reader of the
    figures should know of this run.
    """
    found = list(find_files([radiographs], lambda *_: None))
    rng = np.random.default_rng(0)
    files = [found[i] for i in sorted(rng.permutation(len(found))[:count])]
    files = [path for path in files if path.suffix.lower() in (".jpg", ".jpeg", ".png")]
    alone = engine_rate(files, model, max(5.0, min(30.0, seconds / 4)))
    # As many as the engine could read, less half of what the clients may hand in meanwhile.
    backlog = max(0, round(seconds * (alone - clients / max(pause, 0.1) / 2)))
    with tempfile.TemporaryDirectory(prefix="kirik-bench-") as data:
        fill(Path(data), files, backlog)
        with served(data, model) as (url, process):
            load = asyncio.run(loaded(url, files, clients, seconds, pause, process))
            print("the clients are done; the rest is read", file=sys.stderr)
            lost, unread = look_for(url, load.accepted, drain)
    rate = reading_rate(load)
    result = {
        "machine": {"cores": usable_cores(), "processor": processor_name()},
        "model": load_model(model).name,
        "asked": {"clients": clients, "seconds": seconds, "pause": pause}
        | {"files": len(files), "waiting_before": backlog},
        "uploads": len(load.accepted),
        "uploads_per_second": round(len(load.accepted) / seconds, 1),
        "errors": sum(n for name, n in load.answers.items() if name not in ("200", "202")),
        "answers": dict(load.answers),
        "lost": lost,
        "not_read_in_time": unread,
        "upload_seconds": quantiles(load.uploads),
        "page_seconds": quantiles(load.pages),
        "list_seconds": quantiles(load.lists),
        "engine_per_second": round(alone, 1),
        "readings_per_second": None if rate is None else round(rate, 1),
        "reading_share": None if rate is None else round(rate / alone, 3),
        "processor_seconds": {name: round(used, 1) for name, used in load.processor.items()},
    }
    if remark:
        result["remark"] = remark
    print(json.dumps(result, indent=2))
    if out:
        out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def engine_rate(files: list[Path], model: Path, seconds: float) -> float:
    """Readings per second of the engine alone, in a process of its own, warmed up."""
    run = subprocess.run(
        [sys.executable, __file__, "--engine", str(model), str(seconds), *map(str, files)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return float(run.stdout)


def engine(model: str, seconds: float, files: list[str]) -> None:
    """What `engine_rate` starts."""
    classifier = load_model(model)
    list(classifier.read_many(files))  # warms up the disk, too
    start, read = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        read += len(list(classifier.read_many(files)))
    print(read / (time.perf_counter() - start))


def fill(data: Path, files: list[Path], count: int) -> None:
    """Let so many studies wait in a room that is not open yet."""
    contents = [path.read_bytes() for path in files]
    core = open_core(ServiceSettings(data=data, database_url=None, durability="normal"))
    for start in range(0, count, 256):
        numbers = range(start, min(count, start + 256))
        some = [one_of_its_own(contents[n % len(contents)], 2**30 + n) for n in numbers]
        taken = take_in(core, [Upload("film", io.BytesIO(content)) for content in some], "fill")
        assert not taken.refused
    core.close()


@contextmanager
def served(data: str, model: Path):
    """A reading room of its own: its address, and its process's id."""
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    words = ["serve", "--port", str(port), "--data", data, "--model", str(model)]
    process = subprocess.Popen(
        [sys.executable, "-m", "kirik", *words],
        stdout=subprocess.DEVNULL,
        env=os.environ | {"KIRIK_DATABASE_URL": ""},
    )
    url = f"http://127.0.0.1:{port}"
    try:
        with Client(url, patience=60) as room:
            room.me()
        yield url, process.pid
    finally:
        process.terminate()
        process.wait(60)


async def loaded(
    url: str, files: list[Path], clients: int, seconds: float, pause: float, process: int
) -> Load:
    """The clients' time; `process`: the server's id."""
    load, contents = Load(), [path.read_bytes() for path in files]
    limits = httpx.Limits(max_connections=clients + 8)
    async with httpx.AsyncClient(base_url=url, headers=OWN, limits=limits, timeout=60) as http:
        first = one_of_its_own(contents[0], 2**31)
        await upload(http, load, first)
        await warm(http)
        before = processor_of(process)
        end = time.perf_counter() + seconds
        jobs = [
            client(http, load, contents, number, clients, end, pause) for number in range(clients)
        ]
        await asyncio.gather(*jobs, browser(http, load, end))
        load.processor = {k: used - before[k] for k, used in processor_of(process).items()}
    return load


async def warm(http: httpx.AsyncClient) -> None:
    """Wait until the worker has its model and reads."""
    while True:
        counts = (await http.get("/api/v1/studies")).json()["counts"]
        if sum(counts.values()) - counts["waiting"] > 32 or not counts["waiting"]:
            return
        await asyncio.sleep(0.2)


def processor_of(server: int) -> dict[str, float]:
    """Seconds of the cores that each has used: the server, its worker, and the clients."""
    children = Path(f"/proc/{server}/task").glob("*/children")
    below = {int(child) for path in children for child in path.read_text().split()}
    decoders = {
        int(child)
        for worker in below
        for path in Path(f"/proc/{worker}/task").glob("*/children")
        for child in path.read_text().split()
    }
    return {
        "server": used(server),
        "worker": sum(map(used, below)),
        # Those that were replaced meanwhile count, too: the worker has waited for their end.
        "decoders": sum(map(used, decoders)) + sum(map(of_ended_children, below)),
        "clients": used(os.getpid()),
    }


def processor_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def used(process: int) -> float:
    return _seconds(process, 11)


def of_ended_children(process: int) -> float:
    return _seconds(process, 13)


def _seconds(process: int, first: int) -> float:
    """Of two fields of its `stat`, counted from the process's state on: user's and system's."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[first]) + int(fields[first + 1])) / os.sysconf("SC_CLK_TCK")


async def client(http, load: Load, contents, number: int, clients: int, end: float, pause: float):
    """One client: upload, pause, again."""
    await asyncio.sleep(pause * number / clients)
    turn = 0
    while time.perf_counter() < end:
        mine = turn * clients + number
        await upload(http, load, one_of_its_own(contents[mine % len(contents)], mine))
        turn += 1
        await asyncio.sleep(pause)


async def upload(http: httpx.AsyncClient, load: Load, content: bytes) -> None:
    start = time.perf_counter()
    try:
        answer = await http.post("/api/v1/studies", files=[("files", ("film", content))])
    except httpx.TransportError as error:
        load.answers[type(error).__name__] += 1
        return
    load.uploads.append(time.perf_counter() - start)
    load.answers[str(answer.status_code)] += 1
    if answer.is_success:
        load.accepted |= {study["id"] for study in answer.json()["studies"]}


async def browser(http: httpx.AsyncClient, load: Load, end: float) -> None:
    """One who looks at the work list, and the counts of what was read."""
    while time.perf_counter() < end:
        start = time.perf_counter()
        (await http.get("/", headers={"Accept": "text/html"})).raise_for_status()
        load.pages.append(time.perf_counter() - start)
        middle = time.perf_counter()
        answer = await http.get("/api/v1/studies")
        load.lists.append(time.perf_counter() - middle)
        counts = answer.json()["counts"]
        waiting = counts.pop("waiting")
        load.readings.append((time.perf_counter(), sum(counts.values()), waiting))
        await asyncio.sleep(max(0.0, 1 - (time.perf_counter() - start)))


def reading_rate(load: Load) -> float | None:
    """Readings per second of the clients' time; None where for a while nothing waited."""
    if len(load.readings) < 3 or not all(waiting for _, _, waiting in load.readings):
        return None
    (start, before, _), (end, after, _) = load.readings[0], load.readings[-1]
    return (after - before) / (end - start)


def look_for(url: str, accepted: set[str], drain: float) -> tuple[int, int]:
    """Of the accepted studies, how many are not there, and how many are not read in time."""
    until = time.monotonic() + drain
    with Client(url, timeout=120) as room:
        while room.page(limit=1).counts["waiting"] and time.monotonic() < until:
            time.sleep(1)
        states = {study.id: study.state for study in room.studies()}
    there = [states[id_] for id_ in accepted if id_ in states]
    return len(accepted) - len(there), sum(state in ("waiting", "reading") for state in there)


def one_of_its_own(content: bytes, number: int) -> bytes:
    """The same radiograph in bytes of its own."""
    note = str(number).encode()
    if content.startswith(b"\xff\xd8"):
        return content[:2] + b"\xff\xfe" + struct.pack(">H", len(note) + 2) + note + content[2:]
    chunk = b"tEXtnumber\0" + note
    whole = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return content[:33] + whole + content[33:]  # after the header


def quantiles(values: list[float]) -> dict[str, float]:
    """Median, 95th percentile and largest, in seconds."""
    if not values:
        return {}
    middle, most = np.quantile(values, (0.5, 0.95))
    return {"p50": round(middle, 3), "p95": round(most, 3), "max": round(max(values), 3)}


if __name__ == "__main__":
    if sys.argv[1:2] == ["--engine"]:
        engine(sys.argv[2], float(sys.argv[3]), sys.argv[4:])
    else:
        cyclopts.run(main)
