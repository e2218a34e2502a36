"""The model card says what is known of a model, and no more."""

import pytest

from brightness import STRIDE
from kirik.bundle import Bundle, Evidence
from kirik.card import model_card, with_card
from kirik.joining import average_bundles, cascade_bundles
from kirik.operating_points import OperatingPoints

OWN, WIDE, CLOSE = "the model is kirik's own", "of wide radiographs", "of close ones"
FIGURES = {"out_of_fold": {"auroc": [0.9, 0.8, 0.95]}}


@pytest.fixture
def average(tmp_path, make_bundle):
    """An average of models of these seeds (None: not known), with these provenances."""

    def make(*seeds: int | None, provenance=FIGURES, **theirs) -> Bundle:
        said = {"split": "own", "data_sha256": "abc"} | theirs
        places = [
            make_bundle(
                f"m{number}",
                provenance=said | ({} if seed is None else {"settings": {"seed": seed}}),
            ).path
            for number, seed in enumerate(seeds)
        ]
        return average_bundles(places, tmp_path / "mean", "mean", provenance=provenance)

    return make


@pytest.mark.parametrize(
    ("seeds", "said"),
    [
        ((0, 0), "; of one seed, so that"),
        ((1, 0, 1), "; of the seeds 0 and 1, each network trained once, so that"),
        ((0, None), "; of the seeds 0 and others that are not known, each network trained once"),
        ((None, None), "; of trainings whose seed is not known, so that"),
    ],
)
def test_a_card_tells_of_which_seeds_its_figures_are(average, seeds, said):
    bundle = average(*seeds)
    assert said in model_card(bundle.manifest, bundle.members)
    assert "; of trainings whose seed is not known," in model_card(bundle.manifest)


def test_a_card_tells_the_seeds_of_both_networks_of_a_cascade(tmp_path, make_bundle):
    evidence = Evidence(stride=STRIDE, threshold=0.5, boxes=True)
    first, second = (
        make_bundle(name, evidence=evidence, provenance={"settings": {"seed": seed}})
        for seed, name in enumerate(("wide", "close"))
    )
    said = FIGURES | {"settings": {"seed": 1}}
    both = cascade_bundles(first, second, tmp_path / "c", "c", looks=2, provenance=said)
    assert "of the seeds 0 and 1" in model_card(both.manifest, both.members)


def test_a_network_of_an_unknown_seed_has_no_made_up_one(make_bundle):
    assert "seed not known" in model_card(make_bundle().manifest)
    known = make_bundle("known", provenance=FIGURES | {"settings": {"seed": 7}}).manifest
    assert "seed 7" in model_card(known)
    assert "; of one seed, so that" in model_card(known)


@pytest.mark.parametrize("own", [{}, {"notes": [WIDE]}])
def test_the_card_of_an_average_has_the_notes_that_all_its_models_have(tmp_path, make_bundle, own):
    notes = {"a": [WIDE, OWN], "b": [OWN, CLOSE]}
    places = [make_bundle(name, provenance={"notes": of}).path for name, of in notes.items()]
    bundle = average_bundles(places, tmp_path / "mean", "mean", provenance=own)
    card = model_card(bundle.manifest, bundle.members)
    assert card.count(f"- {OWN}\n") == 1
    assert (f"- {WIDE}\n" in card) == bool(own)
    assert CLOSE not in card


def test_an_average_of_any_models_gets_a_card_of_what_is_known_of_them(average):
    plain = average(0, 1, provenance=None)
    assert "card.md" not in plain.files
    bundle = with_card(plain)
    assert bundle.manifest == plain.manifest
    assert bundle.members == plain.members
    card = bundle.read("card.md").decode()
    assert "An average of 2 models" in card
    assert "- split own; SHA-256 of the data abc\n" in card
    assert "m0 (members/m0/card.md), m1 (members/m1/card.md)" in card
    assert "they are the means of its models' own" in card
    assert "None" not in card
    assert with_card(bundle).read("card.md") == bundle.read("card.md")


def test_a_card_says_nothing_in_common_of_models_of_different_data(tmp_path, make_bundle):
    places = [make_bundle(name, provenance={"split": name}).path for name in ("a", "b")]
    bundle = average_bundles(places, tmp_path / "mean", "mean")
    card = model_card(bundle.manifest, bundle.members)
    assert "- split" not in card
    assert "None" not in card


def test_points_that_nothing_chose_are_told_as_such(make_bundle):
    halves = make_bundle(operating_points=OperatingPoints(0.5, 0.5)).manifest
    assert "they are 0.5" in model_card(halves)


def test_a_card_tells_what_its_calls_are_worth_where_fractures_are_rarer(make_bundle):
    points = OperatingPoints(
        *(0.1, 0.5),
        wanted_sensitivity=0.95,
        wanted_specificity=0.9,
        fractured=200,
        not_fractured=800,
    )
    said = {"out_of_fold": {"error_in_fracture": [80 / 240, 0.2, 0.4]}}
    # Of 1,000 radiographs, 160 of 200 fractured ones and 80 of 800 others are called fracture; at
    # one in ten these are 80 and 90, at one in twenty 40 and 95.
    card = model_card(make_bundle(operating_points=points, provenance=said).manifest)
    assert "Calibrated where 20% were fractured" in card
    assert "33% here, 53% where 10% are fractured, 70% where 5% are fractured" in card
    none_right = {"out_of_fold": {"error_in_fracture": [1.0, 0.5, 1.0]}}
    hopeless = model_card(make_bundle("h", operating_points=points, provenance=none_right).manifest)
    assert "those that it calls fracture are not.\n" in hopeless
    unmeasured = model_card(make_bundle("own", operating_points=points).manifest)
    assert "those that it calls fracture are not.\n" in unmeasured
