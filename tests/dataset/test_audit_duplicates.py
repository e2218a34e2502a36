"""Copies are found, of every kind, and told apart from what only resembles."""

import numpy as np
import pytest
from audit_images import jpeg, save, scene

from kirik.dataset.duplicates import find_duplicates
from kirik.dataset.inspect import FileFacts, inspect_file


@pytest.fixture
def facts_of(tmp_path):
    """Facts of images by name: facts_of(a=pixels, b=bytes) → list of FileFacts."""

    def inspect(**images) -> list[FileFacts]:
        found = []
        for name, content in images.items():
            suffix = "jpg" if isinstance(content, bytes) else "png"
            found.append(inspect_file(name, save(tmp_path / f"{name}.{suffix}", content)))
        return found

    return inspect


def test_different_radiographs_are_no_duplicates(facts_of):
    found = find_duplicates(facts_of(**{f"s{i}": scene(i) for i in range(30)}))
    assert found.pairs() == ()


def test_identical_files_are_byte_duplicates_only(facts_of):
    found = find_duplicates(facts_of(a=jpeg(scene(1)), b=jpeg(scene(2)), c=jpeg(scene(1))))
    assert found.byte == (("a", "c"),)
    assert (found.pixel, found.near, found.turned) == ((), (), ())


def test_the_same_pixels_in_another_mode_are_pixel_duplicates_only(facts_of):
    colour = np.stack([scene(1)] * 3, axis=-1)
    found = find_duplicates(facts_of(a=scene(1), b=colour, c=scene(2)))
    assert found.pixel == (("a", "b"),)
    assert (found.byte, found.near) == ((), ())


def test_recompressed_brightened_cut_and_resized_copies_are_near_duplicates(facts_of):
    base = scene(1, 300, 240)
    found = find_duplicates(
        facts_of(
            base=base,
            recompressed=jpeg(base, quality=30),
            brighter=(base * 0.8 + 40).astype(np.uint8),
            cut=base[4:, 3:],
            smaller=base[::2, ::2],
            other=scene(2, 300, 240),
        )
    )
    bound = {pair.second for pair in found.near if pair.first == "base"}
    assert bound == {"recompressed", "brighter", "cut", "smaller"}
    assert all(pair.correlation > 0.97 for pair in found.near)
    assert "other" not in {i for ids in found.pairs() for i in ids}


@pytest.mark.parametrize("turn", [np.fliplr, np.flipud, np.rot90, np.transpose])
def test_mirrored_and_turned_copies_are_reported_apart_from_near_ones(facts_of, turn):
    turned = np.ascontiguousarray(turn(scene(1)))
    found = find_duplicates(facts_of(a=scene(1), b=turned, c=scene(2)))
    assert [(pair.first, pair.second) for pair in found.turned] == [("a", "b")]
    assert (found.near, found.pixel) == ((), ())
    assert ("a", "b") in found.pairs()


def test_a_uniform_image_resembles_nothing(facts_of):
    flat = {f"flat{i}": np.full((80, 60), 10 * i, np.uint8) for i in range(1, 5)}
    assert find_duplicates(facts_of(**flat, a=scene(1))).pairs() == ()


def test_files_that_do_not_decode_are_compared_by_bytes_alone(facts_of):
    found = find_duplicates(facts_of(a=b"hello", b=b"hello", c=b"other"))
    assert found.byte == (("a", "b"),)
    assert found.pairs() == (("a", "b"),)


def test_opposite_labels_name_every_copy_and_the_bond(facts_of):
    facts = facts_of(
        a=jpeg(scene(1)), b=jpeg(scene(1)), c=jpeg(scene(1), quality=60), d=scene(2), e=scene(3)
    )
    found = find_duplicates(facts, {"a": 0, "b": 0, "c": 1, "d": 0, "e": 1})
    assert found.opposite == (("near", ("a", "b", "c")),)
    agreeing = find_duplicates(facts, dict.fromkeys("abcde", 0))
    assert agreeing.opposite == ()


def test_copies_are_found_however_many_radiographs_lie_before_them():
    """More than are compared at once."""
    rng = np.random.default_rng(0)
    shown = [rng.random((48, 48)).astype(np.float32) for _ in range(300)]
    shown += [shown[290] + np.float32(0.01), shown[2].T.copy(), 1 - shown[280]]
    facts = [
        FileFacts(f"{i:03}", sha256=str(i), pixel_hash=str(i), thumbnail=one)
        for i, one in enumerate(shown)
    ]
    found = find_duplicates(facts)
    for pairs, bound in ((found.near, ("290", "300")), (found.turned, ("002", "301"))):
        assert [(pair.first, pair.second) for pair in pairs] == [bound]
    assert [(pair.first, pair.second) for pair in found.inverted] == [("280", "302")]


def test_one_or_no_file_has_no_duplicates(facts_of):
    assert find_duplicates([]).pairs() == ()
    assert find_duplicates(facts_of(a=scene(1))).pairs() == ()


def test_many_copies_are_one_set_and_stay_bound_to_their_near_ones(facts_of):
    copies = {f"copy{i}": jpeg(scene(1)) for i in range(6)}
    found = find_duplicates(facts_of(**copies, near=jpeg(scene(1), quality=50)))
    assert found.byte == (tuple(copies),)
    assert [(pair.first, pair.second) for pair in found.near] == [("copy0", "near")]


@pytest.mark.parametrize("quality", [95, 60])
def test_a_negative_is_an_inverted_copy_and_bound(facts_of, quality):
    """As exports make one that ignore MONOCHROME1."""
    facts = facts_of(a=scene(1), b=jpeg(255 - scene(1), quality), c=scene(2), d=255 - scene(3))
    found = find_duplicates(facts, {"a": 0, "b": 1, "c": 0, "d": 0})
    assert [(pair.first, pair.second) for pair in found.inverted] == [("a", "b")]
    assert -1 <= found.inverted[0].correlation < -0.99
    assert (found.near, found.turned, found.pixel) == ((), (), ())
    assert ("a", "b") in found.pairs()
    assert found.opposite == (("inverted", ("a", "b")),)
