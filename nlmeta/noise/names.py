"""Every kind of noise by its name, and its effect on the labels.

`inject` makes labels noisy, `describe` describes labels that are noisy already. Both return a
`Corruption`: the labels, which of them changed, the matrix counted from them, and a manifest with
the kind of noise and the meaning of its rate.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nlmeta import _checks
from nlmeta._arrays import Array, as_tensor
from nlmeta.noise.drawing import corrupt, corrupt_by_probabilities, empirical_transition
from nlmeta.noise.instances import feature_dependent, instance_dependent
from nlmeta.noise.matrices import (
    CIFAR10_MAP,
    asymmetric,
    consecutive_blocks,
    one_target,
    pair,
    superclass,
    symmetric,
)
from nlmeta.seeding import generator as stream

__all__ = ["CONVENTIONS", "KINDS", "Corruption", "describe", "inject", "make_transition"]

#: The names that `make_transition` knows, those of noise that is a matrix.
KINDS = (
    "none",
    "symmetric",
    "symmetric-inclusive",
    "pair",
    "asymmetric",
    "asymmetric-cifar10",
    "one-target",
    "superclass",
    "superclass-uniform",
    "consecutive-blocks",
)

#: What "rate" means in each kind of noise. All but "human" and "given" can be injected.
CONVENTIONS: Mapping[str, str] = {
    "none": "no label changes",
    "symmetric": "exclusive: labels flip to one of the other classes; the rate is that of wrong "
    "labels",
    "symmetric-inclusive": "inclusive: labels are redrawn from all classes, the own one included; "
    "rate (C - 1) / C of them become wrong",
    "pair": "every class flips to the next one; the rate is that of wrong labels",
    "asymmetric": "the rate is that of the classes in the map; the others stay clean",
    "asymmetric-cifar10": "the rate is that of the five classes in the map; the others stay clean, "
    "so half of it is that of wrong labels",
    "one-target": "every class flips to one random other class; the rate is that of wrong labels",
    "superclass": "every class flips to the next one of its superclass; the rate is that of the "
    "classes that are not alone in theirs",
    "superclass-uniform": "every class flips to all others of its superclass alike; the rate is "
    "that of the classes that are not alone in theirs",
    "consecutive-blocks": "every class flips to the next one in blocks of five class numbers, "
    "which are not CIFAR-100's superclasses; the rate is that of wrong labels",
    "instance-dependent": "the rate is the mean of the samples' flip rates before they are "
    "truncated to [0, 1]; below 0.3 more labels than that are wrong, above 0.7 fewer",
    "feature-dependent": "exactly int(n * rate) labels are wrong",
    "human": "people gave the labels; no rate was asked for",
    "given": "the labels are as they came; no rate was asked for",
}

# What a kind of noise needs beside labels and rate; kinds that do not need it refuse it.
_NEEDS = {
    "asymmetric": "class_map",
    "superclass": "groups",
    "superclass-uniform": "groups",
    "instance-dependent": "x",
    "feature-dependent": "predictions",
}


@dataclass(frozen=True, eq=False)
class Corruption:
    """Noisy labels and all that is known about their noise.

    Attributes
    ----------
    labels : Tensor of int64, shape (n,)
        The given labels.
    changed : Tensor of bool, shape (n,)
        True where the given label differs from the true one.
    empirical : Tensor of float64, shape (C, C)
        The counted matrix of `empirical_transition`; row: true class, column: given label.
    transition : Tensor of float64, shape (C, C), or None
        The matrix that the labels were drawn from; None if there is none.
    manifest : mapping of str to str, int, float or None
        Facts about the noise that can be written as JSON: ``kind``, ``convention`` (the meaning of
        the rate), ``nominal_rate`` (the requested rate), ``actual_rate`` (the share of wrong
        labels), ``seed``, ``num_classes``, ``num_samples``, ``digest`` (SHA-256 of the labels as
        little-endian int64). None means unknown or not used.
    """

    labels: Tensor
    changed: Tensor
    empirical: Tensor
    transition: Tensor | None
    manifest: Mapping[str, str | int | float | None]


def make_transition(
    kind: str,
    num_classes: int,
    rate: float = 0.0,
    *,
    class_map: Mapping[int, int] | None = None,
    groups: Sequence[int] | Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Make a transition matrix by the name of its noise.

    Parameters
    ----------
    kind : str
        One of `KINDS`: "none" (the identity), "symmetric" (the exclusive convention),
        "symmetric-inclusive", "pair", "asymmetric", "asymmetric-cifar10" (by `CIFAR10_MAP`),
        "one-target", "superclass" (to the next class in it), "superclass-uniform",
        "consecutive-blocks".
    num_classes : int
        C, the number of classes, at least 2.
    rate : float, default 0
        The rate r, in [0, 1], with the meaning of the noise's own function; 0 for "none".
    class_map : mapping of int to int, optional
        A mapping ``{true: given}``; only "asymmetric" needs it.
    groups : sequence of int or Tensor, optional
        The superclass of each class, (C,); only "superclass" and "superclass-uniform" need it.
    generator : torch.Generator, optional
        A generator on the CPU; only "one-target" draws from it.

    Returns
    -------
    Tensor
        The matrix T, (C, C), float64.

    Raises
    ------
    ValueError
        If `kind` is unknown, lacks an argument, or would ignore a rate, a map or groups.

    Examples
    --------
    >>> from nlmeta import noise
    >>> noise.make_transition("pair", 3, 0.25)
    tensor([[0.7500, 0.2500, 0.0000],
            [0.0000, 0.7500, 0.2500],
            [0.2500, 0.0000, 0.7500]], dtype=torch.float64)
    """
    _checks.check_choice("kind", kind, KINDS)
    _checks.check_rate("rate", rate)
    if kind == "none" and rate != 0:
        raise ValueError(f"`rate` is {rate}; with noise 'none' it must be 0")
    _check_needs(kind, class_map=class_map, groups=groups)
    if class_map is not None:
        return asymmetric(num_classes, rate, class_map)
    if groups is not None:
        if len(groups) != num_classes:
            raise ValueError(
                f"`groups` holds {len(groups)} superclasses; it must hold one for each of the "
                f"{num_classes} classes"
            )
        return superclass(groups, rate, target="next" if kind == "superclass" else "uniform")
    if kind == "asymmetric-cifar10":
        if num_classes != 10:
            raise ValueError(f"`num_classes` is {num_classes}; with CIFAR-10's map it must be 10")
        return asymmetric(num_classes, rate, CIFAR10_MAP)
    if kind == "one-target":
        if generator is None:
            raise ValueError("`generator` is None; noise 'one-target' needs one for its targets")
        return one_target(num_classes, rate, generator=generator)
    if kind == "pair":
        return pair(num_classes, rate)
    if kind == "consecutive-blocks":
        return consecutive_blocks(num_classes, rate)
    if kind == "symmetric-inclusive":
        return symmetric(num_classes, rate, convention="inclusive")
    return symmetric(num_classes, rate)  # "none" has rate 0, which gives the identity


def inject(
    kind: str,
    labels: Array,
    num_classes: int,
    rate: float = 0.0,
    *,
    seed: int,
    class_map: Mapping[int, int] | None = None,
    groups: Sequence[int] | Tensor | None = None,
    x: Tensor | None = None,
    predictions: Array | None = None,
) -> Corruption:
    """Make labels noisy by the name of the noise.

    Parameters
    ----------
    kind : str
        One of `KINDS`, "instance-dependent" or "feature-dependent".
    labels : array
        The true classes, (n,), int64, on any device; at least one. They are not changed.
    num_classes : int
        C, the number of classes, at least 2.
    rate : float, default 0
        The rate r, in [0, 1]; `CONVENTIONS` explains its meaning for each kind.
    seed : int
        Seed of two streams of random numbers: "noise map" (targets, projections, ties) and "noise"
        (labels). The same seed and arguments give the same labels on every machine.
    class_map, groups : optional
        The same as in `make_transition`.
    x : Tensor of float, shape (n, ...), optional
        Normalised inputs; only "instance-dependent" needs them.
    predictions : array, optional
        Probabilities (n, C); only "feature-dependent" needs them. Ties are broken at random; call
        `feature_dependent` to break them as in the released code.

    Returns
    -------
    Corruption
        The noisy labels and their description.

    Raises
    ------
    ValueError
        If `kind` is unknown, lacks an argument or would ignore one.

    Examples
    --------
    >>> import torch
    >>> from nlmeta import noise
    >>> corruption = noise.inject("symmetric", torch.tensor([0, 1, 2, 0, 1, 2]), 3, 0.5, seed=0)
    >>> corruption.labels
    tensor([0, 2, 2, 2, 2, 2])
    >>> corruption.changed.sum()
    tensor(3)
    """
    _checks.check_choice("kind", kind, (*KINDS, "instance-dependent", "feature-dependent"))
    _check_needs(kind, class_map=class_map, groups=groups, x=x, predictions=predictions)
    labels = as_tensor("labels", labels)
    predictions = None if predictions is None else as_tensor("predictions", predictions)
    mapping, drawing = stream(seed, "noise map"), stream(seed, "noise")
    transition = None
    if x is not None:
        probabilities = instance_dependent(x, labels, num_classes, rate, generator=mapping)
        given = corrupt_by_probabilities(probabilities, generator=drawing).to(labels.device)
    elif predictions is not None:
        if predictions.ndim == 2 and predictions.shape[1] != num_classes:
            raise ValueError(
                f"`predictions` has {predictions.shape[1]} columns; it must have one for each of "
                f"the {num_classes} classes"
            )
        given = feature_dependent(predictions, labels, rate, generator=mapping)
    else:
        transition = make_transition(
            kind, num_classes, rate, class_map=class_map, groups=groups, generator=mapping
        )
        given = corrupt(labels, transition, generator=drawing)
    return describe(
        labels, given, num_classes, kind=kind, rate=rate, seed=seed, transition=transition
    )


def describe(
    true_labels: Array,
    given_labels: Array,
    num_classes: int,
    *,
    kind: str = "given",
    rate: float | None = None,
    seed: int | None = None,
    transition: Array | None = None,
) -> Corruption:
    """Describe the noise of given labels, whatever its source.

    Parameters
    ----------
    true_labels, given_labels : array
        Labels of the same samples in the same order, (n,), int64; at least one.
    num_classes : int
        C, the number of classes, at least 2.
    kind : str, default "given"
        A name in `CONVENTIONS`: "human" for labels given by people, "given" for labels about which
        no more is known.
    rate : float, optional
        The requested rate.
    seed : int, optional
        The seed that the labels were drawn with.
    transition : array, optional
        The matrix (C, C) that they were drawn from.

    Returns
    -------
    Corruption
        Its `labels` are `given_labels` themselves; `changed` is on their device.

    Raises
    ------
    ValueError
        If labels lie outside 0 to C - 1, differ in number or are none, or `kind` is unknown.

    Examples
    --------
    >>> import torch
    >>> from nlmeta import noise
    >>> found = noise.describe(torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 1, 1]), 2)
    >>> found.changed
    tensor([False,  True, False, False])
    >>> found.manifest["actual_rate"]
    0.25
    """
    _checks.check_choice("kind", kind, CONVENTIONS)
    true_labels = as_tensor("true_labels", true_labels)
    given_labels = as_tensor("given_labels", given_labels)
    transition = None if transition is None else as_tensor("transition", transition)
    empirical = empirical_transition(true_labels, given_labels, num_classes)  # checks the labels
    if len(given_labels) == 0:
        raise ValueError("`given_labels` is empty; a rate needs at least one sample")
    changed = given_labels != true_labels.to(given_labels.device)
    stored = given_labels.cpu().numpy().astype("<i8").tobytes()
    manifest = {
        "kind": kind,
        "convention": CONVENTIONS[kind],
        "nominal_rate": rate,
        "actual_rate": changed.sum().item() / len(changed),
        "seed": seed,
        "num_classes": num_classes,
        "num_samples": len(given_labels),
        "digest": hashlib.sha256(stored).hexdigest(),
    }
    return Corruption(given_labels, changed, empirical, transition, manifest)


def _check_needs(kind: str, **options: object) -> None:
    for name, value in options.items():
        users = [user for user, needed in _NEEDS.items() if needed == name]
        if (value is None) == (kind in users):
            shown = f"of shape {tuple(value.shape)}" if isinstance(value, Tensor) else value
            raise ValueError(
                f"`{name}` is {shown}; noise {' and '.join(map(repr, users))} "
                f"{'needs one' if len(users) == 1 else 'need one'} and no other noise uses it, "
                f"and `kind` is {kind!r}"
            )
