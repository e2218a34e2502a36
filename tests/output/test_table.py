import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from kirik.bundle import Manifest
from kirik.errors import SettingsError
from kirik.operating_points import OperatingPoints
from kirik.output.table import counts_line, failures_list, print_table, readings_table
from kirik.output.words import REASONS, network_words
from kirik.preprocessing import Preprocessing
from kirik.reading.reading import Failure, Reading


def reading(path="wrist.png", decision="fracture", probability=0.91, **said) -> Reading:
    return Reading(
        path, decision, probability, {"not_fractured": 0.09, "fractured": 0.91}, "wrist 1", **said
    )


FAILED = Failure("bad.png", "bad.png: truncated; copy it again", "truncated")


def text_of(renderable, **options) -> str:
    console = Console(width=120, **options)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("en", ["fracture", "uncertain", "no fracture", "not a medical device", "0.910"]),
        ("tr", ["kırık", "belirsiz", "kırık yok", "tıbbi cihaz değildir", "0,910"]),
    ],
)
def test_a_decision_is_worded_in_the_readers_language(language, words):
    shown = text_of(
        readings_table(
            [reading(), reading(decision="uncertain"), reading(decision="no_fracture")], language
        )
    )
    for word in words:
        assert word in shown


def test_a_decision_is_coloured_on_a_terminal_and_has_its_own_mark_elsewhere():
    results = [reading(), reading(decision="no_fracture")]
    assert "\x1b[1;31m" in text_of(readings_table(results), force_terminal=True)
    plain = text_of(readings_table(results))
    assert "\x1b" not in plain
    assert "● fracture" in plain
    assert "○ no fracture" in plain


def test_the_bar_is_as_long_as_the_probability_is_high():
    lengths = [
        text_of(readings_table([reading(probability=p)])).count("█") for p in (0, 0.25, 0.5, 1)
    ]
    assert lengths == [0, 3, 6, 12]


@pytest.mark.parametrize(("probability", "said"), [(0.9997, "0.999"), (0.0002, "0.001")])
def test_a_probability_never_rounds_to_certainty(probability, said):
    assert f" {said}" in text_of(readings_table([reading(probability=probability)]))


def test_hardware_that_the_model_sees_is_told_where_there_is_a_probability():
    seen = reading(attributes={"hardware": 0.9})
    assert "⚠ hardware, as the model sees it" in text_of(readings_table([seen]))
    assert "⚠ modele göre metal implant var" in text_of(readings_table([seen], "tr"))
    for other in (
        reading(attributes={"hardware": 0.4}),
        replace(seen, decision="out_of_scope", probability=None, probabilities={}),
    ):
        assert "hardware" not in text_of(readings_table([other]))


def test_a_class_of_fracture_is_shown_with_its_own_probability():
    result = Reading("a.png", "spiral", None, {"oblique": 0.2, "spiral": 0.8}, "types 1")
    shown = text_of(readings_table([result]))
    assert "spiral" in shown
    assert "0.800" in shown
    assert "Probability of the class" in shown


@pytest.mark.parametrize(
    ("language", "low", "said"),
    [
        ("en", 0.088, "no fracture below 0.088, fracture from 0.186, a person decides between"),
        ("tr", 0.088, "0,088 altında kırık yok, 0,186 ve üzerinde kırık; arada kararı bir insan"),
        ("en", 0.186, "no fracture below 0.186, fracture from there on"),
        ("tr", 0.186, "0,186 altında kırık yok, bu değerde ve üzerinde kırık"),
    ],
)
def test_a_low_probability_that_is_a_fracture_is_explained_once(language, low, said):
    one = reading(probability=0.2, points=OperatingPoints(low, 0.186))
    assert text_of(readings_table([one, one, FAILED], language)).count(said) == 1


def test_failures_warnings_and_what_is_left_out_are_said():
    shown = text_of(readings_table([reading(warnings=("low_resolution",)), FAILED], total=50))
    assert FAILED.error in shown
    assert "few pixels" in shown
    assert "and 48 more" in shown
    assert FAILED.error in text_of(failures_list([FAILED]))
    assert "more" not in text_of(failures_list([FAILED], total=1))
    assert "and 41 more, not shown" in text_of(failures_list([FAILED], total=42))
    assert counts_line(3, 1) == "3 read, 1 not read"
    assert counts_line(3, 0, "tr") == "3 radyografi okundu"


@pytest.mark.parametrize(("language", "said"), [("en", "(frame 2)"), ("tr", "(kare 2)")])
def test_frames_of_one_file_are_told_apart(language, said):
    shown = text_of(readings_table([replace(reading(), frame=frame) for frame in (1, 2)], language))
    assert said in shown


def test_a_hostile_name_neither_colours_nor_commands_the_terminal():
    shown = text_of(readings_table([reading("[red]a\x1b[2Jb\nc\udcff[/red].png")]))
    assert "[red]a" in shown
    assert "\x1b" not in shown
    shown.encode("utf-8")


def test_a_long_path_stays_whole_where_there_is_no_terminal(capsys):
    path = "/".join(["folder"] * 40) + "/film.png"
    print_table([reading(path)], "en")
    assert path in capsys.readouterr().out


def test_an_unknown_language_is_refused_with_those_there_are():
    with pytest.raises(SettingsError, match="'fr': kirik speaks en, tr"):
        readings_table([reading()], "fr")


def test_why_a_file_was_not_read_is_told_in_turkish_with_the_error_below():
    shown = text_of(failures_list([FAILED], "tr"))
    assert "okunamadı: bad.png: dosya yarım kalmış" in shown
    assert FAILED.error in shown
    other = Failure("odd.png", "odd.png: something else", "of a later kirik")
    assert text_of(failures_list([other], "tr")).count("odd.png") == 1


def test_each_reason_of_the_schema_is_worded_in_turkish():
    schema = json.loads((Path(__file__).parents[2] / "docs" / "reading.schema.json").read_text())
    reasons = schema["$defs"]["failure"]["properties"]["reason"]["enum"]
    assert set(reasons) == REASONS["tr"].keys()


@pytest.mark.parametrize(
    ("network", "words"),
    [
        ("mobilenet", "mobilenet"),
        ("mobilenet + mobilenet", "mobilenet ×2"),
        ("mobilenet + densenet169", "mobilenet + densenet169"),
    ],
)
def test_a_network_that_a_model_has_several_times_is_named_once(network, words):
    own = {"classes": ("spiral", "oblique"), "negative": None, "preprocessing": Preprocessing(64)}
    manifest = Manifest(name="two", network=network, **own)
    assert network_words(manifest, "en") == words
