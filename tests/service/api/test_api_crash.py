"""The whole thing as a user runs it: `kirik serve` in its own processes."""

import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from rooms import OWN, png
from served import Served

from kirik.client import Client, RoomError

needs_proc = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")


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


@needs_proc
def test_told_to_end_with_its_worker_serve_gives_back_what_is_in_hand(served):
    served.start()
    with Client(served.url) as room:
        room.submit_bytes(png(0.9), "first.png")
        room.wait([room.page().studies[0].id], timeout=60)
        for seed in range(60):
            room.submit_bytes(png(0.9, seed=seed), "film.png")
    for process in (served.worker(), served.process.pid):  # as systemd tells all of a service's
        os.kill(process, signal.SIGTERM)
    assert served.process.wait(30) == 0
    with closing(sqlite3.connect(served.data / "kirik.sqlite3")) as database:
        held = "SELECT count(*) FROM studies WHERE state = 'reading' OR attempts > (state = 'read')"
        assert database.execute(held).fetchone() == (0,)
        assert database.execute("SELECT count(*) FROM workers").fetchone() == (0,)


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


@pytest.mark.parametrize("url", ["host=db password=cret", "postgresql://kirik:p@se:cret@db/k"])
def test_a_database_address_that_is_none_is_told_in_one_line_without_its_password(tmp_path, url):
    run = kirik("serve", "--data", str(tmp_path / "d"), KIRIK_DATABASE_URL=url)
    assert (run.returncode, run.stderr.count("\n")) == (2, 1)
    assert not {"se", "cret"} & set(re.findall(r"\w+", run.stderr))


def test_a_client_says_in_one_line_that_there_is_no_room():
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    with (
        Client(f"http://127.0.0.1:{port}", patience=0.1) as room,
        pytest.raises(RoomError, match="cannot be reached") as told,
    ):
        room.me()
    assert (told.value.status, told.value.reason) == (0, "away")
