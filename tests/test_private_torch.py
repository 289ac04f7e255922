"""What `nlmeta._torch` relies on: each of these fails where PyTorch changes it."""

import ast
import copy
import warnings
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import vmap
from torch.nn.parameter import is_lazy

import nlmeta
from nlmeta import _torch

PACKAGE = Path(nlmeta.__file__).parent
OF_MODULES = {  # private names of PyTorch's modules, tensors and optimisers
    *vars(nn.Linear(1, 1)),
    *dir(nn.Module),
    *dir(torch.Tensor),
    *dir(torch.optim.Optimizer),
    "_compiled_call_impl",
    "_orig_mod",
}


def private_names(file):
    """Private names of PyTorch that a file uses: attributes, imports and overridden methods."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("torch"):
            parts = [*node.module.split("."), *(alias.name for alias in node.names)]
            yield from (part for part in parts if part.startswith("_"))
        elif isinstance(node, ast.Attribute) and node.attr.startswith("_"):
            owner = ast.unparse(node.value)
            if owner.split(".")[0] in ("torch", "dist", "nn") or node.attr in OF_MODULES:
                yield node.attr
        elif isinstance(node, ast.ClassDef):
            methods = (part for part in node.body if isinstance(part, ast.FunctionDef))
            yield from (method.name for method in methods if method.name in OF_MODULES)


def is_private(name):
    return name.startswith("_") and not name.startswith("__")


def test_only_one_module_touches_what_pytorch_keeps_private():
    found = {
        str(file.relative_to(PACKAGE)): names
        for file in sorted(PACKAGE.rglob("*.py"))
        if (names := sorted(filter(is_private, private_names(file))))
    }
    assert set(found) == {"_torch.py"}, found
    assert {"_assert_async", "_foreach_lerp_", "_functorch", "_apply"} <= set(found["_torch.py"])


def test_each_entry_says_why():
    for name in {*_torch.__all__} - {"TorchDispatchMode", "tree_leaves"}:  # a comment says it
        assert len(getattr(_torch, name).__doc__.split()) > 12, name


def test_a_device_can_assert():
    _torch.assert_on_device(torch.tensor(True), "never said")
    with pytest.raises(RuntimeError, match="said"):
        _torch.assert_on_device(torch.tensor(False), "said")


def test_numbers_under_vmap_are_told_from_numbers():
    seen = []
    vmap(lambda x: seen.append(_torch.is_wrapped_by_vmap(x)) or x)(torch.zeros(2))
    assert seen == [True]
    assert not _torch.is_wrapped_by_vmap(torch.zeros(2))


def test_a_compiled_pass_goes_backward_twice():
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    with _torch.compiled(model, "aot_eager"):
        assert _torch.is_compiled(model)
        loss = model(torch.ones(2, 3)).square().sum()
        weights = [*model.parameters()]
        first = torch.autograd.grad(loss, weights, retain_graph=True)
        second = torch.autograd.grad(loss, weights)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert first[0].abs().max() > 0
    assert not _torch.is_compiled(model)


def test_a_network_compiled_by_its_owner_stays_so():
    model = nn.Linear(3, 2)
    model.compile(backend="eager")
    with _torch.compiled(model, "aot_eager"):
        pass
    assert _torch.is_compiled(model)
    assert _torch.is_compiled(nn.Sequential(torch.compile(nn.Linear(3, 2), backend="eager")))


@pytest.mark.parametrize("old", [True, False])
def test_tensorfloat_32_goes_off_and_back_beside_the_older_switch(old):
    """Where the older switch was set, PyTorch refuses to read it while the newer one differs."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    try:
        matmul.allow_tf32 = cudnn.allow_tf32 = old
        with _torch.full_float32():
            assert cudnn.conv.fp32_precision == cudnn.rnn.fp32_precision == "ieee"
            assert matmul.fp32_precision == "ieee"
        assert (matmul.allow_tf32, cudnn.allow_tf32) == (old, old)
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


@pytest.mark.parametrize("share", [0.25, torch.tensor(0.25, dtype=torch.float64)])
def test_averages_move_by_a_share_in_every_type(share):
    kinds = (torch.float32, torch.float64, torch.complex64)
    averages = [torch.full((3,), 1.0, dtype=kind) for kind in kinds]
    _torch.update_averages(averages, [torch.full((3,), 5.0, dtype=kind) for kind in kinds], share)
    for average, kind in zip(averages, kinds, strict=True):
        assert torch.equal(average, torch.full((3,), 2.0, dtype=kind))


def test_adam_told_to_count_on_a_device_does_not_warn():
    weight = nn.Parameter(torch.ones(2))
    optimizer = torch.optim.Adam([weight])
    optimizer.param_groups[0]["capturable"] = True
    _torch.no_capture_warning(optimizer)
    assert vars(optimizer)["_warned_capturable_if_run_uncaptured"] is True
    source = Path(torch.optim.__file__).with_name("optimizer.py").read_text(encoding="utf-8")
    assert "_warned_capturable_if_run_uncaptured" in source  # PyTorch still looks at it


def test_a_change_in_place_is_counted():
    x = torch.zeros(2)
    before = _torch.version(x)
    x += 1
    assert _torch.version(x) == before + 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_complex_weights_stay_complex_when_a_network_moves(dtype):
    model = nn.Module()
    model.weight = nn.Parameter(torch.tensor([1 + 2j]))
    model.register_buffer("turn", torch.tensor([3j]))
    model.register_buffer("count", torch.tensor([7]))
    model.register_buffer("mean", torch.tensor([0.5]))
    weight = model.weight
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _torch.move(model, torch.device("cpu"), dtype)
    assert model.weight is weight  # an optimiser may hold it
    assert model.weight.item() == 1 + 2j
    assert model.turn.item() == 3j
    assert (model.weight.dtype, model.turn.dtype) == (dtype.to_complex(),) * 2
    assert (model.count.dtype, model.mean.dtype) == (torch.int64, dtype)


class Noting(_torch.HookedModule):
    def __init__(self):
        super().__init__()
        self.rows = nn.Parameter(torch.zeros(2))
        self.seen = []

    def moved(self, fn):
        self.seen.append(("moved", fn(torch.zeros(1)).dtype))

    def saving(self, state, prefix):
        self.seen.append("saving")
        state[prefix + "rows"] = state[prefix + "rows"] + 1

    def loading(self, state, prefix):
        self.seen.append("loading")
        return {**state, prefix + "rows": state[prefix + "rows"] * 2}


def test_a_hooked_module_notes_moves_and_changes_what_is_saved_and_loaded():
    inner = Noting()
    outer = nn.Sequential(inner)
    outer.double()
    state = outer.state_dict()
    assert torch.equal(state["0.rows"], torch.ones(2))
    outer.load_state_dict(state)
    assert torch.equal(inner.rows, torch.full((2,), 2.0))
    assert inner.seen == [("moved", torch.float64), "saving", "loading"]
    twin = copy.deepcopy(inner).float()
    assert twin.seen[-1] == ("moved", torch.float32)
    assert len(inner.seen) == 3  # the copy tells itself


def test_a_hooked_module_may_stay_where_it_is():
    class Staying(Noting):
        stays = True

    module = nn.Sequential(Staying(), nn.Linear(1, 1)).double()
    assert module[0].rows.dtype == torch.float32
    assert module[1].weight.dtype == torch.float64
    assert module[0].seen == []


def test_lazy_weights_are_told():
    assert is_lazy(nn.LazyLinear(2).weight)
    assert not is_lazy(nn.Linear(1, 2).weight)


def test_every_operation_is_seen_with_the_tensors_in_it():
    class Seeing(_torch.TorchDispatchMode):
        def __torch_dispatch__(self, op, types, args=(), kwargs=None):
            seen.append((op.name(), len(_torch.tree_leaves((args, kwargs or {})))))
            return op(*args, **(kwargs or {}))

    seen = []
    with Seeing():
        torch.stack([torch.ones(1), torch.zeros(1)])
    assert seen[-1] == ("aten::stack", 2)
    assert len(seen) == 3


def test_labels_of_minus_one_hundred_are_what_pytorch_passes_over():
    """Why `losses.cross_entropy` has a label of its own for that."""
    assert F.cross_entropy(torch.eye(2), torch.tensor([0, -100])) == F.cross_entropy(
        torch.eye(2)[:1], torch.tensor([0])
    )
