"""Networks: each family builds, its shapes hold, starting weights land or are refused clearly."""

import pytest
import torch
from safetensors.torch import save_file

from kirik.errors import SettingsError, TrainingError
from kirik.training.checkpoint import PARTS, load_start, save_checkpoint
from kirik.training.networks import NETWORKS, find_network, smooth_maximum
from kirik.training.weights import build_network, load_weights


@pytest.mark.parametrize("name", ["mobilenet", "mobilenetv1", "densenet", "vit", "test_resnet"])
def test_a_family_gives_logits_embedding_and_map(name):
    network = build_network(name, classes=2, negative=0, size=96, evidence=True).eval()
    output = network(torch.zeros(2, 1, 96, 96, dtype=torch.uint8))
    assert output.logits.shape == (2, 2)
    assert output.embedding.shape[0] == 2
    side = output.evidence.shape[-1]
    assert output.evidence.shape == (2, 1, side, side)
    assert 96 % side == 0


@pytest.mark.parametrize("name", ["mobilenet", "densenet", "test_efficientnet"])
def test_frozen_layers_are_those_of_fine_cells_and_stay_so_in_training(name):
    network = build_network(name, classes=2, negative=0, size=64, evidence=True)
    counts = []
    for stride in (0, 2, 4, 8, 32):
        network.freeze(stride)
        frozen = [name for name, p in network.named_parameters() if not p.requires_grad]
        assert all(name.startswith("backbones.") for name in frozen)
        counts.append(len(frozen))
    assert counts[0] == 0
    assert counts == sorted(set(counts))
    network.freeze(4)
    before = {k: v.clone() for k, v in network.state_dict().items() if "running_mean" in k}
    network.train()(torch.randint(0, 255, (2, 1, 64, 64))).logits.sum().backward()
    after = network.state_dict()
    moved = [not torch.equal(before[k], after[k]) for k in before]
    assert not moved[0]
    assert moved[-1]
    assert moved == sorted(moved)


@pytest.mark.parametrize(("name", "stride"), [("vit", 8), ("hrnet_w18_small", 4)])
def test_a_network_without_stages_or_modules_of_their_names_stays_free(name, stride):
    network = build_network(name, classes=2, negative=0, size=64)
    network.freeze(stride)
    assert all(p.requires_grad for p in network.parameters())


def test_a_name_of_timms_with_the_tag_of_its_weights_is_built():
    network = build_network("test_resnet.r160_in1k", classes=2, negative=0, size=64)
    plain = build_network("test_resnet", classes=2, negative=0, size=64)
    assert [*network.state_dict()] == [
        name.replace("test_resnet", "test_resnet_r160_in1k") for name in plain.state_dict()
    ]


def test_the_ensemble_concatenates_the_features_of_its_members():
    network = build_network("ensemble", classes=3, negative=None, size=64).eval()
    output = network(torch.zeros(1, 1, 64, 64, dtype=torch.uint8))
    assert output.embedding.shape == (1, 1664 + 1280 + 192)
    assert output.logits.shape == (1, 3)
    assert output.evidence is None


def test_every_name_that_the_help_promises_is_known():
    for name in [*NETWORKS, "mobilenet", "densenet", "resnet18"]:
        assert find_network(name).members


@pytest.mark.parametrize(
    ("typed", "meant"), [("mobilnet", "mobilenet"), ("desnet169", "densenet169"), ("Vit", "vit")]
)
def test_an_unknown_network_is_refused_with_the_nearest_names(typed, meant):
    with pytest.raises(SettingsError, match=f"unknown network '{typed}'.*{meant}"):
        find_network(typed)


def test_the_map_lowers_the_negative_class_where_it_lights_up():
    network = build_network("test_resnet", classes=2, negative=0, size=64, evidence=True).eval()
    logits, evidence = torch.zeros(1, 2), torch.full((1, 1, 8, 8), -4.0)
    dark = network._add_evidence(logits, evidence)
    evidence[..., 3, 3] = 6.0
    lit = network._add_evidence(logits, evidence)
    assert lit[0, 0] < dark[0, 0]
    assert lit[0, 1] == dark[0, 1]


def test_the_smooth_maximum_lies_between_mean_and_maximum():
    evidence = torch.randn(5, 1, 10, 10)
    score = smooth_maximum(evidence)
    assert (score <= evidence.amax(dim=(1, 2, 3))).all()
    assert (score >= evidence.mean(dim=(1, 2, 3))).all()


def test_priors_shift_probabilities_in_reading_and_not_in_training():
    network = build_network("test_resnet", classes=2, negative=0, size=64)
    network.set_priors(torch.tensor([0.5, 0.5]), torch.tensor([0.8, 0.2]))
    image = torch.zeros(1, 1, 64, 64, dtype=torch.uint8)
    read = network.eval()(image).logits.softmax(1)[0]
    network.prior_shift.zero_()
    balanced = network(image).logits.softmax(1)[0]
    odds = ((read[1] / read[0]) / (balanced[1] / balanced[0])).detach()
    assert float(odds) == pytest.approx(0.25, rel=1e-4)


def test_colour_weights_in_half_precision_without_head_are_loaded(tmp_path):
    import timm

    colour = timm.create_model("test_resnet", in_chans=3, num_classes=0).state_dict()
    halves = {k: (v.half() if v.ndim > 1 else v).contiguous() for k, v in colour.items()}
    save_file(halves, tmp_path / "w.safetensors")
    gray = timm.create_model("test_resnet", in_chans=1, num_classes=0)
    load_weights(gray, tmp_path / "w.safetensors")
    summed = halves["conv1.0.weight"].float().sum(dim=1, keepdim=True)
    torch.testing.assert_close(gray.state_dict()["conv1.0.weight"], summed)


def test_positions_of_a_vit_are_resampled_to_another_size(tmp_path):
    import timm

    trained = timm.create_model("test_vit", in_chans=1, num_classes=0, img_size=160)
    save_file(trained.state_dict(), tmp_path / "test_vit.safetensors")
    network = build_network(
        "test_vit", classes=2, negative=0, size=96, weights=str(tmp_path), evidence=False
    )
    assert network(torch.zeros(1, 1, 96, 96)).logits.shape == (1, 2)


def test_positions_of_a_vit_without_a_class_token_are_resampled_too(tmp_path):
    import timm

    bare = {"in_chans": 1, "num_classes": 0, "class_token": False, "global_pool": "avg"}
    trained = timm.create_model("test_vit", img_size=160, **bare)
    save_file(trained.state_dict(), tmp_path / "w.safetensors")
    smaller = timm.create_model("test_vit", img_size=96, **bare)
    load_weights(smaller, tmp_path / "w.safetensors")
    corner = smaller.state_dict()["pos_embed"][0, 0], trained.state_dict()["pos_embed"][0, 0]
    assert torch.nn.functional.cosine_similarity(*corner, dim=0) > 0.5


@pytest.mark.parametrize(
    ("own", "anew", "begun"),
    [
        ({}, (), []),
        ({}, ("head",), ["head"]),
        ({"classes": 3}, (), ["head"]),
        ({"attributes": 5}, (), ["attributes"]),
        ({"attributes": 2}, ("attributes",), ["attributes"]),
        ({"attributes": 0, "evidence": False}, (), []),
        ({"theirs": {"evidence": False, "attributes": 0}}, (), ["evidence map", "attributes"]),
    ],
)
def test_what_tells_other_things_than_the_run_before_begins_anew_and_the_rest_goes_on(
    tmp_path, own, anew, begun
):
    kinds = {"classes": 2, "negative": 0, "size": 64, "evidence": True, "attributes": 2}
    before = build_network("test_resnet", **kinds | own.pop("theirs", {}))
    save_checkpoint(tmp_path / "w.safetensors", {"network": before}, None, {})
    network = build_network("test_resnet", **kinds | own)
    fresh, theirs = ({k: t.clone() for k, t in n.state_dict().items()} for n in (network, before))
    assert load_start(tmp_path / "w.safetensors", network, anew) == begun
    parts = tuple(prefix for part in begun for prefix in PARTS[part])
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, (fresh if name.startswith(parts) else theirs)[name]), name
    other = build_network("test_efficientnet", **kinds)
    with pytest.raises(TrainingError, match="not a usable checkpoint of this run"):
        load_start(tmp_path / "w.safetensors", other, ())


def test_another_networks_weights_are_refused(tmp_path):
    import timm

    save_file(timm.create_model("test_vit").state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(SettingsError, match="another network's weights"):
        build_network(
            "test_resnet", classes=2, negative=0, size=64, weights=str(tmp_path / "w.safetensors")
        )


@pytest.mark.parametrize(
    ("theirs", "own"),
    [("densenet169", "densenet121"), ("densenet121", "densenet169"), ("resnet34", "resnet18")],
)
def test_weights_of_a_deeper_or_shallower_network_are_refused(tmp_path, theirs, own):
    """More than half of their names and shapes are the same, or all."""
    import timm

    with torch.device("meta"):
        shapes = {k: v.shape for k, v in timm.create_model(theirs).state_dict().items()}
    network = timm.create_model(own, in_chans=1, num_classes=0)
    save_file({k: torch.zeros(shape) for k, shape in shapes.items()}, tmp_path / "w.safetensors")
    with pytest.raises(SettingsError, match=r"w.safetensors: only \d+ of its \d+ tensors fit"):
        load_weights(network, tmp_path / "w.safetensors")


def test_a_wider_vits_weights_are_another_networks(tmp_path):
    import timm

    wide = {k: v.clone() for k, v in timm.create_model("test_vit").state_dict().items()}
    for name in ("cls_token", "pos_embed"):
        wide[name] = torch.cat([wide[name]] * 2, dim=2)
    network = timm.create_model("test_vit", in_chans=1, num_classes=0)
    save_file({k: v for k, v in wide.items() if v.ndim == 3}, tmp_path / "w.safetensors")
    with pytest.raises(SettingsError, match="another network's weights"):
        load_weights(network, tmp_path / "w.safetensors")


def test_absent_and_damaged_weights_are_named(tmp_path):
    with pytest.raises(SettingsError, match=r"nowhere.safetensors: no such starting weights"):
        build_network("test_resnet", classes=2, negative=0, size=64, weights="nowhere.safetensors")
    (tmp_path / "w.safetensors").write_bytes(b"not tensors at all")
    with pytest.raises(SettingsError, match=r"w.safetensors: not a readable safetensors"):
        build_network(
            "test_resnet", classes=2, negative=0, size=64, weights=str(tmp_path / "w.safetensors")
        )
