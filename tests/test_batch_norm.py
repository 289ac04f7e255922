"""The forward rule of BatchNorm against PyTorch's own, in float64, and what it is there for."""

import pytest
import torch
import torch.autograd.forward_ad as forward_ad
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from nlmeta import bilevel
from nlmeta.models import CIFARResNet

CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
NORMS = {0: nn.BatchNorm1d, 1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


def network(dimensions, **options):
    """A layer, BatchNorm whose parameters and statistics say something, and a classifier."""
    torch.manual_seed(0)
    first = CONVOLUTIONS[dimensions](2, 4, 2) if dimensions else nn.Linear(2, 4)
    norm = NORMS[dimensions](4, **options)
    parts = [first, norm, nn.Tanh(), nn.Flatten(), nn.LazyLinear(3)]
    model = nn.Sequential(*parts).double()
    model(inputs(dimensions))
    for tensor in norm.state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5)
    return model


def inputs(dimensions):
    g = torch.Generator().manual_seed(1)
    return torch.randn(6, 2, *(dimensions * [3]), generator=g, dtype=torch.float64)


def direction(model, without=()):
    g = torch.Generator().manual_seed(2)
    return {
        name: torch.randn(p.shape, generator=g, dtype=p.dtype)
        for name, p in bilevel.parameters(model).items()
        if name not in without
    }


def by_pytorch(model, x, v):
    """The tangent by PyTorch's rule; running statistics are copied."""
    state = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    with torch.no_grad(), forward_ad.dual_level():
        duals = {name: forward_ad.make_dual(state[name], g) for name, g in v.items()}
        return forward_ad.unpack_dual(functional_call(model, state | duals, x)).tangent


def assert_tangent_is_right(model, x, without=()):
    v = direction(model, without)
    got = bilevel.tangent(model, bilevel.forward_pass(model, x), v)
    want = by_pytorch(model, x, v)
    assert want.abs().max() > 0.1
    assert_close(got, want, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("training", [True, False], ids=["of the batch", "running"])
@pytest.mark.parametrize("dimensions", NORMS)
def test_the_rule_is_pytorchs_for_either_statistics(dimensions, training):
    model = network(dimensions).train(training)
    assert_tangent_is_right(model, inputs(dimensions))


@pytest.mark.parametrize(
    "options", [{"track_running_stats": False}, {"momentum": None}, {"eps": 0.3}, {"affine": False}]
)
def test_the_options_of_the_layer_are_followed(options):
    assert_tangent_is_right(network(2, **options), inputs(2))


def test_channels_may_be_last():
    model = network(2).to(memory_format=torch.channels_last)
    x = inputs(2).contiguous(memory_format=torch.channels_last)
    assert_tangent_is_right(model, x)


@pytest.mark.parametrize(
    "still",
    [("1.weight",), ("1.bias",), ("1.weight", "1.bias"), ("0.weight", "0.bias")],
    ids=["weight", "bias", "both", "input"],
)
def test_parts_of_the_layer_may_stay(still):
    assert_tangent_is_right(network(2), inputs(2), without=still)


def test_the_layer_may_be_mapped_over_copies():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = network(2, track_running_stats=False)

        def forward(self, x):
            first, norm, *rest = self.body
            both = torch.stack([first(x), first(x).square()])
            options = {"weight": norm.weight, "bias": norm.bias, "training": True}
            y = torch.func.vmap(lambda h: F.batch_norm(h, None, None, **options))(both)
            return nn.Sequential(*rest)(y.sum(0))

    assert_tangent_is_right(Twice(), inputs(2))


def test_a_network_may_differentiate_itself():
    """Logits from the gradient of an energy by the input: a tangent of a gradient."""

    class Slope(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = network(2, track_running_stats=False)

        def forward(self, x):
            with torch.enable_grad():
                x = x.clone().requires_grad_()
                energy = self.body(x).square().sum()
                (slope,) = torch.autograd.grad(energy, x, create_graph=True)
            return slope.flatten(1)

    model, x = Slope(), inputs(2)
    assert_tangent_is_right(model, x)
    v = direction(model)
    forward = bilevel.forward_pass(model, x)
    difference = bilevel.tangent(model, forward, v, mode="fd", fd_step=1e-4)
    assert_close(bilevel.tangent(model, forward, v), difference, rtol=1e-5, atol=1e-5)


class Activations(TorchDispatchMode):
    """Notes the types of new activations, and whether their channels are last."""

    def __init__(self, n):
        super().__init__()
        self.n, self.kinds = n, set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        output = func(*args, **(kwargs or {}))
        for t in tree_leaves(output):
            if isinstance(t, torch.Tensor) and t.ndim == 4 and len(t) == self.n and t.shape[1] > 3:
                last = t.is_contiguous(memory_format=torch.channels_last)
                self.kinds.add((t.dtype, last))
        return output


def test_no_activation_leaves_half_precision_or_its_layout():
    model = CIFARResNet(18, 3, width=4, seed=0).to(memory_format=torch.channels_last)
    x = torch.randn(6, 3, 8, 8).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        forward = bilevel.forward_pass(model, x)
        with Activations(6) as activations:
            z_dot = bilevel.tangent(model, forward, direction(model))
    assert z_dot.abs().max() > 0.1
    assert activations.kinds == {(torch.bfloat16, True)}
