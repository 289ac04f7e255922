"""Tensors, NumPy's arrays and pandas' frames say the same, wherever the package takes numbers."""

import hashlib
import io

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.axes import Axes
from torch.testing import assert_close

from nlmeta import analysis, metrics, noise, plots
from nlmeta._arrays import as_tensor, described
from nlmeta.data import Samples, from_arrays

N, C = 40, 3
GENERATOR = torch.Generator().manual_seed(5)
P = torch.randn(N, C, generator=GENERATOR, dtype=torch.float64).mul(2).softmax(1)
TRUE = torch.arange(N) % C
GIVEN = torch.where(torch.arange(N) % 4 == 0, (TRUE + 1) % C, TRUE)
LOSSES = -P.gather(1, GIVEN[:, None]).squeeze(1).log()
T = torch.tensor([[0.7, 0.2, 0.1], [0.4, 0.5, 0.1], [0.0, 0.3, 0.7]], dtype=torch.float64)
ESTIMATE = torch.tensor([[0.6, 0.3, 0.1], [0.3, 0.6, 0.1], [0.1, 0.2, 0.7]], dtype=torch.float64)
IMAGES = torch.rand(N, 4, 4, generator=GENERATOR)
X = torch.randn(N, 5, generator=GENERATOR)


def seeded():
    return torch.Generator().manual_seed(0)


# Every function that takes what another one of the package returns as an array or a frame.
CALLS = {
    "to_cleanlab": (analysis.to_cleanlab, [T]),
    "from_cleanlab": (analysis.from_cleanlab, [T.T]),
    "fit_loss_mixture": (lambda a: analysis.fit_loss_mixture(a).posterior, [LOSSES]),
    "densities": (lambda a: analysis.fit_loss_mixture(LOSSES).densities(a), [LOSSES]),
    "accuracy": (metrics.accuracy, [P, TRUE]),
    "memorised": (metrics.memorised, [P, GIVEN, TRUE]),
    "label_recovery": (metrics.label_recovery, [GIVEN.flip(0), GIVEN, TRUE]),
    "transition_error": (metrics.transition_error, [ESTIMATE, T]),
    "calibration_error": (metrics.calibration_error, [P, TRUE]),
    "evaluate": (lambda a: metrics.evaluate(torch.nn.Identity(), P, a), [TRUE]),
    "corrupt": (lambda a, b: noise.corrupt(a, b, generator=seeded()), [TRUE, T]),
    "corrupt_by_probabilities": (
        lambda a: noise.corrupt_by_probabilities(a, generator=seeded()),
        [P],
    ),
    "empirical_transition": (lambda a, b: noise.empirical_transition(a, b, C), [TRUE, GIVEN]),
    "instance_dependent": (
        lambda a: noise.instance_dependent(X, a, C, 0.4, generator=seeded()),
        [TRUE],
    ),
    "feature_dependent": (lambda a, b: noise.feature_dependent(a, b, 0.3), [P, TRUE]),
    "flip_rate": (noise.flip_rate, [T]),
    "inject": (
        lambda a, b: noise.inject("feature-dependent", a, C, 0.3, seed=1, predictions=b).labels,
        [TRUE, P],
    ),
    "describe": (
        lambda a, b, c: dict(noise.describe(a, b, C, transition=c).manifest),
        [TRUE, GIVEN, T],
    ),
    "keep": (
        lambda a: from_arrays(X, TRUE, ids=range(100, 100 + N), seed=0).keep(a).train.sample_ids,
        [GIVEN == TRUE],
    ),
    "subset": (lambda a: Samples(X, TRUE).subset(a).x, [torch.tensor([5, 1])]),
    "transition_matrix": (plots.transition_matrix, [T]),
    "transition_beside_estimate": (plots.transition_beside_estimate, [T, ESTIMATE]),
    "noisy_examples": (lambda a, b: plots.noisy_examples(IMAGES, a, b), [TRUE, GIVEN]),
    "loss_mixture": (lambda a, b: plots.loss_mixture(a, wrong=b), [LOSSES, GIVEN != TRUE]),
}


def frozen(tensor):
    """An array that may only be read, as pandas hands out its columns."""
    array = tensor.numpy().copy()
    array.flags.writeable = False
    return array


def framed(tensor):
    return pd.Series(tensor.numpy()) if tensor.ndim == 1 else pd.DataFrame(tensor.numpy())


def comparable(result):
    """A number, a tensor, a dictionary of numbers, or the bytes of a picture."""
    if isinstance(result, Axes):
        result = result.figure
    if isinstance(result, mpl.figure.Figure):
        file = io.BytesIO()
        result.savefig(file, format="png")
        mpl.pyplot.close(result)
        return file.getvalue()
    return torch.from_numpy(result) if isinstance(result, np.ndarray) else result


@pytest.mark.parametrize("form", [frozen, framed], ids=["NumPy", "pandas"])
@pytest.mark.parametrize("name", CALLS)
def test_arrays_and_frames_say_what_tensors_say(name, form):
    """No digit differs, and nothing is written to what was handed in."""
    call, tensors = CALLS[name]
    handed = [form(tensor) for tensor in tensors]
    want, got = comparable(call(*tensors)), comparable(call(*handed))
    if isinstance(want, torch.Tensor):
        assert_close(got, want, rtol=0, atol=0)
    else:
        assert got == want
    for array, tensor in zip(handed, tensors, strict=True):
        assert np.array_equal(array, tensor.numpy())


@pytest.mark.parametrize("name", CALLS)
def test_whatever_is_no_array_is_refused_by_name(name):
    """Lists, one argument after the other, and columns of words."""
    call, tensors = CALLS[name]
    for position, tensor in enumerate(tensors):
        for other, kind in (
            (tensor.tolist(), "list"),
            (framed(tensor).astype(str).astype(object), "of object"),
        ):
            arguments = [*tensors[:position], other, *tensors[position + 1 :]]
            with pytest.raises(TypeError, match=rf"`\w+` is a .*{kind}; it must be a tensor, a"):
                call(*arguments)


def test_a_tensor_stays_itself_and_all_else_is_copied():
    assert as_tensor("x", P) is P
    array = P.numpy().copy()
    tensor = as_tensor("x", array)
    array[:] = 0
    assert torch.equal(tensor, P)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0).reshape(2, 3)[:, ::-1],
        np.arange(6.0).reshape(2, 3).astype(">f8"),
        np.arange(6.0).reshape(3, 2).T,
        np.arange(6, dtype=np.int16).reshape(2, 3),
        np.array([[True, False]]),
    ],
    ids=["backwards", "other byte order", "transposed", "int16", "bool"],
)
def test_arrays_of_any_layout_keep_numbers_and_type(array):
    tensor = as_tensor("x", array)
    assert tensor.tolist() == array.tolist()
    assert str(tensor.dtype).removeprefix("torch.") == array.dtype.name


def test_a_tensor_is_described_by_its_shape_and_a_digest_of_its_numbers():
    numbers = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    digest = hashlib.sha256(numbers.numpy().tobytes()).hexdigest()
    assert described(numbers) == f"(2, 2), SHA-256 {digest}"
    assert described(numbers.T.contiguous().T) == described(numbers)  # however it lies in memory
    others = numbers.T, numbers.double(), numbers.flatten(), numbers + 1e-6
    assert len({described(numbers), *map(described, others)}) == 5
    assert len(described(torch.rand(100, 100))) < 100
