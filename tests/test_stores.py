"""Object stores: what is found, fetched and written there, and how it is refused."""

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import fsspec
import pytest

from kirik import stores
from kirik.errors import OutputError, RadiographError, SettingsError
from kirik.output.folder import Folder
from kirik.stores import Remote, is_url, local_path, walk
from s3_server import S3Server

PNG = b"\x89PNG\r\n\x1a\n" + bytes(600)


@pytest.fixture
def memory():
    system = fsspec.filesystem("memory")
    yield system
    system.rm("/", recursive=True)


@pytest.fixture
def s3(monkeypatch):
    with S3Server() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
        monkeypatch.setattr(stores, "_PAUSE", 0)
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        stores._system.cache_clear()
        yield server
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        stores._system.cache_clear()


def found(url) -> list[str]:
    problems = []
    urls = [str(one) for one in walk(url, lambda place, error: problems.append(place))]
    assert not problems
    return urls


def break_off(folder: Folder, name: str):
    with folder.writing(name) as file:
        file.write(b"new, but not all of it")
        raise ZeroDivisionError


def test_paths_are_told_from_urls():
    assert [is_url(place) for place in ("s3://b/k", "gs://b", "/a/b", "a::b.png", "C:\\a")] == [
        *(True, True),
        *(False, False, False),
    ]
    assert local_path("file:///a/b.png") == "/a/b.png"
    assert local_path("/a/../b.png") == "/b.png"
    assert local_path("s3://b/k") is None


def test_a_store_is_walked_like_a_folder_in_order(memory):
    for name in ("b/2.png", "b/1.png", "a.dcm", "c", ".hidden.png", "b/.x/3.png", "b/DICOMDIR"):
        memory.pipe_file(f"/films/{name}", PNG)
    assert found("memory://films") == [f"memory://films/{n}" for n in ("a.dcm", "b/1.png")] + [
        *("memory://films/b/2.png", "memory://films/c")
    ]
    assert found("memory://films/b/") == ["memory://films/b/1.png", "memory://films/b/2.png"]
    assert found("memory://films/c") == ["memory://films/c"]
    seen = set()
    both = [str(one) for top in ("/b", "") for one in walk(f"memory://films{top}", None, seen)]
    assert sorted(both) == found("memory://films")  # each once


def test_a_name_that_promises_nothing_is_known_by_its_first_bytes(memory):
    memory.pipe_file("/films/notes", b"words")
    memory.pipe_file("/films/IM0001", PNG)
    memory.pipe_file("/films/IM0002", b"")
    memory.pipe_file("/films/LOCK", b"")
    memory.pipe_file("/films/a.overlay.png", PNG[:8] + b"tEXtkirik-of\0")
    memory.pipe_file("/films/b.overlay.png", PNG)
    worth = [one for one in walk("memory://films", None) if one.worth_reading()]
    names = ("IM0001", "IM0002", "b.overlay.png")
    assert [str(one) for one in worth] == [f"memory://films/{name}" for name in names]
    assert Remote("memory://films/gone", sure=False).worth_reading()  # so that its row says why


def test_s3_is_walked_fetched_and_written(s3):
    s3.objects |= {"films/a/2.png": PNG, "films/a/1 ü#.png": PNG, "films/b.png": b""}
    assert found("s3://films") == [f"s3://films/{n}" for n in ("a/1 ü#.png", "a/2.png", "b.png")]
    assert Remote("s3://films/a/1 ü#.png").fetch(1000) == PNG
    out = Folder("s3://out/run")
    assert out.names() == []
    assert out.read("x") is None
    out.write("x", b"0123456789")
    with out.writing("y") as file:
        file.write(b"abc")
    assert out.names() == ["x", "y"]
    assert (out.read("x"), out.read("x", 2, 5), out.read("x", -3)) == (
        *(b"0123456789", b"234", b"789"),
    )
    with pytest.raises(ZeroDivisionError):
        break_off(out, "z")
    assert out.names() == ["x", "y"]


@pytest.fixture
def web(tmp_path):
    """A web server that shows a folder: (the folder, its URL)."""

    class Silent(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def send_head(self):
            code = self.path[1:4]
            return self.send_error(int(code)) if code.isdigit() else super().send_head()

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=tmp_path)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield tmp_path, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("end", ["", "/"])
def test_a_folder_of_a_web_server_is_walked(web, end):
    pytest.importorskip("aiohttp")
    folder, url = web
    for name in ("films/b c.png", "films/deep/a.png", "other.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(PNG)
    names = found(f"{url}/films{end}")
    assert names == [f"{url}/films/b%20c.png", f"{url}/films/deep/a.png"]
    assert [Remote(name).fetch(1000) for name in names] == [PNG, PNG]
    assert found(f"{url}/other.png") == [f"{url}/other.png"]


@pytest.mark.parametrize(
    ("name", "says", "reason"),
    [
        ("403.png", "the store gives no permission", "no_permission"),
        ("503.png", "the store does not answer", "unreadable"),
        ("gone.png", "there is no such file", "missing"),
    ],
)
def test_what_a_web_server_refuses_is_told_as_it_is(web, monkeypatch, name, says, reason):
    pytest.importorskip("aiohttp")
    monkeypatch.setattr(stores, "_PAUSE", 0)
    with pytest.raises(RadiographError, match=says) as refused:
        Remote(f"{web[1]}/{name}").fetch(1000)
    assert refused.value.reason == reason


def test_what_cannot_be_fetched_is_told_with_its_reason(s3):
    s3.objects |= {"films/empty.png": b"", "films/large.png": PNG, "films/closed.png": PNG}
    s3.closed.add("films/closed.png")
    reasons = {}
    for name in ("empty", "large", "closed", "gone"):
        with pytest.raises(RadiographError, match=f"s3://films/{name}.png: ") as refused:
            Remote(f"s3://films/{name}.png").fetch(100)
        reasons[name] = refused.value.reason
    assert reasons == {
        **{"empty": "empty", "large": "too_large"},
        **{"closed": "no_permission", "gone": "missing"},
    }


def test_a_store_that_stumbles_is_asked_again(memory, monkeypatch):
    memory.pipe_file("/films/a.png", PNG)
    monkeypatch.setattr(stores, "_PAUSE", 0)
    answers, real = [OSError("busy"), TimeoutError()], type(memory).cat_file

    def cat_file(self, *words, **options):
        if answers:
            raise answers.pop()
        return real(self, *words, **options)

    monkeypatch.setattr(type(memory), "cat_file", cat_file)
    assert Remote("memory://films/a.png").fetch(1000) == PNG
    answers += [OSError("down")] * 9
    with pytest.raises(RadiographError, match=r"does not answer \(OSError: down\)") as refused:
        Remote("memory://films/a.png").fetch(1000)
    assert refused.value.reason == "unreadable"


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("s9://b/k", "no store is called s9"),
        ("memory://nothing/here", "no such file or store"),
        ("s3://nowhere/films", "no such file or store"),
        ("ftp://me:secret@host/films", "nor passwords"),
        ("zip://a::s3://b/c.zip", "chains of stores"),
        ("https://host/a.png?X-Amz-Date=1&X-Amz-Signature=secret", "would stand in the outputs"),
        ("https://host/a.png?sv=2024&sig=secret", "would stand in the outputs"),
    ],
)
def test_a_store_that_is_not_there_is_refused_at_once(s3, url, says):
    with pytest.raises(SettingsError, match=says) as refused:
        list(walk(url, None))
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("place", ["here", "memory://out"])
def test_a_file_of_a_folder_is_there_whole_or_not_at_all(memory, tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    folder = Folder(place)
    folder.write("a", b"old")
    with pytest.raises(ZeroDivisionError):
        break_off(folder, "a")
    assert folder.names() == ["a"]
    assert folder.read("a") == b"old"


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="cannot be written"):
        Folder(str(tmp_path / "file" / "out")).write("a", b"")


def test_an_object_beside_a_folder_of_its_name_is_found_and_a_folder_without_name_is_told_of(s3):
    names = ("both.jpg", "both.jpg/x.jpg", "dir/", "dir/b.jpg", "dir//c.jpg", "dir//deep/d.jpg")
    s3.objects |= {f"films/{name}": PNG for name in names}
    problems = []
    urls = [str(one) for one in walk("s3://films", lambda *problem: problems.append(problem))]
    assert urls == [f"s3://films/{name}" for name in ("both.jpg", "both.jpg/x.jpg", "dir/b.jpg")]
    [(place, error)] = problems
    assert (place, error.reason) == ("s3://films/dir//", "unsupported")
    assert "s3://films/dir//: a folder without a name (two slashes in a row)" in str(error)
    assert Remote("s3://films/dir//c.jpg").fetch(1000) == PNG  # as the message says


def test_a_redirects_signature_is_not_told():
    """As of a server that leads to another one's signed URL, which then does not answer."""
    error = OSError("500, message='x', url='https://a/b.jpg?X-Amz-Signature=SECRET&e=1'")
    reason, told = stores.explained(error)
    assert reason == "unreadable"
    assert "https://a/b.jpg?" in told
    assert "SECRET" not in told


@pytest.mark.parametrize("name", ["access_token", "api_key", "apikey", "key", "password"])
def test_a_url_with_a_secret_is_refused(name):
    with pytest.raises(SettingsError) as told:
        list(walk(f"https://archive/films/?{name}=SECRET", lambda *_: None))
    assert "SECRET" not in str(told.value)
