"""What many test files need: small data, small networks, refusals, and states held bit for bit."""

import copy
import functools
import hashlib
import pickle
import random
import re

import numpy as np
import pytest
import torch
from pandas.testing import assert_frame_equal

from nlmeta import data
from nlmeta.data import Batch
from nlmeta.data.sources import _cifar
from nlmeta.models import MLP, SmallCNN

LABELS = torch.tensor([2, 0, 2, 1, 2, 2, 0])  # lopsided


# data


@functools.cache
def digits(seed=3, *, meta_size=20, validation_size=0, test_size=1600, rate=0.5):
    """177 training samples, each second label wrong: 64, 64 and 49 of them are a pass."""
    sizes = {"meta_size": meta_size, "validation_size": validation_size, "test_size": test_size}
    return data.load("digits", rate=rate, seed=seed, **sizes)


def seeded(seed):
    """A generator of random numbers."""
    return torch.Generator().manual_seed(seed)


def batch(n=7, *, seed=0, dtype=torch.float64, labels=LABELS):
    """Images of noise, 8 x 8, with the first n of the labels and ids from 0."""
    g = seeded(seed)
    x = torch.randn(n, 1, 8, 8, generator=g, dtype=torch.float64).to(dtype)
    return Batch(x, labels[:n], torch.arange(n))


def problem(seed=3, n=8, dtype=torch.float64):
    """A noisy batch in three unequal classes and six meta samples."""
    g = seeded(seed)
    x = torch.randn(n, 1, 8, 8, generator=g, dtype=torch.float64).to(dtype)
    y = torch.tensor([0, 0, 2, 1, 0, 2, 0, 0])[:n]
    meta_x = torch.randn(6, 1, 8, 8, generator=g, dtype=torch.float64).to(dtype)
    return Batch(x, y, torch.arange(n)), Batch(meta_x, torch.tensor([0, 1, 2, 2, 1, 2]))


# networks


def mlp(seed=1):
    """For digits."""
    return MLP(64, 10, (8,), seed=seed)


def cnn(seed=1):
    """For digits, with BatchNorm: the mode matters, and running statistics are state too."""
    return SmallCNN(1, 10, width=2, hidden=8, seed=seed)


def network(kind="BatchNorm"):
    """For `problem`, in float64."""
    if kind == "BatchNorm":
        return SmallCNN(1, 3, width=4, hidden=8, seed=5).double()
    return MLP(64, 3, (8,), seed=5).double()


# states


def leaves(state, prefix=""):
    """The entries of a nested state, by name, as copies that no later step changes."""
    for name, value in state.items():
        if isinstance(value, dict | list):
            inner = value if isinstance(value, dict) else dict(enumerate(value))
            yield from leaves(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", copy.deepcopy(value)


def weights(module):
    """All that a module's state holds, by name; a method's state may hold an optimiser's."""
    return dict(leaves(module.state_dict()))


def _state(thing):
    return thing if isinstance(thing, dict) else weights(thing)


def same(one, two):
    """Whether two modules, or two states, are equal bit for bit."""
    one, two = _state(one), _state(two)
    return one.keys() == two.keys() and all(_equal(one[name], two[name]) for name in one)


def assert_same(one, two):
    """Two modules, or two states, are equal bit for bit."""
    one, two = _state(one), _state(two)
    assert one.keys() == two.keys()
    for name in one:
        assert _equal(one[name], two[name]), name


def _equal(value, other):
    return torch.equal(value, other) if torch.is_tensor(value) else value == other


def gap(one, two):
    """The largest difference of two states of tensors."""
    assert one.keys() == two.keys()
    return max((one[name] - two[name]).abs().max().item() for name in one)


def size(state):
    """The largest number in a state of tensors."""
    return max(value.abs().max().item() for value in state.values())


def assert_same_run(one, two):
    """Two results of `fit` are equal bit for bit; only the seconds may differ."""
    histories = [result.history.drop(columns="seconds") for result in (one, two)]
    assert_frame_equal(*histories, check_exact=True)
    assert_same(one.model, two.model)
    assert_same(one.method, two.method)


def global_state():
    """Where the global generators of PyTorch, Python and NumPy stand."""
    numpy_state = np.random.get_state()  # noqa: NPY002, the old generators are what is watched
    return torch.get_rng_state().tolist(), random.getstate(), str(numpy_state)


# runs that stop, and calls that are refused


def stop_at(epoch, error):
    """A callback that breaks off a run after the steps of an epoch, before it is recorded."""

    def on_epoch(now, model, method):
        if now == epoch:
            raise error("stopped on purpose")
        return {}

    return on_epoch


def refused(text, call, error=ValueError):
    """The call raises the error, whose message holds the text; returns the whole message."""
    with pytest.raises(error, match=re.escape(str(text))) as caught:
        call()
    return str(caught.value)


def md5(path):
    """The checksum of a file."""
    return hashlib.md5(path.read_bytes()).hexdigest()


def dump(path, content):
    """A pickle, as the publisher of CIFAR writes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol=2))


def cifar_batch(n, seed, **labels):
    """The content of a file of CIFAR with random pixels."""
    pixels = np.random.default_rng(seed).integers(0, 256, (n, 3072), dtype=np.uint8)
    return {"data": pixels, "filenames": [f"{seed}_{i}.png" for i in range(n)], **labels}


def register_cifar(monkeypatch, folder, kind, module):
    """Put the md5 of tiny files of CIFAR where torchvision keeps those of the published ones."""
    base = folder / kind.base_folder
    for attribute in ("train_list", "test_list"):
        files = [[name, md5(base / name)] for name, _ in getattr(kind, attribute)]
        monkeypatch.setattr(kind, attribute, files)
    meta = {**kind.meta, "md5": md5(base / kind.meta["filename"])}
    monkeypatch.setattr(kind, "meta", meta)
    monkeypatch.setattr(module, "_FILES", _cifar.files_of(kind))
