"""A radiograph gets the same answer by whatever way it comes, and records keep their form."""

import csv
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from PIL import Image

from dicom.helpers import content_of, dicom
from kirik.archives import Member
from kirik.bundle import shipped_models
from kirik.cli import run
from kirik.operating_points import OperatingPoints
from kirik.predict import predict
from kirik.reading.classifier import load_model
from kirik.reading.reading import Failure, Reading

SCHEMA = json.loads((Path(__file__).parents[1] / "docs" / "reading.schema.json").read_text())
FRACATLAS = Path(__file__).parents[2] / "shared" / "fracatlas" / "images"
VALID = Draft202012Validator(SCHEMA)


@pytest.fixture
def pixels() -> np.ndarray:
    """uint8 [300, 200]: a bright bone with a gap on dark ground."""
    film = np.full((300, 200), 70, np.uint8)
    film[:, 70:130] = 215
    film[140:150] = 110
    return film + np.random.default_rng(0).integers(0, 8, film.shape).astype(np.uint8)


@pytest.fixture
def ways(pixels, tmp_path) -> Path:
    """The radiograph as PNG, in a zip, and as DICOM: plain, windowed, inverted, one of frames."""
    folder = tmp_path / "ways"
    folder.mkdir()
    Image.fromarray(pixels).save(folder / "film.png")
    with zipfile.ZipFile(folder / "study.zip", "w") as archive:
        archive.write(folder / "film.png", "inside/film.png")
    twelve = pixels.astype(np.uint16) * 16 + 5
    window = {"WindowCenter": 2048 + 5, "WindowWidth": 255 * 16}
    files = {
        "plain.dcm": dicom(pixels, 8),
        "windowed.dcm": dicom(twelve, 12, **window),
        "inverted.dcm": dicom(255 - pixels, 8, PhotometricInterpretation="MONOCHROME1"),
        "frames.dcm": dicom(pixels, 8, NumberOfFrames=2, PixelData=pixels.tobytes() * 2),
    }
    for name, dataset in files.items():
        (folder / name).write_bytes(content_of(dataset))
    return folder


def test_every_way_to_a_radiograph_gives_the_same_probability(ways, pixels, make_bundle, tmp_path):
    classifier = load_model(make_bundle().path)
    one = classifier.read(ways / "film.png")
    assert classifier.read(pixels).probability == one.probability
    assert classifier.read(Member(str(ways / "study.zip"), "inside/film.png")).probability == (
        one.probability
    )
    for batch_size, workers in ((1, 1), (3, 2), (16, 5)):
        some = [ways / "film.png"] * 4
        many = classifier.read_many(some, batch_size=batch_size, workers=workers)
        assert [reading.probability for reading in many] == pytest.approx([one.probability] * 4)
    out, table = tmp_path / "r.json", tmp_path / "r.csv"
    words = ["predict", ways, "--model", classifier.bundle.path, "--json", out, "--csv", table]
    assert run([str(word) for word in words]) == 0
    records = json.loads(out.read_text())
    assert len(records) == 7
    for record in records:
        within = 0.02 if ".dcm" in record["path"] else 1e-6
        assert record["probability"] == pytest.approx(one.probability, abs=within)
        assert record["decision"] == one.decision
    with table.open(newline="") as file:
        assert [float(row["probability"]) for row in csv.DictReader(file)] == [
            record["probability"] for record in records
        ]
    frames = [record["frame"] for record in records if "frames.dcm" in record["path"]]
    assert frames == [1, 2]


@pytest.mark.real
@pytest.mark.skipif(not FRACATLAS.is_dir(), reason="needs FracAtlas in ../shared")
@pytest.mark.parametrize("model", shipped_models())
def test_a_shipped_model_answers_alike_for_a_radiograph_and_its_dicom_twins(tmp_path, model):
    """As a device keeps it: windowed, 12 bits, and inverted."""
    classifier = load_model(model)
    films = [*sorted(FRACATLAS.glob("Fractured/*"))[::45], *sorted(FRACATLAS.glob("Non*/*"))[::300]]
    if model != "small":  # how a twin is decoded is nothing to the model
        films = films[::6]
    readings = [r for r in classifier.read_many(films) if isinstance(r, Reading)]
    assert len(readings) > len(films) / 2
    paths = []
    for number, reading in enumerate(readings):
        pixels = np.asarray(Image.open(reading.source).convert("L"))
        twelve = pixels.astype(np.uint16) * 16 + 5
        window = {"WindowCenter": 2045.5, "WindowWidth": 4081}  # from 5 to 4085
        inverse = {"PhotometricInterpretation": "MONOCHROME1"}
        twins = [dicom(twelve, 12, **window), dicom(255 - pixels, 8, **inverse)]
        for kind, twin in enumerate(twins):
            if pixels.size % 2 and kind == 1:
                twin.PixelData += b"\0"
            paths.append(tmp_path / f"{number}-{kind}.dcm")
            paths[-1].write_bytes(content_of(twin))
    for number, found in enumerate(classifier.read_many(paths)):
        reading = readings[number // 2]
        assert found.decision == reading.decision, reading.source
        if reading.probability is not None:
            assert found.probability == pytest.approx(reading.probability, abs=0.02)


def test_findings_are_in_millimetres_where_the_file_has_a_scale(pixels, make_bundle, tmp_path):
    path = tmp_path / "scaled.dcm"
    path.write_bytes(content_of(dicom(pixels, 8, PixelSpacing=[0.2, 0.1])))
    out = tmp_path / "r.json"
    always = make_bundle(operating_points=OperatingPoints(low=0, high=0))
    predict([path], load_model(always.path), json=out)
    [record] = json.loads(out.read_text())
    for box in record["findings"]:
        assert box["width_mm"] == pytest.approx(box["width"] * 0.1, abs=0.06)
        assert box["height_mm"] == pytest.approx(box["height"] * 0.2, abs=0.06)


def test_a_frame_that_is_damaged_costs_itself_alone(pixels, make_bundle, tmp_path):
    path = tmp_path / "cut.dcm"
    whole = content_of(dicom(pixels, 8, NumberOfFrames=3, PixelData=pixels.tobytes() * 3))
    path.write_bytes(whole[: -pixels.size // 2])
    results = list(load_model(make_bundle().path).read_many([path]))
    assert [type(result) for result in results] == [Reading, Reading, Failure]
    assert [result.frame for result in results] == [1, 2, 3]
    assert results[2].reason == "truncated"
    pictures = tmp_path / "pictures"
    summary = predict([path], load_model(make_bundle("again").path), overlay=pictures)
    assert (summary.read, summary.failed, summary.exit_code) == (2, 1, 1)
    assert {p.name for p in pictures.iterdir()} == {"cut-1.overlay.png", "cut-2.overlay.png"}


def test_every_record_is_as_the_schema_says(ways, make_bundle, tmp_path):
    Draft202012Validator.check_schema(SCHEMA)
    (ways / "bad.png").write_text("no")
    (ways / "cut.dcm").write_bytes((ways / "frames.dcm").read_bytes()[:-100])
    classes = {"classes": ("not_fractured", "spiral", "oblique"), "negative": 0}
    types = {"classes": ("spiral", "oblique"), "negative": None, "operating_points": None}
    for name, said in (("two", {}), ("three", classes), ("types", types)):
        out = tmp_path / f"{name}.json"
        predict([ways], load_model(make_bundle(name, **said).path), json=out)
        records = json.loads(out.read_text())
        assert len(records) == 10
        for record in records:
            VALID.validate(record)
    assert not VALID.is_valid({"path": "a", "decision": "fracture"})
    assert not VALID.is_valid(records[0] | {"patient": "x"})
