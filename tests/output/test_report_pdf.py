import io
import shutil
import subprocess
import unicodedata
from datetime import UTC, datetime
from types import SimpleNamespace

import numpy as np
import pytest

from kirik.errors import SettingsError
from kirik.operating_points import OperatingPoints
from kirik.radiograph import radiograph_from_array
from kirik.reading.reading import Finding, Reading

report = pytest.importorskip("kirik.output.report_pdf", reason="needs pip install 'kirik[serve]'")

FILM = radiograph_from_array(np.linspace(0, 1, 96 * 64).reshape(96, 64))
POINTS = OperatingPoints(low=0.24, high=0.62)


def reading_of(decision: str = "fracture", probability: float | None = 0.9, **said) -> Reading:
    values = {
        "probabilities": {"not_fractured": 0.1, "fractured": 0.9},
        "model": "small, version 3",
        "points": POINTS,
        "findings": (Finding(16, 48, 16, 16, 0.97, (2.4, 7.1)),),
    }
    return Reading(None, decision, probability, **(values | said))


def text_of(pdf: bytes, tmp_path) -> str:
    if not shutil.which("pdftotext"):
        pytest.skip("needs pdftotext: apt-get install poppler-utils")
    path = tmp_path / "report.pdf"
    path.write_bytes(pdf)
    subprocess.run(["pdftotext", path], check=True)
    return " ".join(path.with_suffix(".txt").read_text().split())


def test_a_turkish_report_has_its_letters_its_comma_and_the_disclaimer(tmp_path):
    review = SimpleNamespace(
        agrees=False,
        decision="no_fracture",
        boxes=[{}],
        comment="İğne ucu <b>şüpheli</b> & ağrısız, öyle ıslak çığ",
        by="dr.aydın",
        at=datetime(2026, 11, 24, 10, 0, tzinfo=UTC),
    )
    pdf = report.report_pdf(
        reading_of(), FILM, None, "tr", name="Bileğin grafisi.jpg", reviews=[review]
    )
    said = text_of(pdf, tmp_path)
    for words in ("Kırık olasılığı: 0,90", "Bileğin grafisi.jpg", review.comment, "tıbbi cihaz"):
        assert words in said


def commented(comment: str, by: str = "dr.aydın") -> SimpleNamespace:
    """A review that agrees."""
    said = {"comment": comment, "by": by, "at": datetime(2026, 11, 24, 10, 0, tzinfo=UTC)}
    return SimpleNamespace(agrees=True, decision="fracture", boxes=[], **said)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("Agreed 👍🏽, see ulna", "Agreed [thumbs up sign], see ulna"),
        ("🦴 broken", "[bone] broken"),
        ("骨折 here", "[U+9AA8][U+6298] here"),
        ("odd \x07 \ud83d \u0378 end", "odd [U+0007] [U+D83D] [U+0378] end"),
        ("kırık → ✓ ≥ 2 mm", "kırık → ✓ ≥ 2 mm"),  # which the font has
    ],
)
def test_what_the_font_cannot_draw_is_named(tmp_path, said, shown):
    pdf = report.report_pdf(
        reading_of(), FILM, name=f"film {said}", reviews=[commented(said, f"dr {said}")]
    )
    # The file's name; who reviewed it, below the headline and in the list; and the comment.
    assert text_of(pdf, tmp_path).count(shown) == 4


@pytest.mark.parametrize(
    ("by", "language", "head", "listed"),
    [
        ("ada", "en", "Fracture Reviewed by ada: no fracture (disagrees with the model)", "ada ·"),
        ("ada", "tr", "Kırık Değerlendiren: ada – kırık yok (modele katılmıyor)", "ada ·"),
        (
            *("local", "en"),
            "Fracture Reviewed on this computer: no fracture (disagrees with the model)",
            "This computer ·",
        ),
        (
            *("local", "tr"),
            "Kırık Bu bilgisayarda değerlendirildi: kırık yok (modele katılmıyor)",
            "Bu bilgisayar ·",
        ),
    ],
)
def test_what_the_newest_review_says_stands_below_the_models_own_word(
    by, language, head, listed, tmp_path
):
    overruled = SimpleNamespace(**vars(commented("", by)) | {"agrees": False})
    overruled.decision = "no_fracture"
    reviews = [commented("", "someone"), overruled]
    said = text_of(report.report_pdf(reading_of(), FILM, None, language, reviews=reviews), tmp_path)
    whose = {"en": "The model's reading", "tr": "Modelin okuması"}[language]
    assert f"{whose} {head}" in said
    assert listed in said
    assert "local" not in said


def test_whose_word_the_headline_is_stands_above_it_without_a_review(tmp_path):
    said = text_of(report.report_pdf(reading_of(), FILM), tmp_path)
    assert "The model's reading Fracture Probability" in said


@pytest.mark.parametrize(
    ("marked", "pictures", "said"),
    [
        ({}, 2, "With evidence and findings"),
        ({"findings": (), "evidence": np.full((12, 8), 0.3, np.float32)}, 2, "With evidence"),
        ({"findings": (), "evidence": np.full((12, 8), 0.02, np.float32)}, 1, "no place stands"),
        ({"findings": ()}, 1, "this reading marks no place"),
    ],
)
def test_a_second_picture_is_there_only_where_something_is_to_be_seen_on_it(
    marked, pictures, said, tmp_path
):
    pdf = report.report_pdf(reading_of(**marked), FILM)
    assert pdf.count(b"/Subtype /Image") == pictures
    assert said in text_of(pdf, tmp_path)


def test_a_name_as_macos_takes_it_apart_has_its_letters_whole(monkeypatch):
    monkeypatch.setattr("reportlab.rl_config.invariant", 1)  # no date
    whole, apart = (
        report.report_pdf(reading_of(), FILM, name=unicodedata.normalize(form, "İçel Ğ şöför.jpg"))
        for form in ("NFC", "NFD")
    )
    assert whole == apart


def test_a_comment_keeps_its_lines(tmp_path):
    review = commented("distal radius <br/>\r\n\nulna styloid")
    pdf = report.report_pdf(reading_of(), FILM, None, "en", reviews=[review])
    assert "distal radius <br/> ulna styloid" in text_of(pdf, tmp_path)
    lines = (tmp_path / "report.txt").read_text().splitlines()
    assert "distal radius <br/>" in [line.strip() for line in lines]
    assert "ulna styloid" in [line.strip() for line in lines]


@pytest.mark.parametrize("language", ["en", "tr"])
@pytest.mark.parametrize(
    "reading",
    [
        reading_of("uncertain", 0.4, warnings=("low_resolution",)),
        reading_of("no_fracture", 0.0001, findings=()),
        reading_of("out_of_scope", None, probabilities={}, findings=(), points=None),
        reading_of(
            "transverse", None, probabilities={"transverse": 0.7, "oblique": 0.3}, points=None
        ),
    ],
    ids=lambda reading: reading.decision,
)
def test_every_decision_makes_a_report(reading, language, tmp_path):
    pdf = report.report_pdf(reading, FILM, None, language)
    assert pdf.startswith(b"%PDF-")
    assert io.BytesIO(pdf).read()[-6:].strip() == b"%%EOF"


def test_a_probability_never_rounds_to_certainty(tmp_path):
    said = text_of(report.report_pdf(reading_of(probability=0.9996), FILM), tmp_path)
    assert "Probability of a fracture: 0.999" in said
    assert "about 99 of 100" in said


def test_a_probability_is_told_as_exactly_as_the_points_that_it_lies_between(tmp_path):
    said = text_of(report.report_pdf(reading_of("uncertain", 0.6179), FILM), tmp_path)
    assert "Probability of a fracture: 0.618" in said
    assert "Between 0.240 and 0.620" in said
    assert "0 0.240 0.620 1" in said


@pytest.mark.parametrize(
    ("low", "high", "scale"),
    [
        (0.0328, 0.2513, "0.033 0.251 1"),  # an end gives way
        (0.4, 0.45, "0 0.400 – 0.450 1"),
        (0.0328, 0.0412, "0.033 – 0.041 1"),
        (0.5, 0.5, "0 0.500 1"),
    ],
)
def test_the_scale_tells_both_points_wherever_they_lie(low, high, scale, tmp_path):
    reading = reading_of(points=OperatingPoints(low=low, high=high))
    said = text_of(report.report_pdf(reading, FILM), tmp_path)
    assert f"fracture: 0.900 {scale} At or above" in said


def test_a_language_that_kirik_does_not_speak_is_refused():
    with pytest.raises(SettingsError, match="en, tr"):
        report.report_pdf(reading_of(), FILM, None, "de")
