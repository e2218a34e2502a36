"""The whole thing as a user runs it: `kirik serve` in its own processes, killed at any moment."""

import hashlib
import os
import random
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from rooms import OWN, png

from kirik.client import Client, RoomError

UPLOADS = int(os.environ.get("KIRIK_CRASH_UPLOADS", "100"))


class Served:
    """`kirik serve` in processes of its own."""

    def __init__(self, data: Path, model: Path, *more: str):
        with closing(socket.create_server(("127.0.0.1", 0))) as free:
            self.port = free.getsockname()[1]
        self.data, self.model, self.more = data, model, more
        self.process: subprocess.Popen | None = None
        self.said, self.scheme = "", "http"

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def start(self) -> None:
        words = ["serve", "--port", str(self.port), "--data", str(self.data), "--threads", "1"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "kirik", *words, "--model", str(self.model), *self.more],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | {"KIRIK_DATABASE_URL": ""},
        )
        self.said = self.process.stdout.readline()
        until = time.monotonic() + 30
        while time.monotonic() < until:
            try:
                httpx.get(f"{self.url}/health", verify=False)
                return
            except httpx.TransportError:
                time.sleep(0.05)
        raise AssertionError("kirik serve does not answer")

    def worker(self) -> int | None:
        """The worker's process id."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        for path in children.parent.parent.glob("*/children"):
            for child in path.read_text().split():
                command = Path(f"/proc/{child}/cmdline").read_bytes()
                if b"companion" in command:
                    return int(child)
        return None

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(30)


@pytest.fixture
def served(make_bundle, tmp_path):
    one = Served(tmp_path / "data", make_bundle().path)
    yield one
    if one.process and one.process.poll() is None:
        one.kill()


needs_proc = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")


@needs_proc
@pytest.mark.slow
def test_every_accepted_study_is_read_once_however_often_all_is_killed(served):
    """A hundred uploads by four clients, while server and worker are killed again and again."""
    served.start()
    accepted: dict[str, str] = {}
    luck, done = random.Random(5), threading.Event()

    def upload(number: int) -> None:
        content = png(0.2 + 0.6 * (number % 7) / 7, seed=number)
        time.sleep(luck.uniform(0.1, 0.5))
        until = time.monotonic() + 120
        while time.monotonic() < until:
            try:
                answer = httpx.post(
                    f"{served.url}/api/v1/studies",
                    files=[("files", (f"{number}.png", content))],
                    headers=OWN,
                    timeout=20,
                )
            except httpx.TransportError:
                time.sleep(0.1)
                continue
            if answer.status_code in (200, 202):
                [study] = answer.json()["studies"]
                accepted[study["id"]] = hashlib.sha256(content).hexdigest()
                return
            assert answer.status_code in (429, 503), answer.text
            time.sleep(0.1)
        raise AssertionError("an upload was never taken")

    def murder() -> int:
        kills = 0
        while not done.wait(luck.uniform(0.3, 1.5)):
            if luck.random() < 0.5 and (worker := served.worker()):
                os.kill(worker, signal.SIGKILL)
            else:
                served.kill()
                served.start()
            kills += 1
        return kills

    with ThreadPoolExecutor(5) as pool:
        murders = pool.submit(murder)
        uploads = [pool.submit(upload, number) for number in range(UPLOADS)]
        try:
            for one in uploads:
                one.result()
        finally:
            done.set()
        assert murders.result() >= UPLOADS // 20
    assert len(accepted) == UPLOADS
    with Client(served.url) as room:
        read = {study.id: study for study in room.wait(accepted, timeout=90)}
    assert {study.state for study in read.values()} == {"read"}
    assert {study.id: study.sha256 for study in read.values()} == accepted
    assert all(len(study.readings) == 1 for study in read.values())
    served.stop()
    with closing(sqlite3.connect(served.data / "kirik.sqlite3")) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        counts = "SELECT count(*), count(DISTINCT study_id) FROM readings"
        assert database.execute(counts).fetchone() == (UPLOADS, UPLOADS)
    verified = subprocess.run(
        [sys.executable, "-m", "kirik", "audit", "verify", "--data", str(served.data)],
        capture_output=True,
        text=True,
    )
    assert verified.returncode == 0, verified.stdout + verified.stderr


@needs_proc
def test_serve_says_where_the_page_is_reads_and_ends_with_its_worker(served):
    served.start()
    assert re.search(rf"http://127\.0\.0\.1:{served.port}/", served.said)
    with Client(served.url) as room:
        assert room.me().local
        taken = room.submit_bytes(png(0.9), "film.png")
        [study] = room.wait([taken.studies[0].id], timeout=60)
        assert study.decision == "fracture"
        worker = served.worker()
        stream = room.events()
        assert next(stream).name in ("counts", "study")
        assert served.stop() in (0, 130)
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)


def test_serve_takes_in_what_appears_in_a_watched_folder(make_bundle, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    served = Served(tmp_path / "data", make_bundle().path, "--watch", str(folder), "--deidentify")
    served.start()
    try:
        (folder / "Yilmaz.png").write_bytes(png(0.9))
        with Client(served.url) as room:
            until = time.monotonic() + 30
            while not (found := room.page().studies) and time.monotonic() < until:
                time.sleep(0.1)
            [study] = room.wait([found[0].id], timeout=60)
        assert study.decision == "fracture"
        assert "Yilmaz" not in study.name
    finally:
        served.stop()


@needs_proc
def test_the_worker_ends_with_a_server_that_was_killed(served):
    served.start()
    until = time.monotonic() + 20
    while (worker := served.worker()) is None and time.monotonic() < until:
        time.sleep(0.05)
    served.kill()
    while time.monotonic() < until:
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            return
        if Path(f"/proc/{worker}/stat").read_text().split()[2] == "Z":
            return
        time.sleep(0.1)
    raise AssertionError("the worker goes on without its server")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_with_a_certificate_all_goes_by_https_and_cookies_are_secure(served, tmp_path):
    pem, key = tmp_path / "a.pem", tmp_path / "a.key"
    asked = [
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "1",
        "-subj",
        "/CN=localhost",
    ]
    files = ["-keyout", str(key), "-out", str(pem)]
    subprocess.run(["openssl", *asked, *files], check=True, capture_output=True)
    account = ["users", "add", "boss", "--role", "administrator", "--data", str(served.data)]
    added = subprocess.run(
        [sys.executable, "-m", "kirik", *account],
        input="bone on dark ground 7\n",
        text=True,
        capture_output=True,
        env=os.environ | {"KIRIK_DATABASE_URL": ""},
    )
    assert added.returncode == 0, added.stderr
    served.scheme = "https"
    served.more = ("--host", "0.0.0.0", "--certificate", str(pem), "--key", str(key))
    served.start()
    assert served.said.startswith("The reading room is open: https://0.0.0.0:")
    with httpx.Client(base_url=f"{served.url}/api/v1", verify=False, headers=OWN) as http:
        assert http.get("/me").status_code == 401
        said = {"name": "boss", "password": "bone on dark ground 7"}
        answer = http.post("/session", json=said)
        assert answer.status_code == 201
        assert all("Secure" in line for line in answer.headers.get_list("set-cookie"))
        assert "max-age" in answer.headers["strict-transport-security"]
        assert http.get("/me").json()["name"] == "boss"


def kirik(*words: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "kirik", *words],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"KIRIK_DATABASE_URL": ""} | environment,
    )


def test_serve_refuses_to_be_reached_by_others_before_there_is_an_account(tmp_path):
    run = kirik("serve", "--host", "0.0.0.0", "--port", "0", "--data", str(tmp_path / "d"))
    assert run.returncode == 2
    assert "kirik users add" in run.stderr
    assert run.stderr.count("\n") == 1


def test_serve_says_in_one_line_what_is_wrong(served, tmp_path):
    place = ("--data", str(tmp_path / "d"), "--model", str(served.model))
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        run = kirik("serve", "--port", str(taken.getsockname()[1]), *place)
    assert (run.returncode, run.stderr.count("\n")) == (2, 1)
    assert "another --port" in run.stderr
    run = kirik("serve", "--certificate", "a.pem", *place)
    assert "--key" in run.stderr
    run = kirik("serve", "--port", "70000", *place)
    assert (run.returncode, run.stderr.count("\n")) == (2, 1)
    run = kirik("serve", "--data", str(tmp_path / "d"), "--model", str(tmp_path / "none"))
    assert (run.returncode, run.stderr.count("\n")) == (2, 1)


def test_a_client_says_in_one_line_that_there_is_no_room():
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    with (
        Client(f"http://127.0.0.1:{port}", patience=0.1) as room,
        pytest.raises(RoomError, match="cannot be reached") as told,
    ):
        room.me()
    assert (told.value.status, told.value.reason) == (0, "away")
