"""The download of FracAtlas, against a server of our own that misbehaves on request."""

import errno
import hashlib
import http.server
import io
import json
import stat
import threading
import zipfile
from pathlib import Path

import pytest

from kirik.dataset import download
from kirik.dataset.download import CITATION, LICENCE, download_fracatlas, is_complete
from kirik.dataset.unpack import ArchiveLimits, HostileArchive, unpack
from kirik.errors import DownloadError


def zip_of(entries: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return buffer.getvalue()


ATLAS = {
    "FracAtlas/dataset.csv": b"image_id,fractured\n",
    "FracAtlas/images/Fractured/IMG0000019.jpg": bytes(range(256)) * 2000,
    "FracAtlas/images/Non_fractured/IMG0000000.jpg": b"also an image" * 1000,
    "__MACOSX/FracAtlas/._dataset.csv": b"rubbish",
}


class Figshare(http.server.ThreadingHTTPServer):
    """An article with one archive; each request of the archive uses up one of the `faults`."""

    def __init__(self, content: bytes):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content, self.md5 = content, hashlib.md5(content).hexdigest()
        self.ranges, self.faults = True, []
        self.asked: list[str | None] = []
        self.article = {}
        self.base = f"http://127.0.0.1:{self.server_port}"
        self.api = f"{self.base}/articles/1"
        self.list()

    def list(self, **changes):
        file = {
            "name": "FracAtlas.zip",
            "size": len(self.content),
            "download_url": f"{self.base}/files/1",
            "computed_md5": self.md5,
        }
        self.article = {"files": [{"name": "readme.txt"}, file | changes]}


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path.startswith("/articles"):
            return self._send(200, json.dumps(self.server.article).encode())
        asked = self.headers.get("Range")
        self.server.asked.append(asked)
        fault = self.server.faults.pop(0) if self.server.faults else ""
        if fault.isdigit():
            return self.send_error(int(fault))
        if fault == "elsewhere":
            self.send_response(302)
            self.send_header("Location", "http://example.invalid/files/1")
            return self.end_headers()
        start = int(asked[6:-1]) if asked and self.server.ranges else 0
        body, size = self.server.content[start:], len(self.server.content)
        headers = {"Content-Range": f"bytes {start}-{size - 1}/{size}"} if start else {}
        if fault == "other range":
            headers = {"Content-Range": f"bytes 0-{size - 1}/{size}"}
        return self._send(206 if start else 200, body, headers, broken=fault == "broken")

    def _send(self, status, body, headers=None, broken=False):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if broken else body)

    def log_message(self, *_):
        pass


@pytest.fixture
def figshare(monkeypatch):
    monkeypatch.setattr(download, "PAUSES", (0, 0, 0))
    with serving(zip_of(ATLAS)) as server:
        yield server


class serving:
    def __init__(self, content: bytes):
        self.server = Figshare(content)

    def __enter__(self) -> Figshare:
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()
        return self.server

    def __exit__(self, *_):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def left_beside(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.parent.iterdir())


def test_data_set_lies_in_the_named_folder_with_its_origin(figshare, tmp_path):
    stages = []
    folder = download_fracatlas(
        tmp_path / "data" / "atlas", api=figshare.api, progress=lambda *now: stages.append(now)
    )
    assert folder == tmp_path / "data" / "atlas"
    image = folder / "images" / "Fractured" / "IMG0000019.jpg"
    assert image.read_bytes() == ATLAS["FracAtlas/images/Fractured/IMG0000019.jpg"]
    assert left_beside(folder) == ["atlas"]
    record = json.loads((folder / "source.json").read_text())
    assert record["sha256"] == hashlib.sha256(figshare.content).hexdigest()
    assert (record["licence"], record["citation"]) == (LICENCE, CITATION)
    assert (len(figshare.content), len(figshare.content)) in stages
    assert all(done <= total for done, total in stages)


def test_complete_data_set_is_not_fetched_again(figshare, tmp_path):
    assert not is_complete(tmp_path / "atlas")
    download_fracatlas(tmp_path / "atlas", api=figshare.api)
    assert is_complete(tmp_path / "atlas")
    stages = []
    download_fracatlas(
        tmp_path / "atlas", api=figshare.api, progress=lambda *now: stages.append(now)
    )
    assert len(figshare.asked) == 1
    assert stages == []


def test_archive_without_a_top_folder_and_an_empty_folder_that_is_there(monkeypatch, tmp_path):
    (tmp_path / "atlas").mkdir()
    with serving(zip_of({"images/Fractured/a.jpg": b"x", "dataset.csv": b"y"})) as server:
        folder = download_fracatlas(tmp_path / "atlas", api=server.api)
    assert (folder / "dataset.csv").read_bytes() == b"y"


def test_broken_connection_goes_on_where_it_broke(figshare, tmp_path):
    figshare.faults = ["broken", "broken"]
    folder = download_fracatlas(tmp_path / "atlas", api=figshare.api)
    half = len(figshare.content) // 2
    starts = [0 if asked is None else int(asked[6:-1]) for asked in figshare.asked]
    assert starts == [0, half, half + (len(figshare.content) - half) // 2]
    assert (folder / "images").is_dir()


def test_second_call_goes_on_where_the_first_gave_up(figshare, tmp_path):
    figshare.faults = ["broken", "404"]
    with pytest.raises(DownloadError, match="404"):
        download_fracatlas(tmp_path / "atlas", api=figshare.api)
    assert not (tmp_path / "atlas").exists()
    download_fracatlas(tmp_path / "atlas", api=figshare.api)
    assert figshare.asked[-1] == f"bytes={len(figshare.content) // 2}-"
    assert left_beside(tmp_path / "atlas") == ["atlas"]


def test_part_of_another_version_is_thrown_away(figshare, tmp_path):
    figshare.faults = ["broken", "404"]
    with pytest.raises(DownloadError):
        download_fracatlas(tmp_path / "atlas", api=figshare.api)
    figshare.content = zip_of({**ATLAS, "FracAtlas/new.txt": b"new"})
    figshare.md5 = hashlib.md5(figshare.content).hexdigest()
    figshare.list()
    folder = download_fracatlas(tmp_path / "atlas", api=figshare.api)
    assert figshare.asked[-1] is None
    assert (folder / "new.txt").is_file()


def test_server_without_ranges_sends_all_again(figshare, tmp_path):
    figshare.ranges, figshare.faults = False, ["broken"]
    folder = download_fracatlas(tmp_path / "atlas", api=figshare.api)
    assert len(figshare.asked) == 2
    assert (folder / "images").is_dir()


@pytest.mark.parametrize("fault", ["416", "other range"])
def test_server_that_cannot_continue_is_asked_from_the_start(figshare, tmp_path, fault):
    figshare.faults = ["broken", fault]
    download_fracatlas(tmp_path / "atlas", api=figshare.api)
    assert figshare.asked[-1] is None


def test_server_whose_file_is_shorter_than_it_says_is_given_up(figshare, tmp_path):
    figshare.list(size=len(figshare.content) + 10)
    figshare.faults = ["", *5 * ["416", ""]]
    with pytest.raises(DownloadError, match="run it again"):
        download_fracatlas(tmp_path / "atlas", api=figshare.api)
    assert len(figshare.asked) < 9


@pytest.mark.parametrize("status", ["500", "503", "429"])
def test_passing_trouble_of_the_server_is_waited_out(figshare, tmp_path, status):
    figshare.faults = [status, status]
    assert (download_fracatlas(tmp_path / "atlas", api=figshare.api) / "images").is_dir()


def test_lasting_trouble_ends_in_one_line(figshare, tmp_path):
    figshare.faults = ["503"] * 9
    with pytest.raises(DownloadError, match=r"503.*run it again") as caught:
        download_fracatlas(tmp_path / "atlas", api=figshare.api)
    assert "\n" not in str(caught.value)
    assert len(figshare.asked) == 4


def test_server_that_is_not_there(figshare, tmp_path):
    figshare.server_close()
    with pytest.raises(DownloadError, match="check the connection"):
        download_fracatlas(tmp_path / "atlas", api="http://127.0.0.1:9/articles/1")


def test_wrong_checksum_is_removed_and_named(figshare, tmp_path):
    figshare.list(computed_md5="0" * 32)
    with pytest.raises(DownloadError, match="wrong checksum"):
        download_fracatlas(tmp_path / "atlas", api=figshare.api)
    assert left_beside(tmp_path / "atlas") == []


def test_supplied_checksum_serves_where_none_was_computed(figshare, tmp_path):
    figshare.list(computed_md5="", supplied_md5=figshare.md5.upper())
    assert download_fracatlas(tmp_path / "atlas", api=figshare.api).is_dir()


@pytest.mark.parametrize(
    "article",
    [{}, [], {"files": []}, {"files": [{"name": "a.zip", "size": 3, "download_url": "x"}]}],
)
def test_listing_without_an_archive_and_its_checksum(figshare, tmp_path, article):
    figshare.article = article
    with pytest.raises(DownloadError, match="lists no archive"):
        download_fracatlas(tmp_path / "atlas", api=figshare.api)


def test_http_is_refused_but_for_this_machine(figshare, tmp_path):
    with pytest.raises(DownloadError, match="not an https address"):
        download_fracatlas(tmp_path / "atlas", api="http://example.invalid/1")
    with pytest.raises(DownloadError, match="not an https address"):
        download_fracatlas(tmp_path / "atlas", api="file:///etc/passwd")
    figshare.faults = ["elsewhere"]
    with pytest.raises(DownloadError, match="not an https address"):
        download_fracatlas(tmp_path / "atlas", api=figshare.api)


def test_folder_with_other_files_is_left_alone(figshare, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(DownloadError, match="name a new folder"):
        download_fracatlas(tmp_path, api=figshare.api)
    assert figshare.asked == []


def test_too_little_room_is_said_before_the_download(figshare, tmp_path):
    figshare.list(size=2**60)
    with pytest.raises(DownloadError, match="MiB needed; make room"):
        download_fracatlas(tmp_path / "atlas", api=figshare.api)
    assert figshare.asked == []


class FullDisk(io.BytesIO):
    def write(self, _):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_disk_that_fills_up_is_not_tried_again(figshare, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "_disk_open", lambda part, mode: FullDisk())
    with pytest.raises(DownloadError, match=r"No space left on device.*make room"):
        download_fracatlas(tmp_path / "atlas", api=figshare.api)
    assert len(figshare.asked) == 1


def test_disk_that_fills_up_while_unpacking_keeps_the_archive(figshare, tmp_path, monkeypatch):
    real_open = Path.open

    def fill_up(path, mode="r", *more, **options):
        return FullDisk() if mode == "xb" else real_open(path, mode, *more, **options)

    monkeypatch.setattr(Path, "open", fill_up)
    with pytest.raises(DownloadError, match="No space left"):
        download_fracatlas(tmp_path / "atlas", api=figshare.api)
    assert left_beside(tmp_path / "atlas") == ["atlas.part", "atlas.part.json"]
    monkeypatch.setattr(Path, "open", real_open)
    download_fracatlas(tmp_path / "atlas", api=figshare.api)
    assert len(figshare.asked) == 1


def hostile_zip(path: Path, entry: zipfile.ZipInfo | str, content: bytes = b"x") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images/a.jpg", b"a")
        archive.writestr(entry, content)
    return path


@pytest.mark.parametrize(
    "name",
    ["../out.txt", "images/../../out.txt", "/etc/out", "C:/out", "a\\..\\b", "a//b", "./a", "a\nb"],
)
def test_paths_that_lead_out_are_refused(tmp_path, name):
    archive = hostile_zip(tmp_path / "a.zip", name)
    with pytest.raises(HostileArchive, match="dangerous path") as caught:
        unpack(archive, tmp_path / "into" / "here")
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


@pytest.mark.parametrize("form", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_special_files_are_refused(tmp_path, form):
    entry = zipfile.ZipInfo("images/link")
    entry.create_system, entry.external_attr = 3, (form | 0o777) << 16
    with pytest.raises(HostileArchive, match="link or a special file"):
        unpack(hostile_zip(tmp_path / "a.zip", entry, b"/etc/passwd"), tmp_path / "into")
    assert not (tmp_path / "into").exists()


@pytest.mark.parametrize("name", ["images/A.JPG", "images", "images/a.jpg/b", "IMAGES/a.jpg"])
def test_colliding_names_are_refused(tmp_path, name):
    with pytest.raises(HostileArchive, match="two entries of one name"):
        unpack(hostile_zip(tmp_path / "a.zip", name), tmp_path / "into")


def test_bomb_is_refused_by_what_it_declares(tmp_path):
    archive = hostile_zip(tmp_path / "a.zip", "zeros", bytes(5_000_000))
    assert archive.stat().st_size < 10_000
    with pytest.raises(HostileArchive, match="would unpack to"):
        unpack(archive, tmp_path / "into", limits=ArchiveLimits(unpacked_bytes=1_000_000))


def test_bomb_that_declares_little_is_stopped(tmp_path):
    archive = hostile_zip(tmp_path / "a.zip", "zeros", bytes(5_000_000))
    said = (5_000_000).to_bytes(4, "little")
    archive.write_bytes(archive.read_bytes().replace(said, (100).to_bytes(4, "little")))
    with pytest.raises(HostileArchive, match="damaged"):
        unpack(archive, tmp_path / "into", limits=ArchiveLimits(unpacked_bytes=1_000_000))
    assert not (tmp_path / "into").exists()


def test_too_many_entries_are_refused(tmp_path):
    archive = hostile_zip(tmp_path / "a.zip", "b")
    with pytest.raises(HostileArchive, match="2 entries"):
        unpack(archive, tmp_path / "into", limits=ArchiveLimits(entries=1))


def test_encrypted_entry_is_refused(tmp_path):
    archive = hostile_zip(tmp_path / "a.zip", "b")
    content = bytearray(archive.read_bytes())
    content[content.rindex(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(content)
    with pytest.raises(HostileArchive, match="encrypted"):
        unpack(archive, tmp_path / "into")


@pytest.mark.parametrize("damage", ["cut", "flipped", "text"])
def test_damaged_archive_leaves_nothing(tmp_path, damage):
    content = zip_of(ATLAS)
    at = content.index(ATLAS["FracAtlas/images/Fractured/IMG0000019.jpg"]) + 1000
    damaged = {
        "cut": content[:-100],
        "flipped": content[:at] + b"~" + content[at + 1 :],
        "text": b"<html>not found</html>",
    }
    (tmp_path / "a.zip").write_bytes(damaged[damage])
    with pytest.raises(HostileArchive, match="damaged"):
        unpack(tmp_path / "a.zip", tmp_path / "into")
    assert not (tmp_path / "into").exists()


def test_hostile_archive_from_the_server_leaves_nothing(monkeypatch, tmp_path):
    content = hostile_zip(tmp_path / "a.zip", "../out.txt").read_bytes()
    with serving(content) as server, pytest.raises(DownloadError, match="dangerous path"):
        download_fracatlas(tmp_path / "sub" / "atlas", api=server.api)
    assert list((tmp_path / "sub").iterdir()) == []
