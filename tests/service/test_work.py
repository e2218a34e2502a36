"""Each study is read once: leases, workers that die, databases that go away."""

import io
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from itertools import islice
from weakref import ref

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import func, select, update

from dicom.helpers import content_of, dicom
from kirik.errors import RadiographError
from kirik.reading.classifier import Classifier, load_model
from kirik.service import audit_trail, intake, work
from kirik.service import worker as worker_module
from kirik.service.engine import now_of
from kirik.service.films import Films
from kirik.service.refusals import Unavailable
from kirik.service.results import Result, as_reading
from kirik.service.tables import Entry, Reading, Study
from kirik.service.tables import Worker as WorkerRow
from kirik.service.worker import Worker
from service.helpers import hand_in, png, read_all, statements_of, upload

FAILED = [Result(1, RadiographError("broken", reason="damaged"))]


def study(core, study_id: str) -> Study:
    with core.database.reading() as session:
        return session.get(Study, study_id)


def run_out(core, *ids: str) -> None:
    """As if the worker of these studies had been killed a while ago."""
    with core.database.writing() as session:
        past = now_of(session) - timedelta(seconds=1)
        chosen = Study.id.in_(ids) if ids else Study.lease.is_not(None)
        session.execute(update(Study).where(chosen).values(lease_until=past))


def test_a_reading_is_kept_as_predict_gives_it(core):
    contents = [png(0.8), png(0.5, shape=(64, 128))]
    ids = hand_in(core, *contents)
    assert read_all(core) == 2
    classifier = load_model(core.settings.model, decoders=core.decoders)
    for study_id, shape in zip(ids, [(96, 96), (64, 128)], strict=True):
        found = study(core, study_id)
        expected = classifier.read(core.blobs.path(found.blob))
        with core.database.reading() as session:
            [row] = session.scalars(select(Reading).where(Reading.study_id == study_id))
            kept = as_reading(row, expected.path)
        assert (found.state, found.decision) == ("read", expected.decision)
        assert found.probability == expected.probability == kept.probability
        assert kept.findings == expected.findings
        assert kept.peak == expected.peak
        assert (kept.points.low, kept.points.high) == (0.3, 0.7)
        assert abs(kept.evidence - expected.evidence).max() <= 0.5 / 255 + 1e-6
        assert (row.height, row.width, row.orientation, row.frame) == (*shape, 1, 1)


def test_a_file_that_cannot_be_read_fails_with_its_reason_and_without_its_place(core):
    [bad, good] = hand_in(core, png(0.5)[:-20], png(0.9))
    read_all(core)
    assert study(core, good).state == "read"
    found = study(core, bad)
    assert (found.state, found.reason, found.decision) == ("failed", "truncated", None)
    assert str(core.settings.data) not in found.error


def film_of(levels: Sequence[float]) -> bytes:
    """A DICOM file with a frame of each level."""
    frames = np.stack([np.asarray(Image.open(io.BytesIO(png(level)))) for level in levels])
    return content_of(dicom(frames[0], 8, NumberOfFrames=len(levels), PixelData=frames.tobytes()))


def test_of_files_of_many_frames_few_wait_and_all_are_read(sqlite_core, monkeypatch):
    """However many a file has, and however many such files come, they must not fill the memory."""
    core = sqlite_core
    many = film_of(np.linspace(0.2, 0.9, 150))
    some = [film_of(np.linspace(0.3, 0.8 + n / 1000, 16)) for n in range(20)]
    ids = hand_in(core, png(0.9), many, png(0.5), *some)
    judge, frames, made, held = Classifier.judge, Classifier.frames, [], []

    def noted(self, source):
        for one in frames(self, source):
            made.append(ref(one))
            yield one

    def counted(self, prepared):
        held.append(sum(one() is not None for one in list(made)))
        return judge(self, prepared)

    with monkeypatch.context() as patch:
        patch.setattr(Classifier, "frames", noted)
        patch.setattr(Classifier, "judge", counted)
        assert read_all(core) == len(ids)
    assert 0 < max(held) < 200  # of 472
    for study_id in (ids[1], ids[-1]):
        with core.database.reading() as session:
            rows = session.execute(
                select(Reading.frame, Reading.probability)
                .where(Reading.study_id == study_id)
                .order_by(Reading.number)
            ).all()
        whole = core.blobs.path(study(core, study_id).blob)
        expected = load_model(core.settings.model, decoders=core.decoders).read_many([whole])
        assert [tuple(row) for row in rows] == [(one.frame, one.probability) for one in expected]
        assert len(rows) in (150, 16)


@pytest.mark.parametrize("how", ["frames", "judge"])
def test_a_worker_that_is_stopped_amid_many_frames_gives_the_study_back(core, monkeypatch, how):
    """Alone, or with its decoders."""
    [long] = hand_in(core, film_of(np.linspace(0.2, 0.9, 150)))
    stop, whole = threading.Event(), getattr(Classifier, how)

    def frames(self, source):
        yield from islice(whole(self, source), 20)
        stop.set()
        raise RadiographError("the decoder broke down on it", reason="crashed")

    def judge(self, prepared):
        stop.set()
        return whole(self, prepared)

    with monkeypatch.context() as patch:
        patch.setattr(Classifier, how, {"frames": frames, "judge": judge}[how])
        assert Worker(core).run(stop) == 0
    assert (study(core, long).state, study(core, long).attempts) == ("waiting", 0)
    run_out(core, long)
    assert read_all(core) == 1
    assert (study(core, long).state, study(core, long).frames) == ("read", 150)


def test_claims_of_several_workers_never_meet(core):
    ids = hand_in(core, *(png(0.5, tag) for tag in range(30)))
    with ThreadPoolExecutor(6) as pool:
        claims = list(pool.map(lambda _: work.claim(core, 7), range(6)))
    taken = [one.study_id for some in claims for one in some]
    assert len(taken) == len(set(taken))
    taken += [one.study_id for one in work.claim(core, 100)]
    assert sorted(taken) == sorted(ids)


def test_a_study_is_taken_up_again_only_when_its_lease_has_run_out(core):
    [study_id] = hand_in(core, png(0.5))
    [first] = work.claim(core, 5)
    assert work.claim(core, 5) == []
    run_out(core)
    assert work.heartbeat(core, [first.lease]) == 1
    assert work.claim(core, 5) == []
    run_out(core)
    [second] = work.claim(core, 5)
    assert second.study_id == study_id
    assert second.lease != first.lease


def test_who_lost_the_lease_keeps_nothing(core):
    [study_id] = hand_in(core, png(0.5))
    [slow] = work.claim(core, 5)
    run_out(core)
    [quick] = work.claim(core, 5)
    assert work.finish(core, [(slow, FAILED)], "slow") == set()
    assert work.heartbeat(core, [slow.lease]) == 0
    assert study(core, study_id).state == "reading"
    assert work.finish(core, [(quick, FAILED)], "quick") == {study_id}
    assert work.finish(core, [(quick, FAILED)], "quick") == set()
    assert study(core, study_id).model == "quick"


def test_what_kills_its_worker_is_read_by_itself_and_given_up_at_last(core):
    ids = hand_in(core, *(png(0.5, tag) for tag in range(3)))
    for _ in range(work.ALONE_AFTER):
        assert len(work.claim(core, 5)) == 3
        run_out(core)
    for _ in range(work.ALONE_AFTER, work.GIVE_UP_AFTER):
        assert [one.study_id for one in work.claim(core, 5)] == [ids[0]]
        run_out(core, ids[0])
    assert [one.study_id for one in work.claim(core, 5)] == [ids[1]]
    assert (study(core, ids[0]).state, study(core, ids[0]).reason) == ("failed", "gave_up")


def test_what_was_begun_is_given_back_when_a_worker_is_stopped(core):
    ids = hand_in(core, *(png(0.5, tag) for tag in range(5)))
    claims = work.claim(core, 5)
    work.release(core, claims)
    assert [one.study_id for one in work.claim(core, 5)] == ids
    assert study(core, ids[0]).attempts == 1


def test_a_file_whose_folder_is_away_is_read_later(core):
    [study_id] = hand_in(core, png(0.8))
    path = core.blobs.path(study(core, study_id).blob)
    aside = path.with_suffix(".aside")
    path.rename(aside)
    read_all(core)
    assert study(core, study_id).state == "waiting"
    aside.rename(path)
    run_out(core, study_id)
    read_all(core)
    assert study(core, study_id).decision == "fracture"


def test_where_no_file_can_be_decoded_studies_wait_until_one_can(sqlite_core, monkeypatch, caplog):
    core = sqlite_core
    ids = hand_in(core, *(png(0.8, tag) for tag in range(40)))
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", "/bin/false")
        read_all(core)
        with pytest.raises(Unavailable, match="no file can be decoded"):
            Films(core).film(study(core, ids[0]), 1)
        # Not as if the file were at fault, so that it is handed in again.
        with pytest.raises(Unavailable, match="no file can be decoded"):
            hand_in(core, content_of(dicom(np.zeros((64, 64), np.uint16))))
    assert {(study(core, one).state, study(core, one).attempts) for one in ids} == {("waiting", 0)}
    assert caplog.text.count("no file can be decoded on this machine") == 1
    run_out(core, *ids)
    read_all(core)
    assert {study(core, one).decision for one in ids} == {"fracture"}


def test_reading_again_by_the_same_model_makes_no_second_reading(core):
    [good, bad] = hand_in(core, png(0.8), png(0.5)[:-20])
    read_all(core)
    with core.database.writing() as session:
        for one in (good, bad):
            work.read_again(session, one, by="boss")
    assert study(core, good).state == "waiting"
    read_all(core)
    assert rows_of(core) == {good: 1, bad: 1}
    assert study(core, good).decision == "fracture"


def test_another_model_that_is_put_in_reads_what_comes_then(core, make_bundle):
    from kirik.service import models_in_use

    [first] = hand_in(core, png(0.8))
    read_all(core)
    other = make_bundle("other")
    models_in_use.put_in(core, other.path, by="boss")
    [second] = hand_in(core, png(0.8, 1))
    read_all(core)
    assert (study(core, first).model, study(core, second).model) == ("bright", "other")


def rows_of(core) -> Counter:
    with core.database.reading() as session:
        return Counter(session.scalars(select(Reading.study_id)))


def lines_of(core) -> Counter:
    """How often each study was read, by the audit trail."""
    with core.database.reading() as session:
        return Counter(session.scalars(select(Entry.subject).where(Entry.action == "study.read")))


_WORKER = """
import sys
from kirik.service.settings import ServiceSettings
from kirik.service.worker import run_worker
run_worker(ServiceSettings.model_validate_json(sys.stdin.read()))
"""


class Process:
    """A worker's process, which can be killed."""

    def __init__(self, core):
        self._started = subprocess.Popen(
            [sys.executable, "-c", _WORKER], stdin=subprocess.PIPE, text=True
        )
        given = core.settings.model_dump(mode="json")
        self._started.stdin.write(json.dumps(given))
        self._started.stdin.close()

    def kill(self) -> None:
        self._started.send_signal(signal.SIGKILL)
        self._started.wait()


def left(core) -> int:
    with core.database.reading() as session:
        waits = select(func.count()).where(Study.state.in_(("waiting", "reading")))
        return session.scalar(waits)


@pytest.mark.slow
def test_workers_that_are_killed_at_random_leave_each_study_read_exactly_once(
    core, monkeypatch, tmp_path
):
    quick = core.settings.model_copy(update={"lease_seconds": 1.0})
    core = replace(core, settings=quick)
    chance, workers, ids = random.Random(5), 1 if core.database.kind == "sqlite" else 2, []
    running = [Process(core) for _ in range(workers)]
    kills, begun = 0, time.monotonic()
    try:
        while (more := len(ids) < 150 or kills < 6) or left(core):
            assert time.monotonic() - begun < 120, f"{left(core)} of {len(ids)} are left"
            if more:
                tags = range(len(ids), len(ids) + 10)
                ids += hand_in(core, *(png(0.2 + tag % 7 / 10, tag) for tag in tags))
            time.sleep(chance.uniform(0.2, 0.5))
            if kills < 6 and rows_of(core) and chance.random() < 0.4:
                victim = chance.randrange(workers)
                running[victim].kill()
                running[victim] = Process(core)
                kills += 1
    finally:
        for one in running:
            one.kill()
    assert kills == 6
    assert rows_of(core) == lines_of(core) == Counter(ids)
    with core.database.reading() as session:
        assert audit_trail.verify(session).ok


def test_a_worker_that_is_asked_to_stop_gives_its_studies_back_and_signs_off(core):
    arguments = ["worker", "--data", core.settings.data, "--model", core.settings.model]
    environment = os.environ | {"KIRIK_DATABASE_URL": core.settings.database_url or ""}
    process = subprocess.Popen(
        [sys.executable, "-m", "kirik", *map(str, arguments)],
        env=environment,
        stdout=subprocess.PIPE,
    )
    try:
        deadline = time.monotonic() + 30
        while not signs(core) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert signs(core) == 1
        hand_in(core, *(png(0.5, tag) for tag in range(60)))
        time.sleep(0.2)
    finally:
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert said == f"{len(rows_of(core))} studies read\n".encode()
    assert signs(core) == 0
    with core.database.reading() as session:
        assert session.scalar(select(func.count()).where(Study.state == "reading")) == 0


def signs(core) -> int:
    with core.database.reading() as session:
        return session.scalar(select(func.count()).select_from(WorkerRow))


def test_a_database_that_stops_in_between_loses_nothing(cluster, tmp_path, make_bundle):
    from kirik.service.core import open_core
    from kirik.service.settings import ServiceSettings

    settings = ServiceSettings(
        data=tmp_path / "data",
        database_url=cluster.new_database(),
        model=make_bundle().path,
        least_free_bytes=0,
        threads=1,
    )
    core = open_core(settings)
    ids = hand_in(core, *(png(0.5, tag) for tag in range(40)))
    stop, worker = threading.Event(), Worker(core)
    thread = threading.Thread(target=worker.run, args=(stop,))
    thread.start()
    try:
        while not rows_of(core):
            time.sleep(0.02)
        cluster.stop()
        with pytest.raises(Unavailable):
            intake.take_in(core, [upload("a.png", png(0.9))], "ct")
        assert list((settings.data / "incoming").iterdir()) == []
        time.sleep(0.5)
        cluster.start()
        ids += hand_in(core, png(0.9))
        deadline = time.monotonic() + 60
        while left(core) and time.monotonic() < deadline:
            time.sleep(0.1)
    finally:
        stop.set()
        thread.join(30)
        if not (cluster.data / "postmaster.pid").exists():
            cluster.start()
    assert rows_of(core) == lines_of(core) == Counter(ids)
    core.close()


def test_the_numbers_of_changes_come_in_the_order_of_commits(core):
    """One that was seen is never followed by a lower one: who polls misses nothing."""
    from kirik.service.worklist import changes_after

    seen, over, missed = [], threading.Event(), []

    def look():
        while not over.is_set():
            with core.database.reading() as session:
                last = seen[-1] if seen else 0
                fresh = [number for number, _ in changes_after(session, last)]
            seen.extend(fresh)
            time.sleep(0.001)  # or it leaves the others little time to change anything

    watcher = threading.Thread(target=look)
    watcher.start()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda tag: hand_in(core, png(0.5, tag), png(0.6, tag)), range(25)))
    time.sleep(0.3)
    over.set()
    watcher.join()
    assert seen == list(range(1, 51)), missed


def test_many_studies_are_claimed_and_finished_in_as_many_statements_as_few(sqlite_core):
    counts = []
    for many in (2, 16):
        hand_in(sqlite_core, *(png(0.4, 100 * many + tag) for tag in range(many)))
        with statements_of(sqlite_core) as asked:
            done = [(claim, FAILED) for claim in work.claim(sqlite_core, many)]
            assert len(work.finish(sqlite_core, done, "model")) == many
        counts.append(len(asked))
    assert counts[0] == counts[1] <= 16


def test_no_more_batches_compute_at_a_time_than_there_are_lanes(sqlite_core, monkeypatch):
    at_once, most, lock = [0], [0], threading.Lock()
    worker = Worker(sqlite_core)  # of one thread, and so of one lane
    judged = worker_module._judged

    def watched(*asked):
        with lock:
            at_once[0] += 1
            most[0] = max(most[0], at_once[0])
        time.sleep(0.05)
        try:
            return judged(*asked)
        finally:
            with lock:
                at_once[0] -= 1

    monkeypatch.setattr(worker_module, "_judged", watched)
    ids = hand_in(sqlite_core, *(png(0.4, tag) for tag in range(64)))
    assert worker.run(threading.Event(), until_idle=True) == len(ids)
    assert most == [1]
