"""Nothing is lost: uploads while all that can fail does, again and again, at random moments.

`KIRIK_CRASH_UPLOADS=500` makes it long.
"""

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import httpx
import pytest
from rooms import OWN, png
from served import Served
from sqlalchemy import func, select

from kirik.client import Client
from kirik.service.engine import Database
from kirik.service.settings import ServiceSettings
from kirik.service.tables import Reading
from service.helpers import disk_of

ASKED = int(os.environ.get("KIRIK_CRASH_UPLOADS", "0"))
pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc"),
    pytest.mark.slow,
    pytest.mark.timeout(max(600, 3 * ASKED)),
]


class Chaos:
    """Lets things fail, one after the other, until it is told that it is over."""

    def __init__(self, served: Served):
        self.served, self.luck, self.over = served, random.Random(5), threading.Event()
        self.ways = [self.kill_the_server, self.kill_the_worker]
        self.done: dict[str, int] = {}

    def run(self) -> None:
        # Each way in turn, in an order that is another each time.
        while not self.over.is_set() or len(self.done) < len(self.ways):
            for way in self.luck.sample(self.ways, len(self.ways)):
                self.over.wait(self.luck.uniform(0.3, 1.5))
                way()
                self.done[way.__name__] = self.done.get(way.__name__, 0) + 1

    def kill_the_server(self) -> None:
        self.served.kill()
        self.served.start()

    def kill_the_worker(self) -> None:
        worker = self.served.worker()
        if worker is None:  # it has not been started again yet
            return self.kill_the_server()
        os.kill(worker, signal.SIGKILL)

    def wait(self) -> None:
        """While something is away; a worker may be killed then, too."""
        time.sleep(self.luck.uniform(0.3, 1.0))
        if self.luck.random() < 0.5 and (worker := self.served.worker()):
            os.kill(worker, signal.SIGKILL)
            time.sleep(self.luck.uniform(0.3, 1.0))


def hand_in(served: Served, number: int, luck: random.Random) -> tuple[str, str]:
    """Hand a film in until it is accepted: the study's id, and the SHA-256 of its bytes."""
    content = png(0.2 + 0.6 * (number % 7) / 7, seed=number)
    time.sleep(luck.uniform(0.1, 0.5))
    until = time.monotonic() + 120
    while time.monotonic() < until:
        try:
            files = [("files", (f"{number}.png", content))]
            url = f"{served.url}/api/v1/studies"
            answer = httpx.post(url, files=files, headers=OWN, timeout=20)
        except httpx.TransportError:
            time.sleep(0.1)
            continue
        if answer.status_code in (200, 202):
            [study] = answer.json()["studies"]
            return study["id"], hashlib.sha256(content).hexdigest()
        assert answer.status_code in (429, 503, 507), answer.text
        time.sleep(0.1)
    raise AssertionError("an upload was never taken")


def hand_in_all(served: Served, chaos: Chaos, count: int) -> dict[str, str]:
    """Four clients' uploads in the midst of it: SHA-256 by id of all that was accepted."""
    luck, count = random.Random(7), ASKED or count
    served.start()
    with ThreadPoolExecutor(5) as pool:
        failing = pool.submit(chaos.run)
        try:
            uploads = [pool.submit(hand_in, served, n, luck) for n in range(count)]
            accepted = dict(one.result() for one in uploads)
        finally:
            chaos.over.set()
        failing.result()
    assert len(accepted) == count
    assert set(chaos.done) == {way.__name__ for way in chaos.ways}
    assert sum(chaos.done.values()) >= count // 10
    return accepted


def check_all(served: Served, accepted: dict[str, str]) -> None:
    """Each accepted study is there, whole, and read once; the trail is unbroken."""
    with Client(served.url) as room:
        read = {study.id: study for study in room.wait(accepted, timeout=120)}
    assert {study.state for study in read.values()} == {"read"}
    assert {study.id: study.sha256 for study in read.values()} == accepted
    assert all(len(study.readings) == 1 for study in read.values())
    served.stop()
    settings = ServiceSettings(data=served.data, database_url=served.database_url or None)
    with closing(Database(settings.url)) as database, database.reading() as session:
        counts = select(func.count(), func.count(Reading.study_id.distinct()))
        assert session.execute(counts.select_from(Reading)).one() == (len(accepted),) * 2
        if database.kind == "sqlite":
            check = session.connection().exec_driver_sql("PRAGMA integrity_check")
            assert check.scalar() == "ok"
    verified = subprocess.run(
        [sys.executable, "-m", "kirik", "audit", "verify", "--data", str(served.data)],
        env=os.environ | {"KIRIK_DATABASE_URL": served.database_url},
        capture_output=True,
        text=True,
    )
    assert verified.returncode == 0, verified.stdout + verified.stderr


def test_every_accepted_study_is_read_once_however_often_all_is_killed(served):
    check_all(served, hand_in_all(served, Chaos(served), 40))


def test_every_accepted_study_is_read_once_although_postgresql_stops_in_between(served, cluster):
    served.database_url = cluster.new_database()
    chaos = Chaos(served)

    def stop_the_database() -> None:
        cluster.stop(chaos.luck.choice(["immediate", "fast"]))
        chaos.wait()
        cluster.start()

    chaos.ways.append(stop_the_database)
    check_all(served, hand_in_all(served, chaos, 30))


@pytest.fixture
def disk(tmp_path) -> Path:
    """A disk of 400 MiB, of which nothing is taken in any more when 256 MiB are left."""
    with disk_of(tmp_path / "disk", 400) as place:
        yield place


def test_every_accepted_study_is_read_once_although_the_disk_fills_up_in_between(served, disk):
    served.data = disk / "data"
    chaos, other = Chaos(served), disk / "somebody-elses"

    def fill_the_disk(leave: int = 0) -> None:
        with other.open("wb") as file, suppress(OSError):  # somebody else may be quicker
            os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(disk).free - leave)
        chaos.wait()
        other.unlink()

    def fill_the_disk_nearly() -> None:
        fill_the_disk(2**20)

    chaos.ways += [fill_the_disk, fill_the_disk_nearly]
    check_all(served, hand_in_all(served, chaos, 30))
