"""The Python client against a running room."""

import io
import os
import zipfile

import httpx
import pytest
from PIL import Image
from rooms import png

from kirik.client import Box, Client, RoomError
from kirik.dataset.sources import load_index


@pytest.fixture
def films(tmp_path):
    """Three files, of rising probability."""
    paths = []
    for i, level in enumerate((0.1, 0.5, 0.9)):
        paths.append(tmp_path / f"{i}.png")
        paths[-1].write_bytes(png(level, seed=i))
    return paths


def test_the_way_of_a_study_by_the_client(room, films, tmp_path):
    client = room.client()
    taken = client.submit(films)
    assert [study.name for study in taken.studies] == ["0.png", "1.png", "2.png"]
    room.read()
    found = list(client.wait([study.id for study in taken.studies], timeout=5))
    assert [study.decision for study in found] == ["no_fracture", "uncertain", "fracture"]
    most_urgent = next(client.studies())
    id_ = most_urgent.id
    assert most_urgent.decision == "fracture"
    assert [study.id for study in client.studies(decision="fracture")] == [id_]
    review = client.review(id_, agrees=True, boxes=[Box(x=1, y=2, width=30, height=40)])
    assert (review.decision, review.boxes[0].height) == ("fracture", 40)
    assert client.study(id_).reviewed == "agreed"
    assert Image.open(io.BytesIO(client.image(id_, size=64))).size == (64, 64)
    assert Image.open(io.BytesIO(client.evidence(id_))).mode == "RGBA"
    assert client.overlay(id_, language="tr").startswith(b"\x89PNG")
    assert client.report(id_, language="tr").startswith(b"%PDF")
    assert client.records(id_)[0]["decision"] == "fracture"
    assert client.original(id_) == films[2].read_bytes()
    assert client.agreement().totals.agreed == 1
    assert client.model().name == "bright"
    client.review(taken.studies[0].id, agrees=True)
    data = client.training_data(tmp_path / "reviews.zip")
    with zipfile.ZipFile(data) as archive:
        archive.extractall(tmp_path / "set")
    assert load_index(tmp_path / "set").counts() == {"fractured": 1, "not_fractured": 1}
    client.delete(id_)
    with pytest.raises(RoomError, match="no such study") as told:
        client.study(id_)
    assert (told.value.status, told.value.reason) == (404, "not_found")


def test_what_was_refused_is_told_and_the_others_are_taken(room, films, tmp_path):
    bad = tmp_path / "bad.txt"
    bad.write_text("no image")
    client = room.client()
    taken = client.submit([films[0], bad])
    assert (len(taken.studies), taken.refused[0].reason) == (1, "not_an_image")
    assert client.submit([bad]).refused[0].name == "bad.txt"
    room.read()
    with pytest.raises(RoomError, match=r"bad\.txt"):
        list(client.read([films[0], bad]))


def test_reading_that_takes_too_long_is_told(room, films):
    with pytest.raises(RoomError, match="not read within"):
        list(room.client().read(films[:1], timeout=0.3))


def test_a_token_is_shown_and_a_lack_of_it_told(room):
    token = room.token("reviewer", name="ward-3")
    assert room.client(f"{token}\n").me().name == "ward-3"  # as a file has it
    with pytest.raises(RoomError) as told:
        room.client().me()
    assert told.value.status == 401


def test_a_busy_room_is_asked_again_and_the_files_sent_whole(films):
    seen = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request.read())
        if len(seen) == 1:
            return httpx.Response(429, headers={"Retry-After": "0"}, json={"detail": "wait"})
        if len(seen) == 2:
            raise httpx.ConnectError("gone")
        return httpx.Response(202, json={"studies": [], "refused": []})

    with Client("http://room", transport=httpx.MockTransport(handle), patience=20) as client:
        assert client.submit(films[:1]).refused == []
    assert len(seen) == 3
    assert films[0].read_bytes() in seen[2]


@pytest.mark.parametrize("status", [None, 502, 504])
def test_what_may_have_been_done_is_not_asked_for_twice(status):
    seen = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request.url.path)
        if status is None:
            raise httpx.ReadTimeout("late")
        return httpx.Response(status, headers={"Retry-After": "0"})

    transport = httpx.MockTransport(handle)
    with Client("http://room", transport=transport) as client, pytest.raises(RoomError):
        client.review("0" * 28, agrees=True)
    assert len(seen) == 1


def test_an_address_that_leads_elsewhere_is_told_and_nothing_taken_for_done(tmp_path):
    moved = httpx.Response(301, headers={"Location": "https://room/"}, text="moved")
    with Client("http://room", transport=httpx.MockTransport(lambda _: moved)) as client:
        for ask in (
            lambda: client.delete("0" * 28),
            lambda: client.image("0" * 28),
            lambda: client.training_data(tmp_path / "reviews.zip"),
            lambda: next(client.events()),
            client.me,
        ):
            with pytest.raises(RoomError, match="https://room/"):
                ask()
    assert list(tmp_path.iterdir()) == []


def test_a_file_whose_name_is_no_text_is_handed_in(room, tmp_path):
    film = tmp_path / os.fsdecode("kırık.png".encode("iso8859-9"))
    film.write_bytes(png(0.9))
    assert [study.name for study in room.client().submit([film]).studies] == ["k?r?k.png"]


class Counting(httpx.BaseTransport):
    """Answers without reading what is sent. most: bytes that a request may have."""

    def __init__(self, most: float = float("inf")):
        self.most, self.sizes, self.patience = most, [], set()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        size = int(request.headers["content-length"])
        if size > self.most:
            return httpx.Response(413, json={"detail": "more than the limit", "reason": "error"})
        self.sizes.append(size)
        self.patience.add(request.extensions["timeout"]["read"])
        return httpx.Response(202, json={"studies": [], "refused": []})


@pytest.fixture
def large(tmp_path):
    """Five files of 110 MiB, which take no room, between two zips."""
    paths = [tmp_path / name for name in ("a.zip", "0", "1", "2", "3", "4", "z.ZIP")]
    for path in (paths[0], paths[-1]):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("film.png", png(0.4))
    for path in paths[1:-1]:
        with path.open("wb") as file:
            file.truncate(110 * 2**20)
    return paths


@pytest.mark.parametrize(
    ("most", "expected"), [(float("inf"), [0, 220, 220, 110, 0]), (120 * 2**20, [0, *[110] * 5, 0])]
)
def test_files_are_handed_in_in_as_many_requests_as_the_room_takes(large, most, expected):
    room = Counting(most)
    with Client("http://room", transport=room) as client:
        client.submit(large)
    assert [size // 2**20 for size in room.sizes] == expected
    assert min(room.patience) >= 600  # a zip of a thousand files is not taken in in a minute


def test_events_go_on_after_a_break():
    tries = []

    def handle(request: httpx.Request) -> httpx.Response:
        tries.append(request.headers.get("last-event-id"))
        if len(tries) == 2:
            return httpx.Response(503, headers={"Retry-After": "0"}, json={"detail": "away"})
        said = f'event: gone\nid: {len(tries)}\ndata: {{"id": "x"}}\n\n'
        return httpx.Response(200, text=f": hello\n\n{said}")

    with Client("http://room", transport=httpx.MockTransport(handle)) as client:
        told = client.events()
        assert [next(told).name for _ in range(3)] == ["gone"] * 3
    assert tries == [None, "1", "1", "3"]


def test_events_end_where_one_may_not_listen():
    refusal = httpx.Response(401, json={"detail": "no such token", "reason": "not_signed_in"})
    transport = httpx.MockTransport(lambda _: refusal)
    with (
        Client("http://room", transport=transport) as client,
        pytest.raises(RoomError, match="no such token"),
    ):
        next(client.events())
