"""What a model costs, told before it ships; and what is left of its making."""

import pytest

from kirik import shipping
from kirik.bundle import Evidence
from kirik.dataset.sources import load_index
from kirik.dataset.split import Assignment, Split
from kirik.joining import average_bundles, cascade_bundles
from kirik.preprocessing import Preprocessing
from kirik.shipping import cost_of
from kirik.training.cost import network_cost
from kirik.training.settings import TrainingSettings


def test_what_several_cascades_begin_with_counts_once(make_bundle, tmp_path):
    def network(name: str, size: int):
        settings = TrainingSettings(network="test_resnet", size=size)
        return make_bundle(
            name,
            preprocessing=Preprocessing(size=size),
            evidence=Evidence(stride=8, threshold=0.5, boxes=True),
            provenance={"settings": settings.model_dump()},
        )

    def cascade(overview, looks: int, close_ups: int):
        name = f"{overview.manifest.name}{looks}{close_ups}"
        return cascade_bundles(
            overview, closer, tmp_path / name, name, looks=looks, close_ups=close_ups
        )

    overview, other, closer = network("a", 96), network("b", 96), network("closer", 64)
    whole, patch = (
        network_cost(TrainingSettings(network="test_resnet", size=size), evidence=True)
        for size in (96, 64)
    )
    one, two, apart = cascade(overview, 3, 1), cascade(overview, 2, 0), cascade(other, 2, 0)
    for members, overviews, patches in (
        ([one, two], 1, 6),
        ([one, apart], 2, 6),
        ([one, two, apart], 2, 8),
    ):
        name = f"mean{len(members)}{overviews}"
        mean = average_bundles([m.path for m in members], tmp_path / name, name)
        cost = cost_of(mean)
        expected = overviews * whole["gflops"] + patches * patch["gflops"]
        assert cost["gflops"] == pytest.approx(expected, abs=1e-3)
        expected = overviews * whole["parameters"] + len(members) * patch["parameters"]
        assert cost["parameters"] == pytest.approx(expected, abs=1e-3)
    assert cost_of(one)["size"] == 256


def test_examples_are_looked_for_among_all_that_can_be_read(save_radiograph, tmp_path, monkeypatch):
    monkeypatch.setattr(shipping, "COMPARED", 2)
    for name, level in (("a", 0.2), ("b", 0.3), ("c", 0.4), ("d", 0.5)):
        path = save_radiograph(f"{'normal' if name in 'ac' else 'fractured'}/{name}.png", level)
    index = load_index(path.parents[1])
    records = sorted(index.records, key=lambda record: record.path.name)
    for record in records[:2]:
        record.path.write_bytes(b"damaged")
    split = Split("s", {r.id: Assignment(r.id, r.id, "dev", 1) for r in index.records})
    assert len(shipping.examples_of(index, split)) == 2
