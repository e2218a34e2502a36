"""Zips and DICOMDIRs: read without unpacking, and a hostile one is an error, not an accident."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from kirik.archives import Member, list_archive, read_source
from kirik.errors import RadiographError
from kirik.predict import predict
from kirik.reading.classifier import load_model
from kirik.reading.reading import Failure

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
    for member in list_archive(tmp_path / "x.zip", MOST):
        assert read_source(member, MOST) == png()
    assert [p.name for p in tmp_path.iterdir()] == ["x.zip"]


def refusal(source) -> str:
    with pytest.raises(RadiographError) as error:
        read_source(source, MOST)
    assert "\n" not in str(error.value)
    return error.value.reason


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


def test_a_member_without_a_name_costs_the_others_nothing(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("anonymous.png", b"x")
        archive.writestr("b.png", b"x")
    content = (tmp_path / "x.zip").read_bytes()
    (tmp_path / "x.zip").write_bytes(content.replace(b"anonymous", b"\0nonymous"))
    assert [member.name for member in list_archive(tmp_path / "x.zip", MOST)] == ["b.png"]


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


def dicomdir(tmp_path):
    """A DICOMDIR of two images, one of which it says lies outside of its folder."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, MediaStorageDirectoryStorage, generate_uid

    records = []
    for kind, where in (
        ("PATIENT", None),
        ("IMAGE", ["DIR", "IM1"]),
        ("IMAGE", ["..", "secret"]),
    ):
        record = Dataset()
        record.OffsetOfTheNextDirectoryRecord = 0
        record.RecordInUseFlag = 0xFFFF
        record.OffsetOfReferencedLowerLevelDirectoryEntity = 0
        record.DirectoryRecordType = kind
        if where:
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
    path = tmp_path / "cd" / "DICOMDIR"
    path.parent.mkdir()
    directory.save_as(path, enforce_file_format=True)
    return path


def test_a_dicomdir_leads_to_its_files_and_to_no_others(tmp_path, make_bundle):
    path = dicomdir(tmp_path)
    assert list(list_archive(path, MOST)) == [path.parent / "DIR" / "IM1"]
    (path.parent / "DIR").mkdir()
    (path.parent / "DIR" / "IM1").write_bytes(png(0.9))
    model = load_model(make_bundle().path)
    summary = predict([path], model)
    assert (summary.read, summary.failed) == (1, 0)
    # A folder is searched whatever its DICOMDIR says.
    assert predict([path.parent], model).read == 1


def test_a_dicomdir_that_is_none_is_one_failure(tmp_path, make_bundle):
    (tmp_path / "DICOMDIR").write_bytes(b"nothing of the kind")
    summary = predict([tmp_path / "DICOMDIR"], load_model(make_bundle().path))
    assert [failure.reason for failure in summary.failures] == ["damaged"]
