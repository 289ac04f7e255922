"""Tests of nlmeta.models: shapes, features, first weights, derivatives, refusals."""

import pytest
import torch
from helpers import refused
from torch.func import functional_call
from torch.testing import assert_close

from nlmeta import bilevel
from nlmeta.models import MLP, SmallCNN, with_features

NETWORKS = {
    "mlp": lambda seed=1: MLP(64, 3, (7, 5), seed=seed),
    "cnn": lambda seed=1: SmallCNN(1, 3, width=2, hidden=5, seed=seed),
    "cnn without norm": lambda seed=1: SmallCNN(
        1, 3, width=2, hidden=5, batch_norm=False, seed=seed
    ),
}
every_network = pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS.keys())


def inputs(n=6, channels=1, size=8, dtype=torch.float32):
    draw = torch.Generator().manual_seed(0)
    return torch.randn(n, channels, size, size, generator=draw, dtype=dtype)


@every_network
def test_a_network_returns_a_logit_for_each_class(make):
    logits = make()(inputs())
    assert logits.shape == (6, 3)
    assert logits.dtype == torch.float32
    assert logits.std(0).min() > 0  # the inputs get through


@every_network
def test_logits_are_not_bounded_or_normalised(make):
    """Logits, not probabilities: some are negative, and rows sum to anything."""
    logits = make()(inputs())
    assert logits.min() < 0
    assert (logits.sum(1) - 1).abs().max() > 1e-3


@every_network
def test_features_are_what_the_last_layer_saw(make):
    model, seen = make(), []
    model.classifier.register_forward_hook(lambda _, given, __: seen.append(given[0]))
    logits, features = model(inputs(), return_features=True)
    assert features.shape == (6, 5)
    assert features.abs().max() > 0
    assert torch.equal(features, seen[0])
    assert torch.equal(model.classifier(features), logits)


@every_network
def test_asking_for_features_does_not_change_the_logits(make):
    model = make().eval()
    assert torch.equal(model(inputs(), return_features=True)[0], model(inputs()))


@every_network
def test_features_can_be_asked_of_a_network_and_of_one_at_other_parameters(make):
    model = make().double().eval()
    x = inputs(dtype=torch.float64)
    want = model(x, return_features=True)
    assert_close(with_features(model, x), want, rtol=0, atol=0)
    theta = {name: 2 * p for name, p in bilevel.parameters(model).items()}
    logits, features = with_features(bilevel.with_parameters(model, theta), x)
    assert_close(logits, features @ (2 * model.classifier.weight).T + 2 * model.classifier.bias)
    assert (features - want[1]).abs().max() > 1e-3


class Odd(torch.nn.Module):
    """Takes the question and answers something else."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, x, return_features=False):
        return self.answer(x.flatten(1))


@pytest.mark.parametrize(
    "model",
    [
        torch.nn.Flatten(),
        Odd(lambda x: x),
        Odd(lambda x: (x, x, x)),
        Odd(lambda x: (x, x.view(6, 1, 8, 8))),
    ],
    ids=["does not know the word", "logits alone", "three things", "features as images"],
)
def test_refuses_a_network_that_does_not_hand_out_its_features(model):
    refused("`model` cannot return its features", lambda: with_features(model, inputs()), TypeError)


def test_an_error_inside_a_network_is_shown_as_it_is():
    def broken(x):
        raise TypeError("something else")

    refused("something else", lambda: with_features(Odd(broken), inputs()), TypeError)


@every_network
def test_one_seed_gives_one_network_and_another_seed_another(make):
    first, again, other = make(1).state_dict(), make(1).state_dict(), make(2).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    drawn = [name for name in first if name.endswith("weight") and first[name].ndim > 1]
    assert len(drawn) >= 3
    assert not any(torch.equal(first[name], other[name]) for name in drawn)


@every_network
def test_building_a_network_neither_reads_nor_moves_the_global_generator(make):
    built = []
    for outside in (1, 2):
        torch.manual_seed(outside)
        before = torch.get_rng_state()
        built.append(make().classifier.weight)
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(*built)


@every_network
def test_forward_mode_gives_the_derivative_that_double_backward_gives(make):
    """J v is the derivative by w of <v, J'w>; in training mode, so with batch statistics."""
    model = make().double()
    theta = bilevel.parameters(model)
    draw = torch.Generator().manual_seed(4)
    v = {n: torch.randn(p.shape, generator=draw, dtype=p.dtype) for n, p in theta.items()}
    forward = bilevel.forward_pass(model, inputs(dtype=torch.float64))
    got = bilevel.tangent(model, forward, v)

    logits = functional_call(model, theta, (forward.x,))
    w = torch.zeros_like(logits, requires_grad=True)
    back = torch.autograd.grad(logits, list(theta.values()), w, create_graph=True)
    inner = sum((g * v[name]).sum() for g, name in zip(back, theta, strict=True))
    (want,) = torch.autograd.grad(inner, w)
    assert want.abs().min() > 1e-6
    # Sums of some hundred products, of size 1 to 100: round-off stays below 1e-12 of them.
    assert_close(got, want, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("size", [8, 9, 16, 28, 32, 64])
@pytest.mark.parametrize("batch_norm", [True, False])
def test_the_cnn_takes_images_of_8_to_64_pixels(size, batch_norm):
    model = SmallCNN(3, 4, width=2, hidden=5, batch_norm=batch_norm, seed=0)
    logits = model(inputs(n=2, channels=3, size=size))
    assert logits.shape == (2, 4)
    assert logits.isfinite().all()


def test_the_cnn_takes_images_that_are_not_square():
    x = torch.randn(2, 1, 8, 12, generator=torch.Generator().manual_seed(0))
    assert SmallCNN(1, 4, width=2, hidden=5, seed=0)(x).shape == (2, 4)


def test_the_mlp_flattens_inputs_of_any_shape():
    model = MLP(12, 3, (5,), seed=0)
    x = torch.randn(2, 12, generator=torch.Generator().manual_seed(0))
    assert torch.equal(model(x), model(x.view(2, 3, 2, 2)))


def test_widths_reach_the_layers():
    mlp = MLP(64, 10, seed=0)
    assert [p.shape[0] for n, p in mlp.named_parameters() if "weight" in n] == [256, 256, 10]
    cnn = SmallCNN(1, 10, seed=0)
    convolutions = [m.out_channels for m in cnn.modules() if isinstance(m, torch.nn.Conv2d)]
    assert convolutions == [32, 32, 64]
    assert cnn.classifier.in_features == 128
    narrow = SmallCNN(1, 10, width=3, hidden=7, seed=0)
    assert [p.shape[0] for p in narrow.parameters() if p.ndim == 4] == [3, 3, 6]
    assert narrow.classifier.in_features == 7


def test_batch_norm_is_there_exactly_when_asked_for():
    def norms(model):
        return sum(isinstance(m, torch.nn.BatchNorm2d) for m in model.modules())

    assert norms(SmallCNN(1, 10, width=2, seed=0)) == 3
    assert norms(SmallCNN(1, 10, width=2, batch_norm=False, seed=0)) == 0


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: MLP(0, 3, seed=0), "`in_features` is 0; it must be at least 1"),
        (lambda: MLP(64, 0, seed=0), "`num_classes` is 0; it must be at least 1"),
        (
            lambda: MLP(64, 3, (), seed=0),
            "`hidden` is empty; it must hold the width of at least one",
        ),
        (lambda: MLP(64, 3, seed=-1), "`seed` is -1; it must be at least 0"),
        (lambda: SmallCNN(0, 3, seed=0), "`in_channels` is 0; it must be at least 1"),
        (lambda: SmallCNN(1, 0, seed=0), "`num_classes` is 0; it must be at least 1"),
        (lambda: SmallCNN(1, 3, width=0, seed=0), "`width` is 0; it must be at least 1"),
        (lambda: SmallCNN(1, 3, hidden=0, seed=0), "`hidden` is 0; it must be at least 1"),
    ],
)
def test_refuses_sizes_below_one(make, text):
    refused(text, make)


def test_refuses_sizes_that_are_no_integers():
    refused("`in_features` is 64.0; it must be an", lambda: MLP(64.0, 3, seed=0), TypeError)
    refused("`width` is 2.5; it must be an", lambda: SmallCNN(1, 3, width=2.5, seed=0), TypeError)


def test_refuses_a_hidden_layer_without_units():
    refused("`hidden` is 0; it must be at least 1", lambda: MLP(64, 3, (8, 0), seed=0))


@pytest.mark.parametrize("make", [lambda: MLP(64, 3), lambda: SmallCNN(1, 3)])
def test_refuses_to_draw_weights_without_a_seed(make):
    refused("seed", make, TypeError)
