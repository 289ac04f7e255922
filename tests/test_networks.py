"""Tests of the papers' networks: sizes, features, options, derivatives, refusals."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from helpers import refused
from torch import nn
from torch.testing import assert_close

from nlmeta import bilevel
from nlmeta.models import (
    CNN8,
    VGG19BN,
    CIFARResNet,
    PreActResNet,
    ResNet9,
    TextMLP,
    WideResNet,
    resnet50,
    with_features,
)
from nlmeta.models.base import normalisation
from nlmeta.models.resnet import PreActBlock
from nlmeta.seeding import seeded

# As narrow as the options allow, at the papers' depth; C = 3. With each the width of the features
# and the pixels of its images, None for words.
NETWORKS = {
    "CNN8": (lambda seed=1: CNN8(3, seed=seed), 256, 8),
    "VGG19BN": (lambda seed=1: VGG19BN(3, width=2, seed=seed), 16, 32),
    "ResNet-18": (lambda seed=1: CIFARResNet(18, 3, width=4, seed=seed), 32, 8),
    "ResNet-18, group": (
        lambda seed=1: CIFARResNet(18, 3, width=4, norm="group", seed=seed),
        32,
        8,
    ),
    "ResNet-32": (lambda seed=1: CIFARResNet(32, 3, width=4, seed=seed), 16, 8),
    "ResNet-34": (lambda seed=1: CIFARResNet(34, 3, width=2, seed=seed), 16, 8),
    "PreActResNet-18": (lambda seed=1: PreActResNet(18, 3, width=4, seed=seed), 32, 8),
    "PreActResNet-18, CLID-MU": (
        lambda seed=1: PreActResNet(18, 3, width=4, final_norm=False, activated="all", seed=seed),
        32,
        8,
    ),
    "PreActResNet-32, MLNT": (
        lambda seed=1: PreActResNet(32, 3, width=4, activated="none", seed=seed),
        16,
        8,
    ),
    "WRN-40-1": (lambda seed=1: WideResNet(40, 1, 3, seed=seed), 64, 8),
    "WRN-10-2, dropout": (lambda seed=1: WideResNet(10, 2, 3, dropout=0.3, seed=seed), 128, 8),
    "WRN-10-2, MLC": (lambda seed=1: WideResNet(10, 2, 3, negative_slope=0.01, seed=seed), 128, 8),
    "ResNet-9": (lambda seed=1: ResNet9(3, width=2, seed=seed), 16, 8),
    "ResNet-50": (lambda seed=1: resnet50(3, seed=seed), 2048, 32),
    "TextMLP": (lambda seed=1: TextMLP(40, 3, dimension=4, hidden=(9, 6), seed=seed), 6, None),
    "TextMLP, given vectors": (
        lambda seed=1: TextMLP(draw(40, 4), 3, hidden=(9, 6), seed=seed),
        6,
        None,
    ),
    "TextMLP, summed": (
        lambda seed=1: TextMLP(40, 3, dimension=4, hidden=(9, 6), summed=True, seed=seed),
        6,
        None,
    ),
}
every_network = pytest.mark.parametrize(
    ("make", "dimension", "size"), NETWORKS.values(), ids=NETWORKS.keys()
)
every_image_network = pytest.mark.parametrize(
    ("make", "size"),
    [(make, size) for make, _, size in NETWORKS.values() if size],
    ids=[name for name, (_, _, size) in NETWORKS.items() if size],
)


def draw(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def inputs(size, n=4, *, seed=0, dtype=torch.float64):
    """Images of `size` pixels, or windows of three words out of 40."""
    if size is None:
        return torch.randint(40, (n, 3), generator=torch.Generator().manual_seed(seed))
    return draw(n, 3, size, size, seed=seed, dtype=dtype)


def size_of(make):
    """Number of parameters, without memory for them."""
    with torch.device("meta"):
        return sum(p.numel() for p in make().parameters())


# Sizes


@pytest.mark.parametrize(
    ("make", "published"),
    [
        # He et al., CVPR 2016, table 6: 0.46M; 464,154 by several public re-implementations.
        (lambda: CIFARResNet(32, 10, seed=0), 464_154),
        # Table of sizes, counted by thop, in the README of a public copy of kuangliu/pytorch-cifar.
        (lambda: CIFARResNet(18, 10, seed=0), 11_173_962),
        (lambda: CIFARResNet(34, 10, seed=0), 21_282_122),
        (lambda: VGG19BN(10, seed=0), 20_040_522),
        # The same table, and the README of Adversarial-Defenses-PyTorch.
        (lambda: PreActResNet(18, 10, final_norm=False, seed=0), 11_171_146),
        # With the final norm: ResNetV2-18 in the README of a public collection in flax.
        (lambda: PreActResNet(18, 10, seed=0), 11_172_170),
        # Zagoruyko and Komodakis, BMVC 2016: 36.5M and 2.2M; the integers by public
        # re-implementations (36,479,194 in the README of Adversarial-Defenses-PyTorch).
        (lambda: WideResNet(28, 10, 10, seed=0), 36_479_194),
        (lambda: WideResNet(40, 2, 10, seed=0), 2_243_546),
        # WideResNet-28-2 in the README of the collection in flax.
        (lambda: WideResNet(28, 2, 10, seed=0), 1_467_610),
        # `ResNet50_Weights.IMAGENET1K_V1.meta["num_params"]` of torchvision.
        (lambda: resnet50(1000, seed=0), 25_557_032),
    ],
)
def test_a_network_has_the_published_number_of_parameters(make, published):
    assert size_of(make) == published


def convolution(before, after, size=3, *, bias=False):
    return size**2 * before * after + bias * after


def linear(before, after):
    return before * after + after


def test_sizes_that_nobody_published_follow_from_the_layers():
    """A norm layer has two numbers per channel."""
    pairs = [(3, 64), (64, 64), (64, 128), (128, 128), (128, 196), (196, 196)]
    cnn8 = sum(convolution(*pair, bias=True) + 2 * pair[1] for pair in pairs)
    cnn8 += linear(196 * 4 * 4, 256) + 2 * 256 + linear(256, 10)
    assert size_of(lambda: CNN8(10, seed=0)) == cnn8

    w = 64
    pairs = [(3, w), (w, 2 * w), (2 * w, 2 * w), (2 * w, 2 * w), (2 * w, 4 * w), (4 * w, 8 * w)]
    pairs += [(8 * w, 8 * w)] * 2
    resnet9 = sum(convolution(*pair) + 2 * pair[1] for pair in pairs) + linear(8 * w, 10)
    assert size_of(lambda: ResNet9(10, seed=0)) == resnet9

    preact32 = convolution(3, 32) + 2 * 128 + linear(128, 10)
    for before, width in ((32, 32), (32, 64), (64, 128)):
        preact32 += 2 * before + convolution(before, width) + 2 * width + convolution(width, width)
        preact32 += convolution(before, width, 1) if before != width else 0
        preact32 += 4 * (4 * width + 2 * convolution(width, width))
    assert size_of(lambda: PreActResNet(32, 10, seed=0)) == preact32

    text = 300 * 50 + linear(150, 256) + linear(256, 256) + linear(256, 25)
    assert size_of(lambda: TextMLP(300, 25, seed=0)) == text


def test_group_norm_has_as_many_parameters_as_batch_norm():
    for norm in ("batch", "group"):
        assert size_of(lambda norm=norm: CIFARResNet(18, 10, norm=norm, seed=0)) == 11_173_962


# What every network does


@every_network
def test_features_are_what_the_last_layer_saw(make, dimension, size):
    model, seen = make().double(), []
    model.classifier.register_forward_hook(lambda _, given, __: seen.append(given[0]))
    logits, features = with_features(model, inputs(size))
    assert logits.shape == (4, 3)
    assert features.shape == (4, dimension)
    assert model.classifier.in_features == dimension
    assert torch.equal(features, seen[0])
    assert torch.equal(model.classifier(features), logits)
    assert logits.std(0).min() > 1e-6  # the inputs get through


@every_network
def test_asking_for_features_does_not_change_the_logits(make, dimension, size):
    model = make().double().eval()
    assert torch.equal(model(inputs(size), return_features=True)[0], model(inputs(size)))


@every_network
def test_one_seed_gives_one_network_and_another_seed_another(make, dimension, size):
    first, again, other = make(1).state_dict(), make(1).state_dict(), make(2).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    given = {"body.0.weight"} if make is NETWORKS["TextMLP, given vectors"][0] else set()
    drawn = {name for name in first if name.endswith("weight") and first[name].ndim > 1} - given
    assert len(drawn) >= 3
    assert not any(torch.equal(first[name], other[name]) for name in drawn)


@every_network
def test_building_a_network_neither_reads_nor_moves_the_global_generator(make, dimension, size):
    built = []
    for outside in (1, 2):
        torch.manual_seed(outside)
        before = torch.get_rng_state()
        built.append(make().state_dict())
        assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(built[0][name], built[1][name]) for name in built[0])


@every_image_network
def test_channels_last_gives_the_same_logits(make, size):
    """Other kernels, other order of sums; BatchNorm in training mode.

    Dropout is off, because PyTorch draws its mask in the order in which numbers lie in memory.
    """
    model, x = make().double(), inputs(size)
    for module in model.modules():
        module.train(not isinstance(module, nn.Dropout))
    want = model(x)
    model = model.to(memory_format=torch.channels_last)
    got = model(x.to(memory_format=torch.channels_last))
    assert want.abs().max() > 1e-3
    assert_close(got, want, rtol=1e-10, atol=1e-10)


# Derivatives


def check_transpose(model, x):
    """<u, J v> = <J' u, v>, with BatchNorm and dropout in training mode."""
    theta = bilevel.parameters(model)
    v = {name: draw(*p.shape, seed=k, dtype=p.dtype) for k, (name, p) in enumerate(theta.items())}
    with seeded(5, "dropout"):
        forward = bilevel.forward_pass(model, x)
        z_dot = bilevel.tangent(model, forward, v)
    for u in (draw(4, 3, seed=8, dtype=torch.float64), draw(4, 3, seed=9, dtype=torch.float64)):
        back = torch.autograd.grad(forward.logits, list(theta.values()), u, retain_graph=True)
        want = sum((g * v[name]).sum() for g, name in zip(back, theta, strict=True))
        assert want.abs() > 1e-3
        # Not 1e-12: up to 40 norms over as few as 4 numbers each magnify round-off.
        assert_close((u * z_dot).sum(), want, rtol=1e-9, atol=0)


@every_network
def test_forward_mode_is_the_transpose_of_reverse_mode(make, dimension, size):
    check_transpose(make().double(), inputs(size))


@pytest.mark.parametrize(
    "name", ["CNN8", "ResNet-9", "ResNet-18", "ResNet-32", "WRN-10-2, dropout"]
)
def test_forward_mode_is_that_transpose_with_channels_last_too(name):
    make, _, size = NETWORKS[name]
    model = make().double().to(memory_format=torch.channels_last)
    check_transpose(model, inputs(size).to(memory_format=torch.channels_last))


@every_network
def test_hypergradient_of_sample_weights_equals_double_backward(make, dimension, size):
    model = make().double()
    y, meta_y = torch.tensor([0, 2, 0, 1]), torch.tensor([1, 0, 0, 2])
    weights = torch.tensor([0.4, 1.0, 0.1, 0.7], dtype=torch.float64, requires_grad=True)

    def inner(logits):
        return (weights * F.cross_entropy(logits, y, reduction="none")).mean()

    def outer(network):
        with seeded(6, "dropout"):
            return F.cross_entropy(network(inputs(size, seed=3)), meta_y)

    results = {}
    for mode in ("exact", "jvp"):
        with seeded(5, "dropout"):
            forward = bilevel.forward_pass(model, inputs(size))
            results[mode] = bilevel.hypergradient(
                model, forward, inner, outer, [weights], lr=0.05, mode=mode
            )
    (want,), (got,) = results["exact"].gradients, results["jvp"].gradients
    assert want.abs().min() > 1e-8
    assert_close(got, want, rtol=1e-9, atol=1e-9 * want.abs().max().item())


@every_network
def test_running_statistics_move_once_and_from_the_recorded_batch(make, dimension, size):
    model, x, other = make().double(), inputs(size), inputs(size, seed=3)
    once = copy.deepcopy(model)
    v = {name: draw(*p.shape, dtype=p.dtype) for name, p in bilevel.parameters(model).items()}
    with seeded(5, "dropout"):
        once(x)
    with seeded(5, "dropout"):
        forward = bilevel.forward_pass(model, x)
        bilevel.tangent(model, forward, v)
        theta_hat = bilevel.virtual_step(model, forward.logits.square().sum(), lr=0.1)
        bilevel.outer_gradient(model, theta_hat, lambda network: network(other).sum())
    buffers = dict(model.named_buffers())
    assert all(torch.equal(buffers[name], b) for name, b in once.named_buffers())
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    assert all(norm.num_batches_tracked == 1 for norm in norms)
    batch_norm = make not in (NETWORKS["ResNet-18, group"][0], *text_networks())
    assert bool(norms) == batch_norm
    assert not norms or min(norm.running_mean.abs().max() for norm in norms) > 0


def text_networks():
    return [make for make, _, size in NETWORKS.values() if size is None]


# Images


@pytest.mark.parametrize(
    "make",
    [
        lambda: CNN8(3, in_channels=1, seed=0),
        lambda: CIFARResNet(18, 3, width=2, in_channels=1, seed=0),
        lambda: CIFARResNet(32, 3, width=2, in_channels=1, seed=0),
        lambda: PreActResNet(18, 3, width=2, in_channels=1, seed=0),
        lambda: PreActResNet(32, 3, width=2, in_channels=1, seed=0),
        lambda: WideResNet(10, 1, 3, in_channels=1, seed=0),
    ],
)
@pytest.mark.parametrize("shape", [(28, 28), (32, 32), (64, 64), (9, 30)])
def test_grey_images_of_other_sizes_work(make, shape):
    logits = make()(draw(2, 1, *shape))
    assert logits.shape == (2, 3)
    assert logits.isfinite().all()


@pytest.mark.parametrize("size", [32, 64, 70])
def test_vgg_takes_grey_images_from_32_pixels_on(size):
    assert VGG19BN(3, width=2, in_channels=1, seed=0)(draw(2, 1, size, size)).shape == (2, 3)


def test_images_of_32_pixels_pass_the_last_average_of_the_cnn_unchanged():
    model = CNN8(10, seed=0).eval()
    pool = next(m for m in model.body if isinstance(m, nn.AdaptiveAvgPool2d))
    seen = []
    pool.register_forward_hook(lambda _, given, result: seen.append((given[0], result)))
    model(draw(2, 3, 32, 32))
    assert seen[0][0].shape == (2, 196, 4, 4)
    assert torch.equal(*seen[0])


# Layers and options


@every_image_network
def test_convolutions_start_from_hes_normal_weights_and_no_bias(make, size):
    """Weights over sqrt(2 / (kernel * channels out)) have mean 0 and deviation 1.

    To five standard errors of N drawn numbers. torchvision draws those of ResNet-50 so too.
    """
    layers = [m for m in make().modules() if isinstance(m, nn.Conv2d)]
    z = torch.cat([(m.weight * (m.weight[:, 0].numel() / 2) ** 0.5).flatten() for m in layers])
    assert abs(z.std().item() - 1) < 5 / math.sqrt(2 * len(z))
    assert abs(z.mean().item()) < 5 / math.sqrt(len(z))
    assert not any(m.bias.any() for m in layers if m.bias is not None)


@pytest.mark.parametrize(
    ("channels", "groups"), [(64, 4), (512, 32), (16, 1), (4, 1), (3, 1), (196, 14), (17, 17)]
)
def test_groups_have_at_most_16_channels(channels, groups):
    layer = normalisation("group", channels)
    assert (layer.num_groups, layer.num_channels) == (groups, channels)


@pytest.mark.parametrize("norm", ["group", "batch"])
@pytest.mark.parametrize(
    "make",
    [
        lambda norm: CIFARResNet(18, 3, width=4, norm=norm, seed=0),
        lambda norm: CIFARResNet(32, 3, width=4, norm=norm, seed=0),
        lambda norm: PreActResNet(18, 3, width=4, norm=norm, seed=0),
        lambda norm: PreActResNet(32, 3, width=4, norm=norm, seed=0),
        lambda norm: WideResNet(10, 1, 3, norm=norm, seed=0),
    ],
)
def test_with_group_norm_a_batch_may_be_divided_and_with_batch_norm_it_may_not(make, norm):
    model, x = make(norm).double(), inputs(8, n=6)
    error = (torch.cat([model(x[:2]), model(x[2:])]) - model(x)).abs().max()
    assert error < 1e-12 if norm == "group" else error > 1e-3
    kinds = {type(m) for m in model.modules() if "Norm" in type(m).__name__}
    assert kinds == {nn.GroupNorm if norm == "group" else nn.BatchNorm2d}


def test_shortcuts_of_resnet_32_pad_with_zeros():
    """And those of ResNet-18 are 1x1 convolutions."""

    def shortcuts(model):
        return [m.shortcut for m in model.body if hasattr(m, "shortcut")]

    found = shortcuts(CIFARResNet(32, 10, seed=0))
    assert len(found) == 15
    changed = [s for s in found if not isinstance(s, nn.Identity)]
    assert len(changed) == 2
    x = draw(2, 16, 8, 8)
    padded = changed[0](x)
    assert padded.shape == (2, 32, 4, 4)
    assert torch.equal(padded[:, 8:24], x[:, :, ::2, ::2])
    assert not padded[:, :8].any()
    assert not padded[:, 24:].any()
    kernels = [
        s[0].kernel_size for s in shortcuts(CIFARResNet(18, 10, seed=0)) if len(list(s.children()))
    ]
    assert kernels == 3 * [(1, 1)]


def test_a_block_of_resnet_adds_its_shortcut_before_the_last_relu():
    block = next(m for m in CIFARResNet(18, 3, width=4, seed=0).body if hasattr(m, "shortcut"))
    x = draw(3, 4, 6, 6, seed=9)
    z = F.batch_norm(block.conv1(x), None, None, training=True).relu()
    z = F.batch_norm(block.conv2(z), None, None, training=True)
    assert (z + x).min() < -0.1
    assert_close(block(x), (z + x).relu())


@pytest.mark.parametrize("activated", ["projections", "none", "all"])
@pytest.mark.parametrize("projects", [True, False])
def test_a_block_without_a_branch_is_its_shortcut(activated, projects):
    """With the last convolution at 0 the block returns x or relu(norm(x)), through 1x1 or not."""
    after, stride = (6, 2) if projects else (4, 1)
    block = PreActBlock(4, after, stride, activated=activated)
    with torch.no_grad():
        for k, p in enumerate(block.parameters()):
            p.copy_(draw(*p.shape, seed=k))
        block.conv2.weight.zero_()
    x = draw(3, 4, 6, 6, seed=9)
    behind = {"projections": projects, "none": False, "all": True}[activated]
    want = F.relu(block.norm1(x)) if behind else x
    if projects:
        want = F.conv2d(want, block.shortcut.weight, stride=2)
    assert (F.relu(block.norm1(x)) - x).abs().max() > 0.1
    assert_close(block(x), want, rtol=0, atol=0)


def test_a_blocks_branch_is_norm_activation_convolution_twice():
    """And its slope and its stride are where they should be."""
    block = PreActBlock(4, 6, 2, activated="none", negative_slope=0.1)
    x = draw(3, 4, 6, 6, seed=9)
    z = F.leaky_relu(F.batch_norm(x, None, None, training=True), 0.1)
    z = F.conv2d(z, block.conv1.weight, stride=2, padding=1)
    z = F.leaky_relu(F.batch_norm(z, None, None, training=True), 0.1)
    want = F.conv2d(z, block.conv2.weight, padding=1) + block.shortcut(x)
    assert_close(block(x), want)


def test_features_without_final_norm_can_be_negative_and_with_it_not():
    x = inputs(8)
    for final_norm in (True, False):
        model = PreActResNet(18, 3, width=4, final_norm=final_norm, seed=0).double()
        features = with_features(model, x)[1]
        assert (features.min() < -1e-3) == (not final_norm)


def test_slope_reaches_every_activation_of_a_wide_resnet():
    model = WideResNet(10, 1, 3, negative_slope=0.2, seed=0)
    found = [m for m in model.modules() if isinstance(m, nn.LeakyReLU | nn.ReLU)]
    assert [m.negative_slope for m in found] == 4 * [0.2]  # three blocks, and behind them
    plain = WideResNet(10, 1, 3, seed=0)
    assert not any(isinstance(m, nn.LeakyReLU) for m in plain.modules())


def test_dropout_acts_in_training_only_and_off_it_draws_nothing():
    x = inputs(8)
    plain = WideResNet(10, 1, 3, seed=0).double()
    dropping = WideResNet(10, 1, 3, dropout=0.3, seed=0).double()
    before = torch.get_rng_state()
    want = plain(x)
    assert torch.equal(torch.get_rng_state(), before)
    with seeded(1, "dropout"):
        assert (dropping(x) - want).abs().max() > 1e-3
    plain, dropping = WideResNet(10, 1, 3, seed=0), WideResNet(10, 1, 3, dropout=0.3, seed=0)
    assert torch.equal(dropping.eval()(x.float()), plain.eval()(x.float()))


# ResNet-50


def test_resnet_50_is_torchvisions():
    """With its weights by name, the same logits in evaluation mode."""
    from torchvision.models import resnet50 as build

    theirs, ours = build(num_classes=3), resnet50(3, seed=0)
    with torch.no_grad():
        for (_, a), (_, b) in zip(theirs.named_parameters(), ours.named_parameters(), strict=True):
            assert a.shape == b.shape
            a.copy_(b)
    x = draw(2, 3, 40, 40)
    assert_close(ours.eval()(x), theirs.eval()(x), rtol=0, atol=0)


def test_pretrained_weights_are_loaded_when_asked_for(monkeypatch):
    """Without a download: torchvision's file is replaced by one of other numbers."""
    from torchvision.models import ResNet50_Weights
    from torchvision.models import resnet50 as build

    asked = []
    with seeded(9, "stored weights"):
        stored = build().state_dict()

    def read(weights, *_, **__):
        asked.append(weights)
        return stored

    monkeypatch.setattr(ResNet50_Weights, "get_state_dict", read)
    model = resnet50(3, weights="IMAGENET1K_V2", seed=0)
    assert asked == [ResNet50_Weights.IMAGENET1K_V2]
    assert torch.equal(model.body[0].weight, stored["conv1.weight"])
    assert model.classifier.weight.shape == (3, 2048)
    again = resnet50(3, weights="IMAGENET1K_V2", seed=0)
    assert torch.equal(again.classifier.weight, model.classifier.weight)
    assert not torch.equal(resnet50(3, seed=0).body[0].weight, stored["conv1.weight"])
    assert len(asked) == 2  # nothing is read unless asked for


# Words


def test_a_window_is_the_vectors_of_its_words_one_after_the_other():
    model = TextMLP(40, 3, dimension=4, hidden=(5,), seed=0)
    x = torch.tensor([[7, 0, 39], [0, 7, 39]])
    table, (layer,) = (
        model.body[0].weight,
        [m for m in model.body.modules() if isinstance(m, nn.Linear)],
    )
    want = F.relu(layer(torch.stack([torch.cat([table[i] for i in row]) for row in x])))
    assert_close(with_features(model, x)[1], want, rtol=0, atol=1e-6)
    logits = model(x)
    assert (logits[0] - logits[1]).abs().max() > 1e-3  # the order of the words counts


def test_summed_vectors_leave_out_index_0_and_forget_the_places():
    vectors = draw(40, 4)
    model = TextMLP(vectors, 3, hidden=(5,), summed=True, seed=0)
    (layer,) = [m for m in model.body.modules() if isinstance(m, nn.Linear)]
    x = torch.tensor([[7, 0, 39], [39, 7, 0], [0, 0, 0]])
    both = vectors[7] + vectors[39]
    want = F.relu(layer(torch.stack([both, both, torch.zeros(4)])))
    assert_close(with_features(model, x)[1], want, rtol=0, atol=1e-6)
    assert (want[0] - want[2]).abs().max() > 1e-2


def test_learned_vectors_that_are_summed_begin_small_and_given_ones_as_they_are():
    (vectors,) = [
        m.weight
        for m in TextMLP(400, 3, summed=True, seed=0).modules()
        if isinstance(m, nn.Embedding)
    ]
    assert float(vectors.detach().std()) == pytest.approx(0.03, rel=0.03)  # 20,000 numbers
    given = draw(40, 4)
    network = TextMLP(given, 3, hidden=(5,), summed=True, seed=0)
    assert torch.equal(network.body[0].vectors.weight, given)
    assert not network.body[0].vectors.weight.requires_grad


def test_given_vectors_stay_as_they_are_and_learned_ones_move():
    vectors = draw(40, 4)
    given = TextMLP(vectors, 3, hidden=(5,), seed=0)
    learned = TextMLP(40, 3, dimension=4, hidden=(5,), seed=0)
    assert torch.equal(given.body[0].weight, vectors)
    assert given.body[0].weight.data_ptr() != vectors.data_ptr()
    assert "body.0.weight" not in bilevel.parameters(given)
    assert "body.0.weight" in bilevel.parameters(learned)


def test_a_text_network_has_glcs_sizes_by_default():
    model = TextMLP(300, 25, seed=0)
    layers = [m for m in model.modules() if isinstance(m, nn.Linear)]
    assert [(m.in_features, m.out_features) for m in layers] == [(150, 256), (256, 256), (256, 25)]


# Bad input


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: CIFARResNet(50, 3, seed=0), "`depth` is 50; it must be one of 18, 32, 34"),
        (lambda: CIFARResNet(18, 0, seed=0), "`num_classes` is 0; it must be at least 1"),
        (lambda: CIFARResNet(18, 3, width=0, seed=0), "`width` is 0; it must be at least 1"),
        (lambda: CIFARResNet(18, 3, in_channels=0, seed=0), "`in_channels` is 0; it must be at"),
        (
            lambda: CIFARResNet(18, 3, norm="layer", seed=0),
            "`norm` is 'layer'; it must be one of 'batch', 'group'",
        ),
        (lambda: CIFARResNet(18, 3, seed=-1), "`seed` is -1; it must be at least 0"),
        (lambda: PreActResNet(34, 3, seed=0), "`depth` is 34; it must be one of 18, 32"),
        (lambda: PreActResNet(18, 3, width=-1, seed=0), "`width` is -1; it must be at least 1"),
        (
            lambda: PreActResNet(18, 3, activated="some", seed=0),
            "`activated` is 'some'; it must be one of 'projections', 'none', 'all'",
        ),
        (lambda: PreActResNet(18, 3, norm=None, seed=0), "`norm` is None; it must be one of"),
        (lambda: WideResNet(30, 2, 3, seed=0), "`depth` is 30; it must be 6 k + 4, for example 28"),
        (lambda: WideResNet(4, 2, 3, seed=0), "`depth` is 4; it must be at least 10"),
        (lambda: WideResNet(28, 0, 3, seed=0), "`widen_factor` is 0; it must be at least 1"),
        (lambda: WideResNet(28, 2, 0, seed=0), "`num_classes` is 0; it must be at least 1"),
        (lambda: WideResNet(28, 2, 3, in_channels=0, seed=0), "`in_channels` is 0; it must be at"),
        (
            lambda: WideResNet(28, 2, 3, dropout=1.5, seed=0),
            "`dropout` is 1.5; it must lie in [0, 1]",
        ),
        (
            lambda: WideResNet(28, 2, 3, negative_slope=-1.0, seed=0),
            "`negative_slope` is -1.0; it must be a finite number, not negative",
        ),
        (lambda: CNN8(0, seed=0), "`num_classes` is 0; it must be at least 1"),
        (lambda: CNN8(3, in_channels=0, seed=0), "`in_channels` is 0; it must be at least 1"),
        (lambda: VGG19BN(0, seed=0), "`num_classes` is 0; it must be at least 1"),
        (lambda: VGG19BN(3, width=0, seed=0), "`width` is 0; it must be at least 1"),
        (lambda: VGG19BN(3, in_channels=0, seed=0), "`in_channels` is 0; it must be at least 1"),
        (lambda: ResNet9(0, seed=0), "`num_classes` is 0; it must be at least 1"),
        (lambda: ResNet9(3, width=0, seed=0), "`width` is 0; it must be at least 1"),
        (lambda: ResNet9(3, scale=0.0, seed=0), "`scale` is 0.0; it must be a finite number above"),
        (lambda: resnet50(0, seed=0), "`num_classes` is 0; it must be at least 1"),
        (
            lambda: resnet50(3, weights="imagenet", seed=0),
            "`weights` is 'imagenet'; it must be one of None, 'IMAGENET1K_V1', 'IMAGENET1K_V2'",
        ),
        (lambda: TextMLP(0, 3, seed=0), "`words` is 0; it must be at least 1"),
        (lambda: TextMLP(40, 3, window=0, seed=0), "`window` is 0; it must be at least 1"),
        (lambda: TextMLP(40, 3, dimension=0, seed=0), "`dimension` is 0; it must be at least 1"),
        (lambda: TextMLP(40, 3, hidden=(), seed=0), "`hidden` is empty"),
        (
            lambda: TextMLP(torch.zeros(40), 3, seed=0),
            "`words` is torch.float32 of shape (40,); given vectors must be floating-point numbers",
        ),
        (
            lambda: TextMLP(torch.zeros(40, 4, dtype=torch.int64), 3, seed=0),
            "`words` is torch.int64 of shape (40, 4); given vectors",
        ),
        (
            lambda: TextMLP(torch.zeros(40, 4), 3, dimension=4, seed=0),
            "`dimension` is given, and `words` are vectors, which have one; leave it out",
        ),
    ],
)
def test_refuses_sizes_and_options_that_do_not_exist(make, text):
    refused(text, make)


@pytest.mark.parametrize(
    "x",
    [torch.zeros(5, 3), torch.zeros(5, 2, dtype=torch.int64), torch.zeros(5, dtype=torch.int64)],
    ids=["not indices", "too few words", "no window"],
)
def test_a_text_network_refuses_what_are_no_windows(x):
    model = TextMLP(40, 3, seed=0)
    refused(f"`x` is {x.dtype} of shape {tuple(x.shape)}; word indices must be", lambda: model(x))


@pytest.mark.parametrize(
    "make",
    [
        lambda: CNN8(3),
        lambda: VGG19BN(3),
        lambda: CIFARResNet(18, 3),
        lambda: PreActResNet(18, 3),
        lambda: WideResNet(28, 2, 3),
        lambda: resnet50(3),
        lambda: TextMLP(40, 3),
    ],
)
def test_refuses_to_draw_weights_without_a_seed(make):
    refused("seed", make, TypeError)


def test_the_features_of_resnet9_are_scaled_and_with_them_the_logits():
    whole, eighth = (ResNet9(3, width=2, scale=s, seed=1).eval() for s in (1.0, 0.125))
    x = draw(2, 3, 8, 8)
    (logits, features), (small_logits, small_features) = (
        with_features(model, x) for model in (whole, eighth)
    )
    assert_close(small_features, features / 8)
    bias = whole.classifier.bias
    assert_close(small_logits - bias, (logits - bias) / 8)
    assert features.abs().max() > 0.1


def test_groups_in_place_of_batches_in_resnet9():
    """So that a batch may be divided: what an image gets does not depend on its neighbours."""
    model = ResNet9(3, width=2, norm="group", seed=1).train()
    x = draw(4, 3, 8, 8)
    assert_close(model(x)[:2], model(x[:2]))
