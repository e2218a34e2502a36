"""Studies by HTTP: the list, one of them, its pictures and reviews."""

import io

import numpy as np
import pytest
from PIL import Image
from rooms import Room, png, refused, send

from kirik.service import access, reviews
from kirik.service.refusals import NotAllowed

NOBODY = "0" * 28


def picture(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


@pytest.fixture
def read(room) -> tuple[Room, dict[str, str]]:
    """A room with a study of each decision, and their ids."""
    levels = {"no_fracture": 0.1, "uncertain": 0.5, "fracture": 0.9}
    ids = room.submit(*(png(level, seed=i) for i, level in enumerate(levels.values())))
    return room, dict(zip(levels, ids, strict=True))


def test_the_list_stands_in_order_of_urgency_and_counts_all(read):
    room, ids = read
    send(room.http(), png(seed=99))
    said = room.http().get("/studies").json()
    order = [one["id"] for one in said["studies"]]
    assert order[:2] == [ids["fracture"], ids["uncertain"]]
    assert order[-1] == ids["no_fracture"]
    assert said["counts"]["fracture"] == said["counts"]["waiting"] == 1
    assert said["studies"][0]["points"] == {"low": 0.3, "high": 0.7}
    assert "patient" not in said["studies"][0]


def test_the_list_is_given_page_by_page(read):
    http = read[0].http()
    first = http.get("/studies", params={"limit": 2}).json()
    rest = http.get("/studies", params={"limit": 2, "cursor": first["next"]}).json()
    assert (len(first["studies"]), len(rest["studies"]), rest["next"]) == (2, 1, None)
    refused(http.get("/studies", params={"cursor": "x" * 30}), 422, "invalid")
    refused(http.get("/studies", params={"limit": 0}), 422, "invalid")
    refused(http.get("/studies", params={"decision": "nonsense"}), 422, "invalid")
    assert http.get("/studies", params={"decision": "fracture"}).json()["next"] is None


def test_one_study_has_its_readings(read):
    room, ids = read
    said = room.http().get(f"/studies/{ids['fracture']}").json()
    [reading] = said["readings"]
    assert said["state"] == "read"
    assert reading["probability"] == pytest.approx(said["probability"])
    assert (reading["width"], reading["height"], reading["orientation"]) == (96, 96, 1)
    assert reading["evidence"] is True
    assert reading["findings"][0]["score"] > 0.5
    assert reading["points"] == {"low": 0.3, "high": 0.7}


@pytest.mark.parametrize(
    "path",
    ["", "/image", "/evidence", "/overlay.png", "/report.pdf", "/result.json", "/original"],
)
def test_a_study_that_is_not_there_is_404_wherever_it_is_asked_for(http, path):
    refused(http.get(f"/studies/{NOBODY}{path}"), 404, "not_found")


@pytest.mark.parametrize("path", ["/evidence", "/overlay.png", "/report.pdf", "/result.json"])
def test_what_needs_a_reading_is_409_until_there_is_one(http, path):
    [study] = send(http, png()).json()["studies"]
    refused(http.get(f"/studies/{study['id']}{path}"), 409, "conflict")
    refused(http.post(f"/studies/{study['id']}/reviews", json={"agrees": True}), 409, "conflict")


def test_the_image_is_gray_of_the_size_that_was_asked_for_and_not_sent_twice(read):
    room, ids = read
    place, http = f"/studies/{ids['fracture']}/image", room.http()
    full = http.get(place)
    assert picture(full.content).shape == (96, 96)
    assert picture(full.content).dtype == np.uint8
    small = http.get(place, params={"size": 16})
    assert max(picture(small.content).shape) == 16
    again = http.get(place, headers={"If-None-Match": full.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert "private" in full.headers["cache-control"]
    refused(http.get(place, params={"size": 5000}), 422, "invalid")
    refused(http.get(place, params={"frame": 2}), 404, "not_found")
    refused(http.get(place, params={"frame": 0}), 422, "invalid")


def test_image_evidence_and_boxes_share_the_geometry_as_stored(room):
    """A film that lies on its side, with EXIF to turn it, and its bright corner at bottom left."""
    pixels = np.full((80, 120), 20, np.uint8)
    pixels[50:, :40] = 250
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(file, "JPEG", quality=95, exif=exif)
    [study] = room.submit(file.getvalue())
    http = room.http()
    reading = http.get(f"/studies/{study}").json()["readings"][0]
    assert (reading["width"], reading["height"], reading["orientation"]) == (120, 80, 6)
    image = picture(http.get(f"/studies/{study}/image").content)
    assert image.shape == (80, 120)
    assert image[60:, :30].mean() > 200 > 60 > image[:40, 60:].mean()
    map_ = picture(http.get(f"/studies/{study}/evidence").content)
    assert map_.shape[2] == 4
    alpha = np.asarray(Image.fromarray(map_[..., 3]).resize((120, 80)))
    assert alpha[60:, :30].mean() > 180 > 80 > alpha[:40, 60:].mean()
    assert reading["peak"]["x"] < 40
    assert reading["peak"]["y"] > 50


def test_pictures_report_record_and_the_file_itself_can_be_taken_away(read):
    room, ids = read
    http, study = room.http(), ids["fracture"]
    overlay = http.get(f"/studies/{study}/overlay.png", params={"language": "tr"})
    assert overlay.headers["content-type"] == "image/png"
    assert picture(overlay.content).shape[2] == 3
    [record] = http.get(f"/studies/{study}/result.json").json()
    assert (record["path"], record["decision"], record["model"]) == (
        "film.png",
        "fracture",
        "bright",
    )
    original = http.get(f"/studies/{study}/original")
    assert original.content == png(0.9, seed=2)
    assert original.headers["content-disposition"].startswith("attachment")
    refused(http.get(f"/studies/{study}/overlay.png", params={"language": "xx"}), 422, "invalid")


def test_the_report_is_a_pdf_and_that_it_was_taken_stands_in_the_trail(read):
    pytest.importorskip("kirik.output.report_pdf")
    room, ids = read
    http = room.http()
    report = http.get(f"/studies/{ids['fracture']}/report.pdf", params={"language": "tr"})
    assert report.status_code == 200, report.text
    assert report.content.startswith(b"%PDF")
    assert "attachment" in report.headers["content-disposition"]
    actions = [one["action"] for one in http.get("/trail").json()["entries"]]
    assert "report.taken" in actions


def test_what_cannot_be_decoded_is_a_failed_study_that_says_why_and_never_where(room):
    whole = png(shape=(300, 300))
    bomb = png()[:16] + (60_000).to_bytes(4, "big") * 2 + png()[24:]
    ids = room.submit(whole[: len(whole) // 2], bomb)
    http = room.http()
    for study in ids:
        said = http.get(f"/studies/{study}").json()
        assert (said["state"], said["decision"]) == ("failed", None)
        assert said["reason"] in ("truncated", "damaged", "too_large")
        assert str(room.core.settings.data) not in str(said)
        answer = http.get(f"/studies/{study}/image")
        assert answer.status_code == 422
        assert str(room.core.settings.data) not in answer.text
        assert http.get(f"/studies/{study}/overlay.png").status_code in (404, 409, 422)
        assert http.get(f"/studies/{study}/result.json").json()[0]["reason"] == said["reason"]
        place = f"/studies/{study}/reviews"
        said = refused(http.post(place, json={"agrees": True}), 422, "invalid")
        assert "nothing to agree with" in said["detail"]
        own = {"agrees": False, "decision": "no_fracture"}
        assert http.post(place, json=own).status_code == 201
    assert http.get("/studies").json()["counts"]["failed"] == 2
    assert http.get("/health").status_code == 200


def test_a_deleted_study_is_gone_with_its_file(read):
    room, ids = read
    http, study = room.http(), ids["fracture"]
    blobs = [path for path in room.core.settings.data.rglob("*") if path.stat().st_size > 100]
    assert http.delete(f"/studies/{study}").status_code == 204
    refused(http.get(f"/studies/{study}"), 404, "not_found")
    refused(http.get(f"/studies/{study}/image"), 404, "not_found")
    refused(http.delete(f"/studies/{study}"), 404, "not_found")
    assert len([path for path in blobs if path.exists()]) < len(blobs)


def test_reviews_are_added_and_never_overwritten_and_the_newest_counts(read):
    room, ids = read
    http, place = room.http(), f"/studies/{ids['fracture']}"
    box = {"x": 4, "y": 8.5, "width": 20, "height": 12}
    first = http.post(f"{place}/reviews", json={"agrees": True, "boxes": [box]})
    assert first.status_code == 201
    assert (first.json()["decision"], first.json()["boxes"]) == ("fracture", [box])
    assert http.get(place).json()["reviewed"] == "agreed"
    other = {"agrees": False, "decision": "no_fracture", "comment": "büyüme plağı"}
    assert http.post(f"{place}/reviews", json=other).status_code == 201
    said = http.get(place).json()
    assert said["reviewed"] == "disagreed"
    assert [one["agrees"] for one in said["reviews"]] == [True, False]
    assert said["reviews"][1]["comment"] == "büyüme plağı"
    assert said["reviews"][1]["by"] == "local"


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"agrees": False}, "fracture, no_fracture or unsure"),
        ({"agrees": True, "decision": "no_fracture"}, "agrees with a reading of fracture"),
        ({"agrees": False, "decision": "perhaps"}, "decision"),
        ({"agrees": True, "boxes": [{"x": 0, "y": 0, "width": 0, "height": 5}]}, "width"),
        ({"agrees": True, "boxes": [{"x": 60, "y": 0, "width": 40, "height": 5}]}, "outside"),
        (
            {
                "agrees": False,
                "decision": "no_fracture",
                "boxes": [{"x": 0, "y": 0, "width": 4, "height": 5}],
            },
            "remove the boxes",
        ),
        ({"agrees": True, "comment": "x" * 5000}, "comment"),
        ({"agrees": True, "comment": "\x00"}, "control"),
        ({"agrees": True, "surprise": 1}, "surprise"),
        ({}, "agrees"),
    ],
)
def test_a_review_that_makes_no_sense_is_422(read, said, why):
    room, ids = read
    answer = room.http().post(f"/studies/{ids['fracture']}/reviews", json=said)
    assert why in refused(answer, 422, "invalid")["detail"]


def test_a_review_of_a_frame_that_is_not_there_is_404(read):
    room, ids = read
    answer = room.http().post(
        f"/studies/{ids['fracture']}/reviews", json={"agrees": True, "frame": 7}
    )
    refused(answer, 404, "not_found")


def test_agreement_counts_the_newest_review_of_each_study(read):
    room, ids = read
    http = room.http()
    for name, said in (
        ("fracture", {"agrees": False, "decision": "no_fracture"}),
        ("fracture", {"agrees": True}),
        ("no_fracture", {"agrees": False, "decision": "fracture"}),
    ):
        assert http.post(f"/studies/{ids[name]}/reviews", json=said).status_code == 201
    said = http.get("/agreement").json()
    assert said["totals"] == {
        "reviewed": 2,
        "agreed": 1,
        "disagreed": 1,
        "missed": 1,
        "false_alarms": 0,
    }
    [week] = said["by_week"]
    assert (week["agreed"], week["disagreed"]) == (1, 1)
    [region] = said["by_region"]
    assert (region["region"], region["agreed"], region["disagreed"]) == (None, 1, 1)
    [overruled] = said["overruled"]
    assert overruled["study"]["id"] == ids["no_fracture"]
    assert overruled["review"]["decision"] == "fracture"


def test_what_a_reviewer_may_is_asked_of_the_core_too(read):
    """The rule does not hang on the HTTP layer alone."""
    room, ids = read
    reader = access.Principal("r", "reader", patients=False, own=False, kind="person")
    with pytest.raises(NotAllowed), room.core.database.writing() as session:
        reviews.add(session, reader, ids["fracture"], 1, reviews.Opinion(agrees=True))


@pytest.mark.parametrize("since", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-23:59"])
def test_a_moment_that_utc_does_not_have_is_refused(http, since):
    refused(http.get("/studies", params={"since": since}), 422, "invalid")
