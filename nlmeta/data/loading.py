"""One call from a dataset's name to a split."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from nlmeta import noise as label_noise
from nlmeta._checks import check_choice, check_count
from nlmeta.data.digits import read_digits
from nlmeta.data.split import Samples, Split
from nlmeta.seeding import generator

__all__ = ["load"]


class _Reader(NamedTuple):
    read: Callable[[], tuple[Tensor, Tensor, tuple[str, ...]]]
    test_size: int
    validation_size: int


READERS = {"digits": _Reader(read_digits, test_size=450, validation_size=150)}


def load(
    name: str,
    *,
    noise: str = "symmetric",
    rate: float = 0.0,
    seed: int,
    meta_size: int = 100,
    validation_size: int | None = None,
    test_size: int | None = None,
    class_map: Mapping[int, int] | None = None,
) -> Split:
    """Load a dataset, split it and make its training labels noisy.

    Split, noise and, by convention, the network's first weights follow the seed. A test part of the
    digits' size has a standard error above one percentage point, so compare methods on the same
    seeds, pair by pair.

    Parameters
    ----------
    name : {"digits"}
        ``"digits"``: scikit-learn's 1,797 grey images of 8x8 pixels in 10 classes; no download.
    noise : str
        A kind that `nlmeta.noise.make_transition` knows. Default ``"symmetric"``.
    rate : float
        Noise rate in [0, 1]. Default 0.
    seed : int
        Split and noise draw from streams of their own: another rate leaves the split as it was.
    meta_size : int
        Clean samples, the same number of each class. Default 100.
    validation_size, test_size : int, optional
        Default for digits: 150 and 450. What is left is the training part.
    class_map : mapping of int to int, optional
        For ``noise="asymmetric"``: true class to given label.

    Returns
    -------
    Split
        On the CPU, float32; inputs standardised by mean and standard deviation of the training
        part.

    Raises
    ------
    ValueError
        Names the argument that is wrong, what was given and what is allowed.
    """
    check_choice("name", name, tuple(READERS))
    check_choice("noise", noise, label_noise.KINDS)
    reader = READERS[name]
    x, y, class_names = reader.read()
    num_classes = len(class_names)
    validation_size = reader.validation_size if validation_size is None else validation_size
    test_size = reader.test_size if test_size is None else test_size

    transition = label_noise.make_transition(
        noise, num_classes, rate, class_map=class_map, generator=generator(seed, "noise map")
    )
    indices = _split_indices(
        y, num_classes, meta_size, validation_size, test_size, generator(seed, "split")
    )
    true_labels = y[indices["train"]]
    given = label_noise.corrupt(true_labels, transition, generator=generator(seed, "noise"))

    mean, deviation = x[indices["train"]].mean(), x[indices["train"]].std()
    parts = {part: Samples((x[rows] - mean) / deviation, y[rows]) for part, rows in indices.items()}
    parts["train"] = Samples(parts["train"].x, given)
    settings = {
        "name": name,
        "noise": noise,
        "rate": rate,
        "seed": seed,
        "meta_size": meta_size,
        "validation_size": validation_size,
        "test_size": test_size,
        "class_map": None if class_map is None else dict(class_map),
    }
    return Split(
        name=name,
        **parts,
        true_labels=true_labels,
        transition=transition,
        indices=indices,
        class_names=class_names,
        settings=settings,
    )


def _split_indices(
    y: Tensor,
    num_classes: int,
    meta_size: int,
    validation_size: int,
    test_size: int,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """Rows of each part: the test part first, so that it does not change with the other sizes."""
    sizes = {"meta_size": meta_size, "validation_size": validation_size, "test_size": test_size}
    for argument, size in sizes.items():
        check_count(argument, size, minimum=0)
    if meta_size % num_classes:
        raise ValueError(
            f"`meta_size` is {meta_size}; a meta set with as many of each class "
            f"needs a multiple of {num_classes}"
        )
    if sum(sizes.values()) >= len(y):
        given = " + ".join(f"`{argument}` {size}" for argument, size in sizes.items())
        raise ValueError(
            f"{given} is {sum(sizes.values())}; it must be below the {len(y)} samples there are, "
            "so that some are left for training"
        )
    order = torch.randperm(len(y), generator=generator, device="cpu")
    test, validation, rest = order.split(
        [test_size, validation_size, len(y) - test_size - validation_size]
    )
    per_class = meta_size // num_classes
    in_meta = torch.zeros(len(rest), dtype=torch.bool, device="cpu")
    for c in range(num_classes):
        candidates = (y[rest] == c).nonzero().flatten()
        if len(candidates) < per_class:
            raise ValueError(
                f"`meta_size` is {meta_size}, which asks for {per_class} samples of each class; "
                f"class {c} has {len(candidates)} left"
            )
        in_meta[candidates[:per_class]] = True
    return {"train": rest[~in_meta], "meta": rest[in_meta], "validation": validation, "test": test}
