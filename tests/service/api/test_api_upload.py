"""Files handed in by HTTP: what is taken, what is refused and how, and that it holds no memory."""

import io
import socket
import time
import zipfile
from pathlib import Path

import httpx
import pydicom
import pytest
from rooms import png, refused, send


def zipped(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "."), content)
    return file.getvalue()


def test_new_bytes_are_a_new_study_and_the_same_bytes_are_the_same_one(http):
    first, again = send(http, png(seed=1)), send(http, png(seed=1), name="other.png")
    assert (first.status_code, again.status_code) == (202, 200)
    [one], [same] = first.json()["studies"], again.json()["studies"]
    assert one["id"] == same["id"]
    assert one["name"] == same["name"] == "film.png"
    assert (one["state"], one["kind"], one["decision"]) == ("waiting", "png", None)
    assert http.get("/studies").json()["counts"]["waiting"] == 1


def test_of_several_files_the_bad_ones_are_refused_and_the_others_taken(http):
    files = [png(seed=1), b"no image at all", b"", b"%PDF-1.7 " + bytes(600), png(seed=2)]
    answer = send(http, *files)
    assert answer.status_code == 202
    said = answer.json()
    assert len(said["studies"]) == 2
    assert [one["reason"] for one in said["refused"]] == ["not_an_image", "empty", "unsupported"]
    assert "PDF" in said["refused"][2]["error"]


def test_a_zips_radiographs_are_studies_of_one_exam(http):
    answer = send(http, zipped(a__png=png(seed=1), b__png=png(seed=2)), name="exam.zip")
    assert answer.status_code == 202
    studies = answer.json()["studies"]
    assert {one["name"] for one in studies} == {"a.png", "b.png"}
    assert len({one["exam"] for one in studies}) == 1


def test_what_is_of_the_wrong_kind_alone_is_415_and_says_what_to_give(http):
    said = refused(send(http, b"MZ" + bytes(2000), name="setup.exe"), 415, "not_an_image")
    assert "JPEG" in said["detail"]
    assert said["refused"][0]["name"] == "setup.exe"


def test_a_body_that_is_no_multipart_is_415_and_one_without_files_422(http):
    refused(http.post("/studies", json={"files": []}), 415, "unsupported")
    refused(
        http.post("/studies", content=b"", headers={"Content-Type": "image/png"}),
        415,
        "unsupported",
    )
    refused(http.post("/studies", data={"a": "b"}, files={"x": (None, "y")}), 422, "empty")
    bare = {"Content-Type": "multipart/form-data"}
    refused(http.post("/studies", content=b"", headers=bare), 400, "bad_request")


def test_a_body_that_is_broken_off_keeps_nothing(http):
    head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    refused(http.post("/studies", content=head + png(seed=1), headers=kind), 400, "bad_request")
    refused(http.post("/studies", content=b"nonsense", headers=kind), 400, "bad_request")
    assert http.get("/studies").json()["studies"] == []


def test_sizes_and_numbers_are_limited_before_anything_is_parsed(make_room):
    room = make_room(most_file_bytes=4000, most_files=3, most_request_bytes=20_000)
    http = room.http()
    big = png(shape=(200, 200)) + bytes(5000)
    refused(send(http, big), 413, "too_large")
    mixed = send(http, png(seed=1), big)
    assert mixed.status_code == 202
    assert [one["reason"] for one in mixed.json()["refused"]] == ["too_large"]
    refused(send(http, *[png(seed=i) for i in range(4)]), 413, "too_many_files")
    answer = send(http, bytes(2**21))
    refused(answer, 413, "too_large")
    assert "MiB" in answer.json()["detail"]


def test_a_body_without_a_length_is_counted_as_it_comes(make_room):
    room = make_room(most_request_bytes=20_000)

    def endless():
        yield b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
        for _ in range(100):
            yield bytes(2**16)

    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    try:
        answer = room.http().post("/studies", content=endless(), headers=kind)
    except httpx.TransportError:
        return  # the server hung up on what it would not take
    refused(answer, 413, "too_large")


def test_a_disk_without_room_is_507_and_the_server_goes_on(make_room):
    room = make_room(least_free_bytes=2**60)
    http = room.http()
    refused(send(http, png()), 507, "storage_full")
    assert room.http().get("/health").json()["parts"]["storage"] == "full"
    assert http.get("/studies").status_code == 200


@pytest.mark.parametrize("name", ["../../etc/passwd", "C:\\x\\a.png", "a\u202egnp.exe", "x" * 900])
def test_a_files_name_is_never_a_place(http, room, name):
    answer = send(http, png(seed=5), name=name)
    assert answer.status_code == 202
    [study] = answer.json()["studies"]
    assert not set("/\\\n\u202e") & set(study["name"])
    assert len(study["name"]) <= 200
    places = [path for path in room.core.settings.data.rglob("*") if path.is_file()]
    assert not [path for path in places if "passwd" in path.name or "a.png" in path.name]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_nothing_is_left_open_or_on_the_disk_of_what_was_refused(http, room):
    send(http, b"no image" * 100_000)
    before = set(Path("/proc/self/fd").iterdir())
    for _ in range(5):
        send(http, b"no image" * 400_000, png(seed=3)[:60])
    assert len(set(Path("/proc/self/fd").iterdir())) <= len(before) + 2
    left = [path for path in room.core.settings.data.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in left if "sqlite" not in path.name) < 10_000


def test_a_large_upload_is_not_held_in_memory(http, room):
    import resource

    send(http, png(seed=1))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def body():
        yield b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
        yield png(seed=2)
        for _ in range(120):
            yield bytes(2**20)
        yield b"\r\n--x--\r\n"

    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    assert http.post("/studies", content=body(), headers=kind).status_code == 202
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 60 * 1024


def test_one_who_hangs_up_leaves_nothing_and_is_no_error(http, room, caplog):
    head = "POST /api/v1/studies HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Requested-With: kirik\r\n"
    head += "Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 90000\r\n\r\n"
    part = '--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
    place = httpx.URL(room.url)
    with socket.create_connection((place.host, place.port)) as line:
        line.sendall((head + part).encode() + png(seed=1))
        time.sleep(0.3)
    time.sleep(0.3)
    assert http.get("/studies").json()["studies"] == []
    assert not [one for one in caplog.records if one.levelname in ("ERROR", "CRITICAL")]


def test_an_exam_is_the_studys_not_the_zips(room, dicom_file):
    def film(study: str, number: int) -> bytes:
        data = pydicom.dcmread(io.BytesIO(dicom_file))
        data.StudyInstanceUID, data.SOPInstanceUID = study, f"1.2.3.{number}"
        file = io.BytesIO()
        data.save_as(file, enforce_file_format=True)
        return file.getvalue()

    def exams(content: bytes) -> list[str]:
        answer = send(room.http(), content)
        assert answer.status_code == 202, answer.text
        return [study["exam"] for study in answer.json()["studies"]]

    [loose] = exams(film("1.2.3", 1))
    mine, stranger, photo, other = exams(
        zipped(a=film("1.2.3", 2), b=film("1.2.4", 3), c=png(seed=1), d=png(seed=2))
    )
    [later] = exams(zipped(a=film("1.2.3", 4)))
    assert mine == loose == later
    assert photo == other
    assert len({mine, stranger, photo}) == 3
