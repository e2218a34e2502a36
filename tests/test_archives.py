"""Zips and DICOMDIRs: read without unpacking, and a hostile one is an error, not an accident."""

import io
import json
import os
import tracemalloc
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kirik.archives import Member, close_archive, list_archive, read_source
from kirik.errors import RadiographError
from kirik.predict import predict
from kirik.reading.classifier import load_model
from kirik.reading.decoder import Decoders, DecodingLimits
from kirik.reading.reading import Failure
from kirik.reading.sources import find_sources

MOST = 2**20


def png(level: float = 0.5) -> bytes:
    noise = np.random.default_rng(0).integers(-20, 20, (96, 64))
    pixels = (level * 255 + noise).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def study(tmp_path):
    """Radiographs in folders, one without a suffix, beside what is none."""
    path = tmp_path / "study.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("b/wrist.png", png(0.9))
        archive.writestr("a/IM0001", png(0.2))
        archive.writestr("a/cut.png", png()[:200])
        archive.writestr("notes.txt", "no radiograph")
        archive.writestr("__MACOSX/._wrist.png", b"x")
        archive.writestr("inner.zip", b"PK\x03\x04")
    return path


def test_a_zip_is_read_member_by_member_like_the_files_in_it(study, make_bundle, tmp_path):
    classifier = load_model(make_bundle().path)
    pictures = tmp_path / "pictures"
    summary = predict([study], classifier, json=tmp_path / "r.json", overlay=pictures)
    assert (summary.read, summary.decisions) == (2, {"fracture": 1, "no_fracture": 1})
    reasons = {failure.path: failure.reason for failure in summary.failures}
    assert reasons == {f"{study}/a/cut.png": "truncated", f"{study}/inner.zip": "unsupported"}
    assert {p.name for p in pictures.iterdir()} == {"IM0001.overlay.png", "wrist.overlay.png"}
    (tmp_path / "wrist.png").write_bytes(png(0.9))
    alone = classifier.read(tmp_path / "wrist.png").probability
    assert classifier.read(Member(str(study), "b/wrist.png")).probability == alone


def test_a_zip_in_a_folder_is_looked_into(study, make_bundle):
    assert predict([study.parent], load_model(make_bundle().path)).read == 2


def test_members_are_listed_in_order_and_never_unpacked(study):
    before = sorted(study.parent.iterdir())
    names = [member.name for member in list_archive(study, MOST)]
    assert names == ["a/IM0001", "a/cut.png", "b/wrist.png", "inner.zip"]
    assert sorted(study.parent.iterdir()) == before


@pytest.mark.parametrize("name", ["../../evil.png", "/etc/evil.png", "C:\\evil.png", "a\nb.png"])
def test_a_members_name_leads_nowhere(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr(name, png())
    [member] = list_archive(tmp_path / "x.zip", MOST)
    assert read_source(member, MOST) == png()
    assert [p.name for p in tmp_path.iterdir()] == ["x.zip"]


def refusal(source) -> str:
    with pytest.raises(RadiographError) as error:
        read_source(source, MOST)
    assert "\n" not in str(error.value)
    return error.value.reason


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_a_pipe_or_a_device_called_zip_is_refused_and_not_waited_for(tmp_path, kind):
    path = tmp_path / "x.zip"
    os.mkfifo(path) if kind == "pipe" else path.symlink_to("/dev/zero")
    decoders = Decoders(DecodingLimits(seconds=5))
    said = f"{path}: a pipe or device, not a file; name a file"
    failures = [Failure(str(path), said, "not_a_file")]
    try:
        assert list(find_sources([path], decoders)) == failures
        [(answer, _)] = decoders.ask(Member(str(path), "a.png"), {"do": "unpack"})
        assert (answer["error"], answer["reason"]) == (said, "not_a_file")
    finally:
        decoders.close()


def test_a_bomb_is_refused_by_what_it_says_and_by_what_it_gives(tmp_path):
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.png", bytes(50 * MOST))
    assert path.stat().st_size < MOST / 10
    assert refusal(Member(str(path), "bomb.png")) == "too_large"
    data = bytearray(path.read_bytes())
    lie = (1000).to_bytes(4, "little")
    for magic, at in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        place = data.index(magic) + at
        data[place : place + 4] = lie
    liar = tmp_path / "liar.zip"
    liar.write_bytes(data)
    assert refusal(Member(str(liar), "bomb.png")) in ("too_large", "damaged")


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
@pytest.mark.parametrize("name", ["bomb.png", "IM0001"])
def test_what_is_packed_as_no_radiograph_can_be_is_not_unpacked(tmp_path, method, name):
    """Neither to be listed nor to be read, and whatever it says of its size."""
    path, size = tmp_path / "bomb.zip", 32 * 2**20
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr(name, bytes(size))
    data = bytearray(path.read_bytes())
    liar, place = tmp_path / "liar.zip", data.rindex(b"PK\x01\x02") + 24
    data[place : place + 4] = (1000).to_bytes(4, "little")
    liar.write_bytes(data)
    for archive, reason in ((path, "too_large"), (liar, "damaged")):
        tracemalloc.start()
        try:
            [member] = list_archive(archive, size)
            with pytest.raises(RadiographError) as refused:
                read_source(member, size)
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert refused.value.reason == reason
        assert most < size
        close_archive()


@pytest.mark.parametrize("size", [100, 600, 100_000])
def test_what_bzip2_packed_is_read_as_it_was(tmp_path, size):
    content = np.random.default_rng(0).integers(0, 4, size, dtype=np.uint8).tobytes()
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("a.png", content)
    assert read_source(Member(str(tmp_path / "x.zip"), "a.png"), MOST) == content


def test_a_zip_whose_members_lie_over_each_other_is_refused(tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.png", png())
        archive.infolist()[0].compress_size *= 2
    with pytest.raises(RadiographError, match="lie over each other"):
        list(list_archive(path, MOST))


def test_an_archive_is_listed_however_many_and_long_its_members_names_are(tmp_path):
    path, decoders = tmp_path / "x.zip", Decoders()
    names = [f"{i:03}{'é' * 2000}.png" for i in range(500)]
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
        for i in range(1000):
            archive.writestr(f"notes/{i}.txt", b"none")
    try:
        assert list(find_sources([path], decoders)) == [Member(str(path), name) for name in names]
        # Each message has a time of its own.
        assert sum(1 for _ in decoders.ask(path, {"do": "list"})) == 15
    finally:
        decoders.close()


@pytest.mark.parametrize("reason", ["too_slow", "crashed"])
def test_an_archive_that_cannot_be_listed_is_to_be_unpacked(study, monkeypatch, reason):
    def break_off(self, source, request):
        raise RadiographError("export it again", reason=reason)
        yield

    monkeypatch.setattr(Decoders, "ask", break_off)
    [failure] = find_sources([study], Decoders())
    assert failure.reason == reason
    assert failure.error.startswith(f"{study}: an archive ")
    assert failure.error.endswith("; unpack it")


def test_members_of_names_that_no_file_could_have_are_one_failure_that_is_gone_on_with(
    study, make_bundle, tmp_path
):
    with zipfile.ZipFile(study, "a") as archive:
        archive.writestr("\x01" * 60_000 + ".jpg", png())
        archive.writestr("\x01" * 4000 + ".jpg", b"none")
    model, out = load_model(make_bundle().path), tmp_path / "r.csv"
    summary = predict([study], model, csv=out)
    assert (summary.read, summary.failed) == (2, 4)
    said = f"{study}: 1 of its files have names of more than 4,096 bytes; give them shorter ones"
    assert summary.failures[-1].error == said
    assert predict([study], model, csv=out, resume=True).before == 6


def test_what_cannot_be_unpacked_says_why(study, tmp_path):
    assert refusal(Member(str(study), "none.png")) == "missing"
    assert refusal(Member(str(tmp_path / "none.zip"), "a.png")) == "missing"
    damaged = bytearray(study.read_bytes())
    damaged[60:90] = bytes(30)
    (tmp_path / "damaged.zip").write_bytes(damaged)
    assert refusal(Member(str(tmp_path / "damaged.zip"), "b/wrist.png")) == "damaged"
    secret = bytearray(study.read_bytes())
    for magic, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        secret[secret.index(magic) + at] |= 1
    (tmp_path / "secret.zip").write_bytes(secret)
    assert refusal(Member(str(tmp_path / "secret.zip"), "b/wrist.png")) == "unsupported"


def spoilt(path: Path, name: str, method: int, spoil) -> None:
    """A zip of a good member and one of `method`, whose bytes `spoil` changes in place."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("IM0001", png(0.9))
        archive.writestr(name, png(0.1), method)
        place = archive.getinfo(name)
    data = bytearray(path.read_bytes())
    local, listed = place.header_offset, data.rindex(b"PK\x01\x02")
    spoil(data, local, local + 30 + len(name), listed)
    path.write_bytes(data)


def encrypt(data, local, content, listed):
    data[local + 6] |= 1
    data[listed + 8] |= 1


def pack_otherwise(data, local, content, listed):
    data[local + 8 : local + 10] = data[listed + 10 : listed + 12] = (9).to_bytes(2, "little")


def damage(data, local, content, listed):
    data[content + 100 : content + 156] = b"\xff" * 56


def encrypt_strongly(data, local, content, listed):
    data[local + 6] |= 0x41
    data[listed + 8] |= 0x41


def ask_for_memory(data, local, content, listed):
    data[content + 5 : content + 9] = b"\xff\xff\xff\xff"  # the size of LZMA's dictionary


@pytest.mark.parametrize(
    ("method", "spoil", "reason", "says"),
    [
        (zipfile.ZIP_DEFLATED, encrypt, "unsupported", "encrypted"),
        (zipfile.ZIP_DEFLATED, encrypt_strongly, "unsupported", "encrypted"),
        (zipfile.ZIP_DEFLATED, pack_otherwise, "unsupported", "packed by a method"),
        (zipfile.ZIP_STORED, damage, "damaged", "a damaged zip"),
        (zipfile.ZIP_DEFLATED, damage, "damaged", "a damaged zip"),
        (zipfile.ZIP_BZIP2, damage, "damaged", "a damaged zip"),
        (zipfile.ZIP_LZMA, damage, "damaged", "a damaged zip"),
        (zipfile.ZIP_LZMA, ask_for_memory, "damaged", "a damaged zip"),
    ],
)
@pytest.mark.parametrize("name", ["IM0002", "encrypted.png"])
def test_a_bad_member_is_a_failure_of_its_own(
    tmp_path, make_bundle, name, method, spoil, reason, says
):
    path = tmp_path / "study.zip"
    spoilt(path, name, method, spoil)
    summary = predict([path], load_model(make_bundle().path))
    assert summary.read == 1
    assert [(one.path, one.reason) for one in summary.failures] == [(f"{path}/{name}", reason)]
    assert summary.failures[0].error.startswith(f"{path}/{name}: {says}")


def test_a_zip_in_a_zip_is_told_whatever_its_name(study, tmp_path, make_bundle):
    with zipfile.ZipFile(tmp_path / "outer.zip", "w") as archive:
        for name in ("inner.zip", "inner", "inner.jpg"):
            archive.write(study, name)
        archive.write(study, "report.docx")  # a document is a zip, too
    summary = predict([tmp_path / "outer.zip"], load_model(make_bundle().path))
    said = "a zip inside a zip is not read; unpack it"
    assert [one.error for one in summary.failures] == [
        f"{tmp_path / 'outer.zip'}/{name}: {said}" for name in ("inner", "inner.jpg", "inner.zip")
    ]


@pytest.mark.parametrize("name", ["study", "1.2.840.55", "study.jpg", "study.docx"])
def test_a_zip_that_is_named_is_known_by_its_content(study, make_bundle, name):
    renamed = study.rename(study.with_name(name))
    assert predict([renamed], load_model(make_bundle().path)).read == 2


def test_a_zip_under_another_name_in_a_folder_is_never_passed_over(study, make_bundle):
    model = load_model(make_bundle().path)
    folder = study.rename(study.with_name("study")).parent
    assert predict([folder], model).read == 2
    (folder / "study").rename(folder / "study.jpg")
    [failure] = predict([folder], model).failures
    assert failure.error == f"{folder / 'study.jpg'}: a zip archive, not a radiograph; unpack it"
    (folder / "study.jpg").rename(folder / "study.docx")
    with pytest.raises(RadiographError, match="no radiographs in there"):
        predict([folder], model)


def test_a_member_without_a_name_costs_the_others_nothing(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("anonymous.png", b"x")
        archive.writestr("b.png", b"x")
    content = (tmp_path / "x.zip").read_bytes()
    (tmp_path / "x.zip").write_bytes(content.replace(b"anonymous", b"\0nonymous"))
    assert [member.name for member in list_archive(tmp_path / "x.zip", MOST)] == ["b.png"]


def test_a_zip_that_took_anothers_place_is_read_anew(tmp_path):
    path = tmp_path / "x.zip"
    for content in (b"old", b"new"):
        with zipfile.ZipFile(tmp_path / "next.zip", "w") as archive:
            archive.writestr("a.png", content)
        (tmp_path / "next.zip").replace(path)
        assert read_source(Member(str(path), "a.png"), MOST) == content
    opened = [os.path.realpath(one) for one in Path("/proc/self/fd").iterdir()]
    assert str(path) in opened
    assert f"{path} (deleted)" not in opened


def test_of_members_with_one_name_the_last_is_read_and_the_others_are_told(tmp_path, make_bundle):
    path = tmp_path / "twice.zip"
    with zipfile.ZipFile(path, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, level in (("a.png", 0.9), ("b.png", 0.5), ("a.png", 0.1), ("notes.txt", 0.5)):
            archive.writestr(name, png(level) if name != "notes.txt" else "none")
        archive.writestr("notes.txt", "none")
    summary = predict([path], load_model(make_bundle().path), json=tmp_path / "r.json")
    records = json.loads((tmp_path / "r.json").read_text())
    assert [one["path"] for one in records] == [f"{path}/a.png", f"{path}/b.png", str(path)]
    assert records[0]["decision"] == "no_fracture"
    assert summary.read == 2
    [failure] = summary.failures
    assert failure.error.startswith(f"{path}/a.png: another file of the same name comes later")


@pytest.mark.parametrize("cut", [0, 10, 300, 700])
def test_a_zip_that_is_cut_off_is_one_failure(study, make_bundle, tmp_path, cut):
    broken = tmp_path / "broken.zip"
    broken.write_bytes(study.read_bytes()[:cut])
    good = tmp_path / "good.png"
    good.write_bytes(png(0.9))
    summary = predict([broken, good], load_model(make_bundle().path))
    assert summary.read == 1
    [failure] = summary.failures
    assert isinstance(failure, Failure)
    assert failure.path == str(broken)
    assert failure.reason == "damaged"


def dicomdir(tmp_path, images=(("DIR", "IM1"),), undefined=False):
    """A DICOMDIR of some images. undefined: whether its sequence and records end by a mark, not by
    a length."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, MediaStorageDirectoryStorage, generate_uid

    records = []
    for kind, where in (("PATIENT", None), *(("IMAGE", list(image)) for image in images)):
        record = Dataset()
        record.is_undefined_length_sequence_item = undefined
        record.OffsetOfTheNextDirectoryRecord = 0
        record.RecordInUseFlag = 0xFFFF
        record.OffsetOfReferencedLowerLevelDirectoryEntity = 0
        record.DirectoryRecordType = kind
        if where is not None:
            record.ReferencedFileID = where
        records.append(record)
    directory = Dataset()
    directory.file_meta = FileMetaDataset()
    directory.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    directory.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    directory.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    directory.FileSetID = "TEST"
    directory.OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity = 0
    directory.OffsetOfTheLastDirectoryRecordOfTheRootDirectoryEntity = 0
    directory.FileSetConsistencyFlag = 0
    directory.DirectoryRecordSequence = records
    directory["DirectoryRecordSequence"].is_undefined_length = undefined
    path = tmp_path / "cd" / "DICOMDIR"
    path.parent.mkdir()
    directory.save_as(path, enforce_file_format=True)
    return path


def test_a_dicomdir_leads_to_its_files_and_to_no_others(tmp_path, make_bundle):
    nowhere = [("..", "secret"), ("DIR/IM2",), ("A\0B", "IM3"), ("DIR", "", "IM4"), ()]
    path = dicomdir(tmp_path, [*nowhere, ("DIR", "IM1")])
    (path.parent / "DIR").mkdir()
    (path.parent / "DIR" / "IM1").write_bytes(png(0.9))
    model = load_model(make_bundle().path)
    summary = predict([path], model)
    assert summary.read == 1
    [failure] = summary.failures
    assert (failure.path, failure.reason) == (str(path), "unsupported")
    assert "does not say where in its folder 5 of its images lie" in failure.error
    # A folder is searched whatever its DICOMDIR says.
    assert predict([path.parent], model).read == 1


def test_a_dicomdir_that_is_none_is_one_failure(tmp_path, make_bundle):
    (tmp_path / "DICOMDIR").write_bytes(b"nothing of the kind")
    summary = predict([tmp_path / "DICOMDIR"], load_model(make_bundle().path))
    assert [failure.reason for failure in summary.failures] == ["damaged"]


@pytest.mark.parametrize("undefined", [False, True])
def test_a_dicomdir_that_is_cut_off_anywhere_says_so(tmp_path, undefined):
    path = dicomdir(tmp_path, [("IM1",), ("IM2",), ("IM3",)], undefined)
    whole, files = path.read_bytes(), [path.parent / f"IM{i}" for i in (1, 2, 3)]
    assert list(list_archive(path, MOST)) == files
    counts = set()
    for end in range(1, len(whole), 7):
        path.write_bytes(whole[:end])
        *listed, error = list_archive(path, MOST)
        assert listed == files[: len(listed)]
        assert str(error).startswith(f"{path}: a damaged DICOMDIR")
        assert error.reason == "damaged"
        counts.add(len(listed))
    assert counts >= {0, 1, 2}


def test_a_dicomdir_has_one_row_at_most_of_its_own(tmp_path):
    """Rows of one path are a file's frames, by which a stopped run is gone on with."""
    path = dicomdir(tmp_path, [("..", "secret"), ("IM1",), ("IM2",)])
    path.write_bytes(path.read_bytes()[:-10])
    *_, first, error = list_archive(path, MOST)
    assert first == path.parent / "IM1"
    assert error.reason == "damaged"


def test_what_a_damaged_dicomdir_lists_is_read(tmp_path, make_bundle):
    path = dicomdir(tmp_path, [("IM1",), ("IM2",)])
    for name in ("IM1", "IM2"):
        (path.parent / name).write_bytes(png(0.9))
    path.write_bytes(path.read_bytes()[:-10])
    summary = predict([path], load_model(make_bundle().path))
    assert summary.read == 1
    assert [(one.path, one.reason) for one in summary.failures] == [(str(path), "damaged")]


@pytest.mark.parametrize("lies", ["dir/im1", "DIR/IM1.;1", "Dir./IM1."])
def test_a_dicomdirs_files_are_found_as_a_file_system_shows_them(tmp_path, lies):
    path = dicomdir(tmp_path, [("DIR", "IM1"), ("DIR", "IM2")])
    file = path.parent / lies
    file.parent.mkdir()
    file.write_bytes(png())
    assert list(list_archive(path, MOST)) == [file, file.parent / "IM2"]


def test_a_name_as_a_dicomdir_writes_it_goes_before_its_likes(tmp_path):
    path = dicomdir(tmp_path, [("IM1",), ("im2",)])
    for name in ("IM1", "im1", "IM2", "im2"):
        (path.parent / name).write_bytes(png())
    assert list(list_archive(path, MOST)) == [path.parent / "IM1", path.parent / "im2"]


def test_a_renamed_dicomdir_is_known_by_its_content(tmp_path, make_bundle):
    path = dicomdir(tmp_path)
    renamed = path.rename(path.with_name("index.dcm"))
    assert list(list_archive(renamed, MOST)) == [path.parent / "DIR" / "IM1"]
    (path.parent / "DIR").mkdir()
    (path.parent / "DIR" / "IM1").write_bytes(png(0.9))
    model = load_model(make_bundle().path)
    assert predict([renamed], model).read == 1
    plain = renamed.rename(path.with_name("DICOMDIR.old"))
    summary = predict([plain.parent], model)
    assert (summary.read, summary.failed) == (1, 0)


def test_a_file_that_is_named_and_listed_besides_is_read_once(tmp_path, make_bundle):
    path = dicomdir(tmp_path)
    image = path.parent / "DIR" / "IM1"
    image.parent.mkdir()
    image.write_bytes(png(0.9))
    model = load_model(make_bundle().path)
    assert predict([*path.parent.iterdir()], model).read == 1
    assert predict([image, path.parent, path, image], model).read == 1
