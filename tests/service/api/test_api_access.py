"""Who gets in, who sees what, and what no other site's page can do."""

import io
from datetime import timedelta
from itertools import islice

import httpx
import pytest
from PIL import Image
from rooms import OWN, named, png, refused, send
from sqlalchemy import select, update

from kirik.service.api import asked
from kirik.service.guard import Rates
from kirik.service.tables import SignIn, now

PASSWORD = "bone on dark ground 7"
READ = ["/studies", "/me", "/model", "/agreement", "/events", "/metrics"]
REVIEWERS = ["/reviews.csv", "/reviews.zip"]
ADMINISTRATORS = ["/users", "/tokens", "/trail", "/storage"]


def sign_in(room, name: str = "ayse", role: str = "reader", **rights) -> httpx.Client:
    """A browser with a session."""
    room.account("admin", "administrator")
    room.account(name, role, **rights)
    http = room.http()
    answer = http.post("/session", json={"name": name, "password": PASSWORD})
    assert answer.status_code == 201, answer.text
    http.headers["X-CSRF-Token"] = http.cookies["kirik_csrf"]
    return http


def test_while_there_is_no_account_this_machine_is_the_administrator(http):
    said = http.get("/me").json()
    assert (said["name"], said["role"], said["local"]) == ("local", "administrator", True)
    assert http.get("/users").json() == []


def test_with_the_first_account_all_must_sign_in(room):
    http = room.http()
    first = {"name": "admin", "password": PASSWORD, "role": "administrator"}
    refused(http.post("/users", json=first | {"role": "reader"}), 409, "conflict")
    assert http.post("/users", json=first).status_code == 201
    for path in READ + REVIEWERS + ADMINISTRATORS:
        refused(http.get(path), 401, "not_signed_in")
    answer = send(http, png())
    refused(answer, 401, "not_signed_in")
    assert answer.headers["www-authenticate"] == "Bearer"


def test_pages_lead_to_the_sign_in_and_health_stays_open(room):
    browser = httpx.Client(base_url=room.url, headers={"Accept": "text/html"})
    assert browser.get("/").status_code == 200
    room.account("admin", "administrator")
    answer = browser.get("/studies/abc")
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=%2Fstudies%2Fabc")
    assert browser.get("/login").status_code == 200
    assert httpx.get(f"{room.url}/health").json()["status"] == "ok"
    assert httpx.get(f"{room.url}/metrics").status_code == 401
    assert httpx.get(f"{room.url}/api/v1/openapi.json").status_code == 200


def test_the_open_room_is_this_machines_alone(room):
    """A rebound DNS name, or a proxy that would show the room to all, opens nothing."""
    for headers in (
        {"Host": "evil.example"},
        {"Host": "127.x.evil.example"},
        {"Host": "127.x.evil.example:8000"},
        {"X-Forwarded-For": "203.0.113.9"},
        {"X-Forwarded-Proto": "https"},
        {"X-Real-IP": "203.0.113.9"},
        {"Forwarded": "for=203.0.113.9"},
        {"Via": "1.1 proxy"},
    ):
        http = room.http(headers=headers)
        refused(http.get("/studies"), 401, "not_signed_in")
        refused(http.post("/tokens", json={"name": "x"}), 401, "not_signed_in")


def test_the_open_room_has_all_of_this_machines_own_names(http):
    for host in ("localhost:8000", "LocalHost", "127.0.0.1", "[::1]:8000"):
        assert http.get("/me", headers={"Host": host}).json()["local"] is True


@pytest.mark.parametrize(
    ("host", "own"),
    [
        *((host, True) for host in ("localhost", "127.0.0.1", "127.8.9.1", "::1", "[::1]")),
        ("::ffff:127.0.0.1", True),
        *((host, False) for host in ("", "0.0.0.0", "::", "10.0.0.1", "::ffff:10.0.0.1")),
        *((host, False) for host in ("127.x.evil.example", "127.0.0.1.evil.example", "127.0.0.a")),
        *((host, False) for host in ("localhost.evil.example", "127.0.0.1:80", "127.0.0.1.", "1")),
    ],
)
def test_an_address_is_this_machines_own_only_if_it_is_written_out(host, own):
    assert asked.is_loopback(host) is own


def idle_for(room, minutes: int) -> None:
    """As if all sessions had not been used for so long."""
    with room.core.database.writing() as session:
        then = now() - timedelta(minutes=minutes)
        session.execute(update(SignIn).values(last_seen_at=then))


def test_a_page_that_listens_does_not_keep_its_session_in_use(room, monkeypatch):
    monkeypatch.setattr("kirik.service.events._SIGN_OF_LIFE", 0.1)
    http = sign_in(room)
    with http.stream("GET", "/events") as answer:
        told = answer.iter_lines()
        assert next(told).startswith("retry")
        idle_for(room, minutes=119)
        assert len(list(islice(told, 12))) == 12  # some signs of life
        with room.core.database.reading() as session:
            assert now() - session.scalar(select(SignIn.last_seen_at)) > timedelta(minutes=119)
        idle_for(room, minutes=121)
        list(told)  # ends
    refused(http.get("/me"), 401, "not_signed_in")


def test_a_session_opens_and_closes(room):
    http = sign_in(room)
    me = http.get("/me").json()
    assert (me["name"], me["role"], me["local"], me["patients"]) == ("ayse", "reader", False, False)
    cookie = http.cookies.jar
    secret = next(one for one in cookie if one.name == "kirik_session")
    assert secret.has_nonstandard_attr("HttpOnly")
    assert secret.get_nonstandard_attr("SameSite") == "lax"
    assert http.delete("/session").status_code == 204
    refused(http.get("/me"), 401, "not_signed_in")
    http.cookies.set("kirik_session", secret.value)
    refused(http.get("/me"), 401, "not_signed_in")


def test_a_wrong_password_is_401_and_too_many_are_429(room):
    room.account("admin", "administrator")
    http = room.http()
    answers = [
        http.post("/session", json={"name": "admin", "password": f"wrong {i}"}) for i in range(12)
    ]
    refused(answers[0], 401, "not_signed_in")
    refused(answers[-1], 429, "too_many")
    assert int(answers[-1].headers["retry-after"]) >= 1
    unknown = http.post("/session", json={"name": "nobody", "password": "x"})
    assert unknown.status_code in (401, 429)
    assert "nobody" not in unknown.text


def test_a_token_opens_until_it_is_removed(room):
    http = room.http(room.token("administrator"))
    made = http.post("/tokens", json={"name": "modality-1", "role": "reader"})
    assert made.status_code == 201
    device = room.http(made.json()["token"])
    assert device.get("/me").json()["name"] == "modality-1"
    assert made.json()["token"] not in http.get("/tokens").text
    refused(http.post("/tokens", json={"name": "modality-1"}), 409, "conflict")
    assert http.delete(f"/tokens/{made.json()['id']}").status_code == 204
    refused(device.get("/me"), 401, "not_signed_in")
    refused(http.delete(f"/tokens/{made.json()['id']}"), 404, "not_found")


@pytest.mark.parametrize("token", ["x", "kirik_" + "a" * 43, "ü"])
def test_a_wrong_token_opens_nothing_even_in_an_open_room(room, token):
    http = room.http()
    answer = http.get("/studies", headers={"Authorization": f"Bearer {token}".encode()})
    refused(answer, 401, "not_signed_in")


def test_roles_reach_as_far_as_they_do_and_no_farther(room):
    [study] = room.submit(png())
    reader, reviewer = room.http(room.token("reader")), room.http(room.token("reviewer"))
    administrator = room.http(room.token("administrator"))
    for path in ["/studies", f"/studies/{study}", f"/studies/{study}/image", "/agreement"]:
        assert reader.get(path).status_code == 200
    for path in REVIEWERS:
        refused(reader.get(path), 403, "not_allowed")
        assert reviewer.get(path).status_code == 200
    for path in ADMINISTRATORS:
        refused(reader.get(path), 403, "not_allowed")
        refused(reviewer.get(path), 403, "not_allowed")
        assert administrator.get(path).status_code == 200
    place = f"/studies/{study}/reviews"
    refused(reader.post(place, json={"agrees": True}), 403, "not_allowed")
    assert reviewer.post(place, json={"agrees": True}).status_code == 201
    for http in (reader, reviewer):
        refused(http.delete(f"/studies/{study}"), 403, "not_allowed")
        refused(http.post("/users", json={"name": "x", "password": PASSWORD}), 403, "not_allowed")
        refused(http.patch("/users/admin", json={"role": "reader"}), 403, "not_allowed")
        refused(http.post("/tokens", json={"name": "x"}), 403, "not_allowed")
        refused(http.put("/storage", json={"retention_days": 1}), 403, "not_allowed")
        refused(http.post("/model", files={"file": b"PK\3\4"}), 403, "not_allowed")
    assert administrator.delete(f"/studies/{study}").status_code == 204


def test_who_sees_only_its_own_finds_no_other_study_by_any_way(room):
    theirs, own = room.http(room.token("reader")), room.http(room.token("reviewer", own=True))
    [other] = room.submit(png(0.9, seed=1), http=theirs)
    [mine] = room.submit(png(0.9, seed=2), http=own)
    said = own.get("/studies").json()
    assert [one["id"] for one in said["studies"]] == [mine]
    assert said["counts"]["fracture"] == 1
    for path in (
        "",
        "/image",
        "/evidence",
        "/overlay.png",
        "/report.pdf",
        "/result.json",
        "/original",
    ):
        refused(own.get(f"/studies/{other}{path}"), 404, "not_found")
    refused(own.post(f"/studies/{other}/reviews", json={"agrees": True}), 404, "not_found")
    refused(own.get("/metrics"), 403, "not_allowed")
    room.http(room.token("reviewer")).post(
        f"/studies/{other}/reviews", json={"agrees": False, "decision": "no_fracture"}
    )
    assert own.get("/agreement").json()["overruled"] == []
    assert other not in own.get("/reviews.csv").text
    # Whoever hands in the same bytes has them, and may see what they are.
    assert send(own, png(0.9, seed=1)).status_code == 200
    assert own.get(f"/studies/{other}").status_code == 200


def test_patients_are_shown_to_those_who_may_see_them_and_not_even_named_to_others(
    room, dicom_file
):
    sees = room.http(room.token("reader", patients=True))
    blind = room.http(room.token("reader"))
    [study] = room.submit(dicom_file, http=blind)
    assert sees.get(f"/studies/{study}").json()["patient"] == {"name": "Yılmaz Ayşe", "id": "Q4711"}
    assert sees.get("/studies", params={"q": "yılmaz"}).json()["studies"]
    assert sees.get(f"/studies/{study}/original").status_code == 200
    for path in (
        f"/studies/{study}",
        "/studies",
        "/studies?q=yılmaz",
        f"/studies/{study}/result.json",
    ):
        answer = blind.get(path)
        assert answer.status_code == 200
        assert "Yılmaz" not in answer.text
        assert "Q4711" not in answer.text
    assert blind.get("/studies", params={"q": "yılmaz"}).json()["studies"] == []
    refused(blind.get(f"/studies/{study}/original"), 403, "not_allowed")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_a_file_that_names_its_patient_beside_its_pixels_does_so_to_nobody_else(room, kind):
    sees = room.http(room.token("reader", patients=True))
    blind = room.http(room.token("reader"))
    content = named(0.9, kind)
    [study] = room.submit(content, http=blind)
    assert sees.get(f"/studies/{study}/original").content == content
    answer = blind.get(f"/studies/{study}/original")
    assert answer.status_code == 200
    assert answer.headers["content-disposition"].startswith("attachment")
    assert b"Ayse" not in answer.content
    before, after = (Image.open(io.BytesIO(one)) for one in (content, answer.content))
    assert after.format == kind
    assert after.tobytes() == before.tobytes()


@pytest.mark.parametrize(
    "headers",
    [
        {"X-CSRF-Token": "0" * 64},
        {"X-CSRF-Token": ""},
        {"X-Requested-With": "XMLHttpRequest"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_what_another_sites_page_asks_for_is_refused(room, headers):
    http = sign_in(room, role="administrator", name="boss")
    assert http.post("/tokens", json={"name": "first"}).status_code == 201
    refused(http.post("/tokens", json={"name": "second"}, headers=headers), 403, "forged")
    refused(http.delete("/studies/" + "0" * 28, headers=headers), 403, "forged")
    room.account("session", "reader")  # a path that ends as the sign-in's
    refused(http.patch("/users/session", json={"own": True}, headers=headers), 403, "forged")
    assert len(http.get("/tokens").json()) == 1


def test_an_open_room_too_refuses_what_another_sites_page_asks_for(room):
    bare = httpx.Client(base_url=f"{room.url}/api/v1")
    files = [("files", ("a.png", png()))]
    refused(bare.post("/studies", files=files), 403, "forged")
    refused(bare.post("/session", json={"name": "a", "password": "b"}), 403, "forged")
    foreign = OWN | {"Origin": "http://localhost:1"}
    refused(bare.post("/studies", files=files, headers=foreign), 403, "forged")
    own = OWN | {"Origin": room.url, "Sec-Fetch-Site": "same-origin"}
    assert bare.post("/studies", files=files, headers=own).status_code == 202


def test_every_answer_carries_strict_headers(room):
    paths = [
        "/",
        "/login",
        "/static/js/api.js",
        "/api/v1/studies",
        "/api/v1/nothing",
        "/nothing",
        "/health",
        "/metrics",
        "/api/v1/openapi.json",
    ]
    for path in paths:
        answer = httpx.get(room.url + path, headers={"Accept": "text/html"})
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
        assert "*" not in policy
        assert "data:" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert "access-control-allow-origin" not in answer.headers
        assert "server" not in answer.headers
        once = [name for name in answer.headers if name != "set-cookie"]
        assert all(len(answer.headers.get_list(name)) == 1 for name in once)
    page = httpx.get(room.url, headers={"Accept": "text/html"}).headers["content-security-policy"]
    assert "script-src 'self'" in page
    assert "style-src 'self'" in page


def test_no_page_has_a_script_or_a_style_of_its_own_or_asks_another_host(room):
    import re

    for path in ("/", "/studies/abc", "/agreement", "/admin", "/login", "/about", "/nothing"):
        for language in ("en", "tr"):
            text = httpx.get(
                f"{room.url}{path}?language={language}", headers={"Accept": "text/html"}
            ).text
            scripts = re.findall(r"<script(?![^>]*(?:src=|application/json))", text)
            assert not scripts, path
            assert "<style" not in text
            assert not re.search(r"\sstyle=|\son\w+=", text)
            assert not re.search(r"(?:src|href|action)=[\"']?(?:https?:)?//", text)


def test_too_many_requests_are_429_and_say_how_long_to_wait(make_room):
    http = make_room(rates=Rates(known=20, address=50)).http()
    answers = [http.get("/me") for _ in range(60)]
    assert answers[0].status_code == 200
    refused(answers[-1], 429, "too_many")
    assert int(answers[-1].headers["retry-after"]) >= 1


def test_odd_requests_are_problems_not_errors(http):
    refused(http.get("/nothing"), 404, "not_found")
    refused(http.put("/studies"), 405, "method_not_allowed")
    refused(http.get("/studies?q=%00"), 400, "bad_request")
    refused(http.get("/studies/%00"), 400, "bad_request")
    refused(http.get("/studies/../../etc/passwd"), 404, "not_found")
    refused(http.get("/studies/not-an-id"), 422, "invalid")
    json = {"Content-Type": "application/json"}
    refused(http.post("/users", content=b"{", headers=json), 422, "invalid")
    refused(http.post("/users", content=b"x" * 2**21, headers=json), 413, "too_large")
    name = '{"name": "\\ud800", "password": "x"}'
    refused(http.post("/session", content=name, headers=json), 422, "invalid")
    refused(http.patch("/users/none", json={"role": "reader"}), 404, "not_found")


def test_an_unforeseen_error_says_nothing_of_what_it_saw(room, monkeypatch, caplog):
    def broken(*_):
        raise RuntimeError(f"of patient {40 + 7}11")

    monkeypatch.setattr("kirik.service.worklist.page", broken)
    answer = room.http().get("/studies")
    refused(answer, 500, "error")
    assert "Q4711" not in answer.text
    assert "Q4711" not in caplog.text
    assert "RuntimeError" in caplog.text
    assert room.http().get("/me").status_code == 200


def test_what_is_searched_for_never_stands_in_a_log(room, caplog):
    import logging

    with caplog.at_level(logging.DEBUG):
        room.http().get("/studies", params={"q": "YilmazQ4711"})
    ours = [one.getMessage() for one in caplog.records if not one.name.startswith("httpx")]
    assert ours
    assert not [line for line in ours if "Q4711" in line]


def test_accounts_are_changed_and_the_last_administrator_stays(room):
    http = sign_in(room, "boss", "administrator")
    new = {"name": "ali", "password": PASSWORD, "role": "reviewer"}
    assert http.post("/users", json=new).status_code == 201
    refused(http.post("/users", json=new), 409, "conflict")
    refused(http.post("/users", json=new | {"name": "veli", "password": "short"}), 422, "invalid")
    ali = room.http()
    ali.post("/session", json={"name": "ali", "password": PASSWORD})
    assert ali.get("/me").json()["role"] == "reviewer"
    changed = http.patch("/users/ali", json={"role": "reader"})
    assert changed.json()["role"] == "reader"
    refused(ali.get("/me"), 401, "not_signed_in")
    assert http.patch("/users/ali", json={"password": "another long one 8"}).status_code == 200
    again = ali.post("/session", json={"name": "ali", "password": "another long one 8"})
    assert again.status_code == 201
    assert http.patch("/users/ali", json={"enabled": False}).json()["enabled"] is False
    refused(ali.get("/me"), 401, "not_signed_in")
    assert http.patch("/users/admin", json={"enabled": False}).status_code == 200
    refused(http.patch("/users/boss", json={"role": "reader"}), 409, "conflict")
    assert "password" not in http.get("/users").text
    assert "argon2" not in http.get("/users").text


def test_all_that_matters_stands_in_the_trail_and_the_chain_holds(room):
    http = sign_in(room, "boss", "administrator")
    send(http, png())
    for path in REVIEWERS:
        assert http.get(path).status_code == 200
    said = http.get("/trail", params={"verify": True}).json()
    assert said["intact"] is True
    actions = [one["action"] for one in said["entries"]]
    assert actions[:3] == ["reviews.exported", "reviews.exported", "study.received"]
    assert {"account.added", "session.begun"} <= set(actions)
    page = http.get("/trail", params={"limit": 1}).json()
    older = http.get("/trail", params={"limit": 1, "cursor": page["next"]}).json()
    assert older["entries"][0]["number"] == page["entries"][0]["number"] - 1
    refused(http.get("/trail", params={"cursor": 0}), 422, "invalid")
