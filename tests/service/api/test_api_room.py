"""The room itself: its model, storage, health, metrics, description, and reviews as data."""

import csv
import hashlib
import io
import json
import shutil
import tempfile
import threading
import time
import zipfile
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from rooms import named, png, refused, send
from sqlalchemy import update

from kirik.bundle import SUMS, Bundle
from kirik.dataset.index import Index
from kirik.dataset.sources import load_index
from kirik.dataset.sources.coco import read_annotations
from kirik.service import accounts, retention
from kirik.service.export import COCO, HISTORY, ORIGINS, TABLE
from kirik.service.tables import Study, Token, Worker, new_id, now


def zip_of(folder: Path, top: str = "") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, f"{top}{path.relative_to(folder).as_posix()}")
    return file.getvalue()


def put(http: httpx.Client, content: bytes) -> httpx.Response:
    return http.post("/model", files={"file": ("bundle.zip", content)})


def test_the_model_in_use_tells_what_it_is(http):
    said = http.get("/model").json()
    assert (said["name"], said["version"], said["input"]) == ("bright", "1", 64)
    assert (said["points"]["low"], said["points"]["high"]) == (0.3, 0.7)
    assert said["card"].startswith("# A tiny model")
    assert said["evidence"] is True


@pytest.mark.parametrize("top", ["", "bundle/"])
def test_another_bundle_is_checked_and_put_in(room, make_bundle, top):
    other = make_bundle("brighter", version="2")
    http = room.http()
    answer = put(http, zip_of(other.path, top))
    assert answer.status_code == 201, answer.text
    assert (answer.json()["name"], answer.json()["version"]) == ("brighter", "2")
    assert http.get("/model").json()["name"] == "brighter"
    assert "model.changed" in [one["action"] for one in http.get("/trail").json()["entries"]]


def spoiled(bundle: Bundle, how: str) -> bytes:
    """A zip of a bundle in which something is wrong."""
    if how == "a byte":
        graph = bundle.path / "model.onnx"
        content = bytearray(graph.read_bytes())
        content[len(content) // 2] ^= 1
        graph.write_bytes(content)
    elif how == "no sums":
        (bundle.path / SUMS).unlink()
    elif how == "a file less":
        (bundle.path / "model.onnx").unlink()
    content = zip_of(bundle.path)
    if how == "cut":
        return content[: len(content) // 2]
    if how == "a way out":
        file = io.BytesIO(content)
        with zipfile.ZipFile(file, "a") as archive:
            archive.writestr("../../out.txt", "x")
        return file.getvalue()
    return content


@pytest.mark.parametrize("how", ["a byte", "no sums", "a file less", "cut", "a way out"])
def test_a_bundle_with_something_wrong_is_refused_and_the_old_one_stays(room, make_bundle, how):
    http = room.http()
    said = refused(put(http, spoiled(make_bundle("other"), how)), 422, "bundle")
    assert str(room.core.settings.data) not in said["detail"]
    assert http.get("/model").json()["name"] == "bright"
    assert not list(room.core.blobs.incoming.iterdir())
    assert not (room.core.settings.data.parent / "out.txt").exists()


def test_a_graph_that_does_not_run_is_refused(room, make_bundle):
    whole = make_bundle("whole")
    broken = whole.path.with_name("broken")
    shutil.copytree(whole.path, broken)
    (broken / "model.onnx").write_bytes(b"no graph")
    digest = hashlib.sha256(b"no graph").hexdigest()
    sums = (broken / SUMS).read_text().splitlines()
    fixed = [f"{digest}  model.onnx" if line.endswith("model.onnx") else line for line in sums]
    (broken / SUMS).write_text("\n".join(fixed) + "\n")
    refused(put(room.http(), zip_of(broken)), 422, "bundle")


def test_a_bundle_that_takes_anothers_name_is_refused_and_leaves_nothing(room, make_bundle):
    http, models = room.http(), room.core.settings.data / "models"
    bundle = make_bundle("other")
    assert put(http, zip_of(bundle.path)).status_code == 201
    kept = sorted(models.rglob("*"))
    shutil.rmtree(bundle.path)
    another = make_bundle("other", files={"card.md": b"# Another one\n"})
    said = refused(put(http, zip_of(another.path)), 422, "bundle")
    assert said["code"] == "model_version"
    assert sorted(models.rglob("*")) == kept
    assert http.get("/model").json()["card"].startswith("# A tiny model")


def test_what_a_killed_server_leaves_of_a_bundle_is_swept(room, make_bundle, monkeypatch):
    data = room.core.settings.data
    before = {path.name for path in data.iterdir()}
    with monkeypatch.context() as killed:
        folder = tempfile.TemporaryDirectory
        killed.setattr(folder, "cleanup", lambda self: self._finalizer.detach())
        assert put(room.http(), zip_of(make_bundle("brighter").path)).status_code == 201
    assert {path.name for path in data.iterdir()} == before | {"models"}
    assert list(room.core.blobs.incoming.iterdir())
    retention.sweep(room.core, orphan_hours=-1)
    assert not list(room.core.blobs.incoming.iterdir())


def test_what_is_no_zip_is_no_bundle(http):
    refused(put(http, png()), 415, "unsupported")
    refused(put(http, b"nothing"), 415, "not_an_image")
    refused(http.post("/model", json={}), 415, "unsupported")


def test_storage_and_its_time_can_be_seen_and_set(http):
    send(http, png())
    said = http.get("/storage").json()
    assert said["studies"] == 1
    assert said["bytes"] == len(png())
    assert said["free_bytes"] > 0
    assert said["retention_days"] is None
    assert http.put("/storage", json={"retention_days": 30}).json()["retention_days"] == 30
    assert http.put("/storage", json={"retention_days": None}).json()["retention_days"] is None
    refused(http.put("/storage", json={"retention_days": 0}), 422, "invalid")
    refused(http.put("/storage", json={}), 422, "invalid")


def test_health_tells_what_is_broken(room, http):
    said = http.get("/health").json()
    assert said["status"] == "ok"
    assert set(said["parts"]) == {"database", "storage", "workers"}
    assert httpx.get(f"{room.url}/health").json() == said
    assert httpx.head(f"{room.url}/health").status_code == 200


@pytest.mark.parametrize("problem", [None, "no file can be decoded on this machine"])
def test_health_does_not_count_a_worker_that_can_read_nothing(room, http, problem):
    send(http, png(0.9))
    long_ago = now() - timedelta(minutes=5)
    with room.core.database.writing() as session:
        row = {"id": new_id(), "host": "h", "process": 1, "read": 0, "problem": problem}
        session.add(Worker(started_at=long_ago, seen_at=now(), **row))
        session.execute(update(Study).values(received_at=long_ago))
    answer = http.get("/health")
    expected = (503, "none") if problem else (200, "ok")
    assert (answer.status_code, answer.json()["parts"]["workers"]) == expected


def test_metrics_count_what_was_done_and_name_no_study(room):
    http = room.http()
    [study] = room.submit(png(0.9))
    http.get(f"/studies/{study}")
    http.get("/studies", params={"q": "Yilmaz"})
    text = httpx.get(f"{room.url}/metrics").text
    assert 'kirik_studies{state="read"} 1.0' in text
    assert 'kirik_files_total{became="new"} 1.0' in text
    assert "kirik_readings 1.0" in text
    assert 'path="/api/v1/studies/{study}"' in text
    assert study not in text
    assert "Yilmaz" not in text
    assert http.get("/metrics").status_code == 200


def test_the_description_is_openapi_3_1_and_has_every_place(http):
    said = http.get("/openapi.json").json()
    assert said["openapi"].startswith("3.1")
    paths = {path.removeprefix("/api/v1") for path in said["paths"]}
    assert {
        "/studies",
        "/studies/{study}",
        "/studies/{study}/image",
        "/studies/{study}/evidence",
        "/studies/{study}/overlay.png",
        "/studies/{study}/report.pdf",
        "/studies/{study}/original",
        "/studies/{study}/result.json",
        "/studies/{study}/reviews",
        "/reviews.csv",
        "/reviews.zip",
        "/agreement",
        "/events",
        "/me",
        "/session",
        "/users",
        "/users/{name}",
        "/tokens",
        "/tokens/{token}",
        "/model",
        "/trail",
        "/storage",
        "/health",
        "/metrics",
    } == paths
    operations = [one["operationId"] for path in said["paths"].values() for one in path.values()]
    assert len(operations) == len(set(operations))
    errors = said["paths"]["/api/v1/studies"]["post"]["responses"]
    assert "application/problem+json" in errors["422"]["content"]


def test_the_description_tells_who_may_ask_and_what_can_be_wrong_with_what_is_sent(http):
    said = http.get("/openapi.json").json()
    schemes = said["components"]["securitySchemes"]
    assert schemes["bearer"] | {"type": "http", "scheme": "bearer"} == schemes["bearer"]
    assert (schemes["cookie"]["in"], schemes["cookie"]["name"]) == ("cookie", "kirik_session")
    assert said["security"] == [{"bearer": []}, {"cookie": []}, {}]
    operations = {
        (method, path.removeprefix("/api/v1")): operation
        for path, methods in said["paths"].items()
        for method, operation in methods.items()
    }
    to_all = {place for place, one in operations.items() if one.get("security") == []}
    assert to_all == {("get", "/health"), ("post", "/session")}

    def places(code: str) -> set[tuple[str, str]]:
        return {place for place, one in operations.items() if code in one["responses"]}

    uploads = {("post", "/studies"), ("post", "/model")}
    assert places("415") == uploads
    assert places("413") == {place for place, one in operations.items() if "requestBody" in one}
    assert uploads < places("507") == {place for place in operations if place[0] != "get"}
    assert {place for place in operations if place[0] == "get"}.isdisjoint(places("413"))
    problem = operations["post", "/studies"]["responses"]["507"]["content"]
    assert "reason" in problem["application/problem+json"]["schema"]["properties"]


@pytest.fixture
def exported(room, dicom_file, tmp_path) -> Path:
    """The folder of an export: a fracture with a box, one without, one unsure, a DICOM file."""
    films = [named(0.9, "PNG"), named(0.1, "JPEG"), png(0.5, seed=3), dicom_file]
    studies = room.submit(*films)
    http = room.http()
    said = [
        {"agrees": True, "boxes": [{"x": 4, "y": 8, "width": 20.5, "height": 12}]},
        {"agrees": True, "comment": "=HYPERLINK(1)"},
        {"agrees": True, "decision": "unsure"},
        {"agrees": False, "decision": "fracture"},
    ]
    for study, review in zip(studies, said, strict=True):
        answer = http.post(f"/studies/{study}/reviews", json=review)
        assert answer.status_code == 201, answer.text
    answer = http.get("/reviews.zip")
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        archive.extractall(tmp_path / "export")
    return tmp_path / "export"


def test_what_the_export_takes_as_it_is_keeps_its_pixels_and_its_kind(exported):
    for level, kind in ((0.9, "PNG"), (0.1, "JPEG")):
        film = Image.open(io.BytesIO(named(level, kind)))
        found = (Image.open(path) for path in exported.glob("images/*"))
        assert any(one.format == kind and one.tobytes() == film.tobytes() for one in found)


def test_the_export_is_a_data_set_that_kirik_reads(exported):
    index: Index = load_index(exported)
    assert index.kind == "csv"
    assert index.defects == ()
    assert index.classes[1 - index.negative] == "fractured"
    assert index.counts() == {"not_fractured": 1, "fractured": 2}
    boxed = [record for record in index.records if record.boxes]
    assert [record.boxes for record in boxed] == [((4.0, 8.0, 20.5, 12.0),)]
    assert all(record.group for record in index.records)
    assert not any(record.facts for record in index.records)  # which an audit would look into
    assert all(Image.open(record.path).size for record in index.records)
    said = read_annotations(exported / COCO, defects := [])
    assert not defects
    assert said.names == {record.path.name for record in index.records}
    [box] = [shapes.boxes for shapes in said.shapes.values()]
    assert box == [(4.0, 8.0, 20.5, 12.0)]


def test_the_boxes_of_a_very_long_radiograph_fit_the_picture_that_is_exported(room):
    """A TIFF is exported as another file than was handed in."""
    film, file = np.full((16, 2**14 + 100), 40_000, np.uint16), io.BytesIO()
    film[:, ::2] -= 20_000
    Image.fromarray(film).save(file, "TIFF")
    [study] = room.submit(file.getvalue())
    box = {"x": 2**14 + 10, "y": 2, "width": 50, "height": 10}
    said = {"agrees": False, "decision": "fracture", "boxes": [box]}
    http = room.http()
    assert http.post(f"/studies/{study}/reviews", json=said).status_code == 201
    with zipfile.ZipFile(io.BytesIO(http.get("/reviews.zip").content)) as archive:
        [coco] = json.loads(archive.read(COCO))["images"]
        picture = Image.open(io.BytesIO(archive.read(f"images/{coco['file_name']}")))
    assert picture.size == (coco["width"], coco["height"]) == film.shape[::-1]


def test_the_export_holds_no_patient_and_no_formula(exported):
    for path in exported.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert b"Q4711" not in content
            assert "Yılmaz".encode() not in content
            assert b"Yilmaz" not in content
    history = (exported / HISTORY).read_text()
    assert "'=HYPERLINK" in history
    assert history.count("\n") >= 4
    with (exported / ORIGINS).open() as file:
        origins = list(csv.DictReader(file))
    assert [one["agrees"] for one in origins] == ["1", "1", "0"]
    assert {one["image_id"] for one in origins} == {p.name for p in exported.glob("images/*")}
    assert "film.png" not in (exported / TABLE).read_text()


def test_the_table_of_reviews_has_every_one(room):
    [study] = room.submit(png(0.9))
    http = room.http()
    for agrees in (True, True):
        http.post(f"/studies/{study}/reviews", json={"agrees": agrees})
    answer = http.get("/reviews.csv")
    assert answer.headers["content-type"].startswith("text/csv")
    lines = answer.text.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("review,study,frame,model,reading,probability")


def events(answer: httpx.Response):
    """(name, data) of each event of a stream."""
    name = None
    for line in answer.iter_lines():
        if line.startswith("event: "):
            name = line[7:]
        elif line.startswith("data: "):
            yield name, json.loads(line[6:])


def test_a_page_that_listens_hears_of_a_study_as_it_changes(room):
    http = room.http()
    with room.http().stream("GET", "/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        told = events(answer)
        assert next(told)[0] == "counts"
        [study] = room.submit(png(0.9))
        seen, until = [], time.monotonic() + 20
        for name, said in told:
            seen.append((name, said))
            counted = name == "counts" and said["fracture"] == 1
            if counted or time.monotonic() > until:
                break
        states = [said["state"] for name, said in seen if name == "study"]
        assert states[-1] == "read"
        last = [said for name, said in seen if name == "study"][-1]
        assert (last["id"], last["decision"]) == (study, "fracture")
        assert seen[-1][0] == "counts"
        http.delete(f"/studies/{study}")
        assert next(said for name, said in told if name == "gone") == {"id": study}


def test_a_listener_goes_on_where_it_left_off(room):
    room.submit(png(0.9, seed=1))
    with room.http().stream("GET", "/events", headers={"Last-Event-ID": "0"}) as answer:
        assert next(events(answer))[0] == "study"


def test_a_listener_hears_of_nothing_that_it_may_not_see(room):
    own = room.http(room.token("reader", own=True))
    with own.stream("GET", "/events", headers={"Last-Event-ID": "0"}) as answer:
        told = events(answer)
        assert next(told)[0] == "counts"
        room.submit(png(0.9, seed=1), http=room.http(room.token("reader")))
        mine = room.submit(png(0.9, seed=2), http=own)
        said = next(said for name, said in told if name == "study")
        assert said["id"] in mine


@contextmanager
def listening(http):
    """The lines of a stream of events that has begun."""
    with http.stream("GET", "/events") as answer:
        told = answer.iter_lines()
        assert next(told).startswith("retry")
        yield told


def signed_in(room, name: str, password: str):
    http = room.http()
    http.post("/session", json={"name": name, "password": password})
    return http


def test_a_listener_is_let_go_when_its_session_ends(room, monkeypatch):
    monkeypatch.setattr("kirik.service.events._SIGN_OF_LIFE", 0.2)
    name, password = room.account("ayse", "reader")
    http = signed_in(room, name, password)
    with listening(http) as told:
        with room.core.database.writing() as session:
            accounts.add(session, "boss", password, "administrator")
            accounts.change(session, name, enabled=False, by="test")
        list(told)  # ends
    refused(http.get("/me"), 401, "not_signed_in")


def test_too_many_listeners_of_one_name_are_refused(room, monkeypatch):
    monkeypatch.setattr("kirik.service.events._MOST_EACH", 1)
    http = room.http()
    with http.stream("GET", "/events") as answer:
        told = answer.iter_lines()
        assert next(told)
        refused(http.get("/events"), 429, "too_many")


@pytest.fixture
def busy(room):
    """A room into which something is handed all the time."""
    http, over = room.http(room.token("reader")), threading.Event()

    def hand_in() -> None:
        seed = 1000
        while not over.wait(0.2):
            seed += 1
            send(http, png(0.5, seed=seed))

    thread = threading.Thread(target=hand_in)
    thread.start()
    yield room
    over.set()
    thread.join()


def ends(lines) -> bool:
    """Whether a stream ends, however much there is to tell."""
    until = time.monotonic() + 8
    return all(time.monotonic() < until for _ in lines)


def test_a_listener_in_a_busy_room_is_let_go_when_its_session_ends(busy, monkeypatch):
    monkeypatch.setattr("kirik.service.events._SIGN_OF_LIFE", 1.0)
    name, password = busy.account("ayse", "reader")
    with listening(signed_in(busy, name, password)) as told:
        with busy.core.database.writing() as session:
            accounts.change(session, name, enabled=False, by="test")
        assert ends(told)


def test_a_listener_is_let_go_when_its_rights_change(busy, monkeypatch):
    monkeypatch.setattr("kirik.service.events._SIGN_OF_LIFE", 1.0)
    with listening(busy.http(busy.token("reader", "seer", patients=True))) as told:
        with busy.core.database.writing() as session:
            session.execute(update(Token).where(Token.name == "seer").values(patients=False))
        assert ends(told)


def test_who_sees_only_its_own_hears_that_a_study_is_gone(room):
    own = room.http(room.token("reader", own=True))
    boss = room.http(room.token("administrator"))
    with own.stream("GET", "/events") as answer:
        told = events(answer)
        assert next(told)[0] == "counts"
        others = room.submit(png(0.9, seed=1), http=boss)
        [mine] = room.submit(png(0.9, seed=2), http=own)
        assert next(said["id"] for name, said in told if name == "study") == mine
        assert boss.delete(f"/studies/{mine}").status_code == 204
        gone = next(said for name, said in told if name == "gone")
        assert gone == {"id": mine} != {"id": others[0]}
