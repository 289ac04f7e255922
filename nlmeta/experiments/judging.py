"""Which checked samples judge, and what their verdict is worth: intervals and paired tests."""

import hashlib
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from nlmeta import metrics
from nlmeta._checks import check_same_length
from nlmeta._interface import parts_of
from nlmeta.data import Samples, Split
from nlmeta.seeding import generator

__all__ = ["deal", "digest_of", "mcnemar", "right_ones", "wilson"]

FEWEST = 20  # samples to deal, ours: the ten that judge then tell accuracies to some 25 points
NOISY_SHARE = 10  # one of so many noisy samples is set apart to choose, and another to judge


def wilson(right: int, n: int) -> tuple[float, float]:
    """The 95 % interval of a share by Wilson's score, which holds for few samples too.

    Parameters
    ----------
    right, n : int
        Hits, and tries; n is at least 1.

    Returns
    -------
    pair of float
        The ends of the interval, in [0, 1] (Wilson, JASA 1927).

    Examples
    --------
    >>> [round(end, 4) for end in wilson(8, 10)]
    [0.4902, 0.9433]
    """
    from scipy import stats  # slow to import, and for nothing else

    found = stats.binomtest(right, n).proportion_ci(0.95, method="wilson")
    return float(found.low), float(found.high)


def mcnemar(first: str, second: str) -> float:
    """The p-value of the exact two-sided test of McNemar, of two runs on the same samples.

    Only samples that one of the two gets right count: if neither is better, each of them falls to
    either with probability 1/2.

    Parameters
    ----------
    first, second : str
        Marks of two predictors: for each sample 1 if it is predicted right, else 0, as `right_ones`
        writes them.

    Returns
    -------
    float
        A number in (0, 1].

    Examples
    --------
    >>> mcnemar("11111100", "00000010")  # 6 against 1: 2 (1 + 7) / 2^7
    0.125
    """
    check_same_length("first", first, "second", second)
    from scipy import stats

    pairs = list(zip(first, second, strict=True))
    one, other = pairs.count(("1", "0")), pairs.count(("0", "1"))
    return float(stats.binomtest(one, one + other).pvalue) if one + other else 1.0


def right_ones(network: nn.Module, samples: Samples) -> str:
    """For each sample 1 if its label is predicted, else 0, in one text."""
    predicted = metrics.predict(network, samples.x).argmax(1)
    return "".join(map(str, predicted.eq(samples.y).int().tolist()))


def deal(split: Split, seed: int) -> tuple[Split, str]:
    """The split of an audition: whoever trains, chooses or judges, no sample does two of them.

    Parameters
    ----------
    split : Split
        The reader's split.
    seed : int
        The seed of the deal.

    Returns
    -------
    split : Split
        The samples that choose settings are its validation part, those that judge its test part.
    said : str
        A sentence on the three roles and where their samples come from.

    Raises
    ------
    ValueError
        There are too few samples to deal.

    Notes
    -----
    A validation part that is checked is dealt in two halves beside a clean meta set. Otherwise the
    first of the validation, meta and test part that is checked is dealt in three: a quarter is the
    meta set, a quarter chooses, and half judges. A test part that is not dealt is not touched. If
    no part is checked, a tenth of the noisy training samples choose and a tenth judge.
    """
    checked = [part for part in ("validation", "meta", "test") if split.is_checked(part)]
    if not checked:
        roles = _dealt(split.train, NOISY_SHARE, seed)
        found = _with(split, "train", {"validation": roles == 0, "test": roles == 1})
        found = found.keep((roles > 1).to(split.train.y.device))
        said = (
            f"No label is checked: of {len(roles):,} noisy samples {len(found.validation):,} choose"
            f" settings, {len(found.test):,} judge, and neither are trained on."
        )
        return replace(found, meta_is_clean=False), said
    part = checked[0]
    samples = getattr(split, part)
    if len(samples) < FEWEST:
        raise ValueError(
            f"`split` has {len(samples)} checked samples in its {part} part; an audition needs at "
            f"least {FEWEST} to choose and to judge by, or no checked part at all"
        )
    if part == "validation" and "meta" in checked:
        roles = _dealt(samples, 2, seed)
        found = _with(split, part, {"validation": roles == 0, "test": roles == 1})
    else:
        roles = _dealt(samples, 4, seed)
        places = {"meta": roles == 0, "validation": roles == 1, "test": roles > 1}
        found = _with(split, part, places)
        found = replace(found, meta_is_clean=True)
    said = (
        f"Checked: {len(found.meta):,} samples may be trained on, {len(found.validation):,} choose "
        f"settings, {len(found.test):,} judge; the last two are dealt from the {part} part."
    )
    return found, said


def _with(split: Split, part: str, places: dict[str, Tensor]) -> Split:
    """The split with parts taken from one of its parts."""
    samples, rows = getattr(split, part), split.indices[part]
    origin = split.origins.get(part, "train")
    return replace(
        split,
        **{name: samples.subset(chosen) for name, chosen in places.items()},
        indices={**split.indices, **{name: rows[chosen] for name, chosen in places.items()}},
        origins={**split.origins, **dict.fromkeys(places, origin)},
    )


def _dealt(samples: Samples, hands: int, seed: int) -> Tensor:
    """For each sample a number below `hands`, class by class in turn; copies have the same."""
    y = samples.y.cpu()
    order = torch.randperm(len(y), generator=generator(seed, "audition"), device="cpu")
    order = order[y[order].argsort(stable=True)]
    groups = order if samples.groups is None else samples.groups[order]
    dealt, known = torch.empty_like(y), dict[int, int]()
    for row, group in zip(order.tolist(), groups.tolist(), strict=True):
        dealt[row] = known.setdefault(group, len(known)) % hands
    return dealt


def digest_of(split: Split, network: Callable[[int], nn.Module]) -> dict[str, str]:
    """What a plan says of a reader's data and network: 12 hexadecimal digits of each.

    Parameters
    ----------
    split : Split
        The data: rows, labels and up to 64 inputs of each part count.
    network : callable
        ``network(seed)`` returns a new network; its class and its first weights count.

    Returns
    -------
    dict
        ``split`` and ``network``.

    Raises
    ------
    TypeError
        The callable returns no network.
    ValueError
        Two calls with one seed return the same object, or other weights.
    """
    sha = hashlib.sha256(split.digest.encode())
    for name in ("train", "meta", "validation", "test"):
        for part in parts_of(getattr(split, name).x).values():
            sha.update(part[:64].cpu().numpy().tobytes())
    first, second = network(0), network(0)
    if not isinstance(first, nn.Module):
        raise TypeError(f"`network(0)` is a {type(first).__name__}; it must be a new nn.Module")
    if first is second:
        raise ValueError("`network(0)` is the same object at each call; it must be a new one")
    weights, again = _weights(first), _weights(second)
    if weights != again:
        raise ValueError(
            "`network(0)` has other weights at each call; make them from its argument, the seed"
        )
    return {"split": sha.hexdigest()[:12], "network": weights}


def _weights(network: nn.Module) -> str:
    sha = hashlib.sha256(type(network).__qualname__.encode())
    for name, tensor in network.state_dict().items():
        sha.update(name.encode() + tensor.detach().cpu().float().numpy().tobytes())
    return sha.hexdigest()[:12]
