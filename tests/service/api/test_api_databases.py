"""The API says the same on SQLite and on PostgreSQL."""

import io
import zipfile

import httpx
from rooms import png, refused

from kirik.service.export import TABLE


def test_the_whole_way_is_the_same_on_either_database(make_room, database_url, dicom_file):
    room = make_room(database_url=database_url)
    http = room.http()
    strong, weak, film = room.submit(png(0.9, seed=1), png(0.1, seed=2), dicom_file)
    for study, said in (
        (strong, {"agrees": True, "boxes": [{"x": 1, "y": 2, "width": 9, "height": 9}]}),
        (weak, {"agrees": False, "decision": "fracture", "comment": "ince çizgi"}),
        (weak, {"agrees": True}),
    ):
        assert http.post(f"/studies/{study}/reviews", json=said).status_code == 201
    order = [one["id"] for one in http.get("/studies").json()["studies"]]
    assert (order[0], order[-1]) == (strong, weak)
    assert [one["id"] for one in http.get("/studies?q=yılmaz").json()["studies"]] == [film]
    assert http.get(f"/studies/{weak}").json()["reviewed"] == "agreed"
    assert http.get("/agreement").json()["totals"]["agreed"] == 2
    assert http.get("/reviews.csv").text.count("\n") == 4
    with zipfile.ZipFile(io.BytesIO(http.get("/reviews.zip").content)) as archive:
        assert archive.read(TABLE).decode().count("\n") == 3
    assert 'kirik_studies{state="read"} 3.0' in httpx.get(f"{room.url}/metrics").text
    with http.stream("GET", "/events", headers={"Last-Event-ID": "0"}) as answer:
        told = answer.iter_lines()
        assert any(line.startswith("event: study") for line in told)
    assert http.get("/trail", params={"verify": True}).json()["intact"] is True
    assert http.delete(f"/studies/{film}").status_code == 204
    own = room.http(room.token("reader", own=True))
    assert own.get("/studies").json()["studies"] == []
    assert own.get("/agreement").json()["totals"]["reviewed"] == 0
    assert http.get("/health").json()["status"] == "ok"


def test_a_database_that_goes_away_is_503_and_comes_back(make_room, cluster):
    room = make_room(database_url=cluster.new_database())
    http = room.http()
    [study] = room.submit(png(0.9))
    cluster.stop()
    try:
        refused(http.get(f"/studies/{study}"), 503, "unavailable")
        refused(http.post("/studies", files={"files": png(seed=9)}), 503, "unavailable")
        health = http.get("/health")
        assert (health.status_code, health.json()["parts"]["database"]) == (503, "away")
    finally:
        cluster.start()
    assert http.get(f"/studies/{study}").status_code == 200
    assert http.post("/studies", files={"files": png(seed=9)}).status_code == 202
