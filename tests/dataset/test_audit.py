"""An audit finds each planted defect, and says of a data set without any that it is ready."""

import base64
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from audit_images import index_of, jpeg, record, save, scene
from PIL import Image

from kirik.dataset.audit import KINDS, SEVERITIES, audit
from kirik.dataset.audit_page import choose_samples, summary_lines, write_audit
from kirik.dataset.audit_texts import CLEAN, FINDINGS
from kirik.dataset.audit_words import FACTS, TURKISH, WORDS
from kirik.dataset.index import Defect
from kirik.dataset.phantoms import write_phantoms
from kirik.dataset.sources import load_index

BOX = (10.0, 10.0, 40.0, 30.0)


@pytest.fixture(scope="module")
def sick(tmp_path_factory):
    """The audit of a data set in which everything is wrong that can be."""
    root = tmp_path_factory.mktemp("sick")
    exif = Image.Exif()
    exif[0x0112] = 8
    lying = np.ascontiguousarray(np.rot90(scene(40), -1))
    noise = jpeg(np.random.default_rng(0).integers(0, 256, (200, 160), np.uint8))
    files = [
        ("good.png", scene(1), 0, (BOX,)),
        ("byte1.jpg", jpeg(scene(2)), 0, (BOX,)),
        ("byte2.jpg", jpeg(scene(2)), 0, ()),
        ("opposite.jpg", jpeg(scene(2), quality=70), 1, ()),
        ("gray.png", scene(3), 1, ()),
        ("colour.png", np.stack([scene(3)] * 3, axis=-1), 1, ()),
        ("mirrored.png", np.ascontiguousarray(np.fliplr(scene(3))), 1, ()),
        ("negative.png", 255 - scene(6), 0, ((500.0, 10.0, 40.0, 30.0), BOX)),
        ("boxed.png", scene(5), 1, (BOX,)),
        ("outside.png", scene(6), 0, ((100.0, 10.0, 40.0, 30.0), (5.0, 5.0, 0.0, 9.0))),
        ("cut.jpg", noise[: len(noise) // 2], 1, ()),
        ("text.jpg", b"hello", 1, ()),
    ]
    records = [
        record(save(root / name, content), label, boxes=boxes, region=("hand",), group=name[:4])
        for name, content, label, boxes in files
    ]
    records.append(record(save(root / "lying.jpg", jpeg(lying, exif=exif)), 0, boxes=(BOX,)))
    defects = (
        Defect("missing_file", ("gone.png",), "line 7: no such file"),
        Defect("something_new", ("odd.png",), "never heard of"),
    )
    return audit(index_of(root, records, defects=defects), workers=0)


def ids(found, kind):
    return next((set(one.ids) for one in found.findings if one.kind == kind), set())


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("byte_duplicate", {"byte1.jpg", "byte2.jpg"}),
        ("near_duplicate", {"byte1.jpg", "opposite.jpg"}),
        ("pixel_duplicate", {"gray.png", "colour.png"}),
        ("turned_duplicate", {"gray.png", "mirrored.png"}),
        ("opposite_labels", {"byte1.jpg", "byte2.jpg", "opposite.jpg"}),
        ("boxes_on_negative", {"boxed.png"}),
        ("box_outside_image", {"outside.png"}),
        ("box_beyond_image", {"negative.png"}),
        ("inverted_duplicate", {"outside.png", "negative.png"}),
        ("truncated", {"cut.jpg"}),
        ("undecodable", {"text.jpg"}),
        ("exif_orientation", {"lying.jpg"}),
        ("missing_file", {"gone.png"}),
        ("other", {"odd.png"}),
    ],
)
def test_each_planted_defect_is_found_and_nothing_else_of_its_kind(sick, kind, expected):
    assert ids(sick, kind) == expected


def test_findings_come_gravest_first_and_once_each(sick):
    kinds = [one.kind for one in sick.findings]
    assert kinds == [kind for kind in KINDS if kind in kinds]
    grave = [SEVERITIES.index(one.severity) for one in sick.findings]
    assert grave == sorted(grave)


def test_what_asks_for_nothing_within_kirik_is_only_good_to_know(sick):
    [turned] = [one for one in sick.findings if one.kind == "exif_orientation"]
    assert turned.severity == "know"


def test_a_box_without_area_and_one_beyond_the_border_are_two_cases(sick):
    items = next(one.items for one in sick.findings if one.kind == "box_outside_image")
    assert [item.detail.split(" / ")[1] for item in items] == ["120×150", "120×150"]


def test_counts_boxes_and_groups(sick):
    assert sick.index.counts() == {"fractured": 6, "not_fractured": 7}
    assert sick.decodable == 11
    assert sick.tables["region"] == {"fractured": {"hand": 5}, "not_fractured": {"hand": 7}}
    assert "hardware" not in sick.tables
    assert (sick.boxes.boxes, sick.boxes.radiographs, sick.boxes.fractured_without) == (8, 6, 1)
    assert (sick.groups.groups, sick.groups.radiographs, sick.groups.largest) == (11, 12, 2)
    assert sick.groups.of_several_classes == 0


def test_the_median_box_is_measured_on_the_stored_side(tmp_path):
    path = save(tmp_path / "a.png", scene(1, 200, 100))
    boxes = ((0.0, 0.0, 10.0, 20.0),)
    found = audit(index_of(tmp_path, [record(path, 0, boxes=boxes)]), workers=0)
    assert found.boxes.median_share == pytest.approx(0.1)


def test_a_box_of_a_lying_file_is_judged_by_the_stored_size(sick):
    assert "lying.jpg" not in ids(sick, "box_outside_image")


def test_json_is_plain_versioned_and_without_paths_of_the_machine(sick, tmp_path):
    sick.write_json(tmp_path / "audit.json")
    text = (tmp_path / "audit.json").read_text(encoding="utf-8")
    said = json.loads(text)
    assert (said["format"], said["version"]) == ("kirik-audit", 1)
    assert said["counts"] == {"fractured": 6, "not_fractured": 7}
    assert {one["kind"] for one in said["findings"]} == {one.kind for one in sick.findings}
    truncated = next(one for one in said["findings"] if one["kind"] == "truncated")
    assert truncated["classes"] == {"not_fractured": 1}
    assert truncated["items"][0]["ids"] == ["cut.jpg"]
    assert said["duplicates"]["byte"] == [["byte1.jpg", "byte2.jpg"]]
    assert str(sick.index.root.parent) not in text


@pytest.mark.parametrize("language", ["en", "tr"])
def test_the_page_is_one_file_that_names_every_finding(sick, tmp_path, language):
    write_audit(sick, tmp_path / "audit.html", language)
    page = (tmp_path / "audit.html").read_text(encoding="utf-8")
    assert f'lang="{language}"' in page
    for one in sick.findings:
        assert FINDINGS[language][one.kind][0] in page
    assert "cut.jpg" in page
    assert "http://" not in page
    assert "https://" not in page
    assert page.count("data:image/jpeg;base64,") >= 10


@pytest.mark.parametrize("language", ["en", "tr"])
def test_a_page_without_findings_has_no_section_of_them(sick, tmp_path, language):
    heading = f"<h2>{WORDS[language]['defects']}</h2>"
    for number, findings in enumerate((sick.findings, ())):
        write_audit(replace(sick, findings=findings), tmp_path / f"{number}.html", language)
    assert heading in (tmp_path / "0.html").read_text(encoding="utf-8")
    assert heading not in (tmp_path / "1.html").read_text(encoding="utf-8")


def test_boxes_are_drawn_where_the_upright_radiograph_shows_them(tmp_path):
    """One bright square, stored lying: the frame must surround it in the upright picture."""
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = np.zeros((200, 300), np.uint8)
    stored[20:60, 30:90] = 200
    path = save(tmp_path / "a.png", stored, exif=exif)
    index = index_of(tmp_path, [record(path, 0, boxes=((30.0, 20.0, 60.0, 40.0),))])
    uri = choose_samples(audit(index, workers=0))["fractured"][0].image
    picture = _decoded(uri)
    assert picture.shape[:2] == (240, 160)
    red, blue = picture[..., 0].astype(int), picture[..., 2].astype(int)
    rows, columns = np.nonzero(red - blue > 120)
    # Upright, x is 200 − y and y is x of the stored file; the picture is 0.8 of its size.
    assert (columns.min(), columns.max()) == (pytest.approx(109, abs=3), pytest.approx(147, abs=3))
    assert (rows.min(), rows.max()) == (pytest.approx(21, abs=3), pytest.approx(75, abs=3))


def _decoded(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))))


def test_ids_are_escaped_in_the_page(tmp_path):
    path = save(tmp_path / "<b>&.jpg", b"hello")
    write_audit(audit(index_of(tmp_path, [record(path)]), workers=0), tmp_path / "a.html")
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;&amp;.jpg" in page
    assert "<b>&.jpg" not in page


def test_long_lists_are_cut_with_the_number_that_is_left(tmp_path):
    path = save(tmp_path / "a.png", scene(1))
    defects = [Defect("missing_file", (f"gone{i:03}.png",)) for i in range(250)]
    write_audit(
        audit(index_of(tmp_path, [record(path)], defects=defects), workers=0), tmp_path / "a.html"
    )
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "gone199.png" in page
    assert "gone200.png" not in page
    assert "and 50 more" in page


def test_the_summary_says_the_verdict_first_and_speaks_turkish(sick):
    english, turkish = summary_lines(sick, "en"), summary_lines(sick, "tr")
    assert english[0] == "13 radiographs (6 fractured, 7 not fractured), 11 can be read"
    assert english[1].startswith("Not ready for training")
    assert "  - Truncated files: 1 radiograph" in english
    assert "  - Yarım kalmış dosyalar: 1 radyografi" in turkish
    assert len(english) == len(turkish)


@pytest.mark.parametrize("content", [b"", b"hello", jpeg(scene(1))[:300]])
def test_a_data_set_in_which_every_file_is_bad_says_so(tmp_path, content):
    records = [record(save(tmp_path / f"{i}.jpg", content), i % 2) for i in range(10)]
    found = audit(index_of(tmp_path, records), workers=0)
    assert found.decodable == 0
    assert found.findings[0].kind == "nothing_decodes"
    assert "This data set cannot be used as it is." in summary_lines(found)
    assert not any(line.startswith("  +") for line in summary_lines(found))
    write_audit(found, tmp_path / "a.html", "tr")
    assert "Okunabilir radyografi yok." in (tmp_path / "a.html").read_text(encoding="utf-8")


def test_an_empty_class_and_an_empty_data_set_are_audited(tmp_path):
    records = [record(save(tmp_path / f"{i}.png", scene(i)), 0) for i in range(3)]
    found = audit(index_of(tmp_path, records), workers=0)
    kinds = {one.kind for one in found.findings}
    assert {"one_class", "few_radiographs"} <= kinds
    assert found.index.counts() == {"fractured": 3, "not_fractured": 0}
    [few] = [line for line in summary_lines(found, "tr") if "Az radyografili" in line]
    assert few.endswith("(kırık: 3, kırık yok: 0)")
    write_audit(found, tmp_path / "a.html")
    empty = audit(index_of(tmp_path, []), workers=0)
    write_audit(empty, tmp_path / "b.html", "tr")
    assert "This data set cannot be used as it is." in summary_lines(empty)
    json.dumps(empty.to_json(), allow_nan=False)


def test_classes_of_which_none_means_no_fracture_are_told(tmp_path):
    records = [record(save(tmp_path / f"{i}.png", scene(i)), i % 2) for i in range(4)]
    types = index_of(tmp_path, records, classes=("spiral", "not_sure"), negative=None)
    found = audit(types, workers=0)
    assert "no_negative" in {one.kind for one in found.of("should")}
    assert "  - No class means “no fracture” (spiral, not_sure)" in summary_lines(found)
    assert "rename it to normal" in FINDINGS["en"]["no_negative"][2]
    write_audit(found, tmp_path / "a.html", "tr")
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert FINDINGS["tr"]["no_negative"][0] in page
    assert "yalnızca kopyaları bir arada tutar" in page  # as the split of such data says, too
    named = replace(types, negative=1)
    assert "no_negative" not in {one.kind for one in audit(named, workers=0).findings}


def test_phantoms_are_ready_for_training(tmp_path):
    write_phantoms(tmp_path / "set", count=80, seed=3, size=160, fractured_share=0.5)
    found = audit(load_index(tmp_path / "set"), workers=2)
    assert found.decodable == 80
    assert found.of("must") == ()
    write_audit(found, tmp_path / "a.html")
    assert "groups of duplicates and of neighbouring file numbers" in (
        tmp_path / "a.html"
    ).read_text(encoding="utf-8")
    assert "Nothing has to be mended before training." in summary_lines(found)
    assert found.boxes.radiographs == 40
    assert ids(found, "box_outside_image") == set()


def test_many_classes_of_dicom_files_and_png_are_audited(tmp_path):
    write_phantoms(
        tmp_path / "set",
        count=24,
        seed=1,
        size=160,
        form="folders",
        image_format="mixed",
        fractured_share=0.7,
    )
    found = audit(load_index(tmp_path / "set"), workers=0)
    assert found.decodable == 24
    assert len(found.index.classes) > 2
    formats = {name for counts in found.tables["format"].values() for name in counts}
    assert "DICOM" in formats
    write_audit(found, tmp_path / "a.html", "tr")
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert page.count("data:image/jpeg;base64,") == 24
    best = next(one.leaning for one in found.confounders)
    assert f'<span class="soft">{TURKISH.get(best, best)}</span><span class="bar">' in page


def test_both_languages_have_every_text():
    assert set(FINDINGS["en"]) == set(FINDINGS["tr"]) == set(KINDS)
    assert set(CLEAN["en"]) == set(CLEAN["tr"]) <= set(KINDS)
    assert set(FACTS["en"]) == set(FACTS["tr"])
    assert set(WORDS["en"]) == set(WORDS["tr"])
    for key, text in WORDS["en"].items():
        fields = {part.split("}")[0] for part in text.split("{")[1:]}
        assert fields == {part.split("}")[0] for part in WORDS["tr"][key].split("{")[1:]}
