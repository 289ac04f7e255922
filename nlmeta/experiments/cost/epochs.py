"""An epoch with its evaluation beside the training alone, and images a second of two networks."""

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from nlmeta import seeding
from nlmeta._checks import check_count
from nlmeta.data import Split, from_arrays
from nlmeta.experiments.builders import NETWORKS
from nlmeta.experiments.cost.clocks import Row, now, row
from nlmeta.methods import CrossEntropy
from nlmeta.training import fit

__all__ = ["measure_epochs"]

CLASSES = 10


def measure_epochs(
    networks: Mapping[str, Mapping[str, Any]],
    *,
    rounds: int = 3,
    device: str | torch.device = "cpu",
    seed: int,
    report: Callable[[str], None] | None = None,
) -> list[Row]:
    """Time of whole epochs of cross-entropy by `nlmeta.fit`, with and without an evaluation.

    Images and labels are random, of 3 x 32 x 32 bytes and ten classes, since their values do not
    change the time. Every second epoch is evaluated, so both kinds meet the same machine.

    Parameters
    ----------
    networks : mapping of str to mapping
        Networks by the names of their rows: ``network`` (a name in `builders.NETWORKS` and its
        options), ``train`` and ``test`` (numbers of images), ``training`` (arguments of
        `nlmeta.fit`).
    rounds : int
        Number of epochs of each kind. Default 3. One more epoch of each warms up.
    device : str or torch.device
        The device. Default ``"cpu"``.
    seed : int
        Seed of images and weights.
    report : callable, optional
        A function that is called with a sentence now and then. Default: nothing is said.

    Returns
    -------
    list of dict
        Two rows for each network as from `measure`, with ``mode`` ``"training"`` and ``"training
        and evaluation"``. ``images_a_second`` counts training images, so both can be compared;
        ``time_ratio`` is the time to that of the training alone.
    """
    check_count("rounds", rounds)
    rows: list[Row] = []
    for name, asked in networks.items():
        if report is not None:
            report(f"epochs of {name}")
        split = _random_images(asked["train"], asked["test"], seed)
        network, training = dict(asked["network"]), dict(asked["training"])
        model = NETWORKS[network.pop("name")](split, seed=seed, **network)
        spent = _seconds(model, split, training, rounds, torch.device(device), seed)
        alone = min(spent["training"])
        for mode, seconds in spent.items():
            own: Row = {"network": name, "batch": training["batch_size"], "memory": 0}
            own |= {"dtype": training.get("precision", "float32"), "plain": alone}
            made = row("an epoch", mode, seconds, **own)
            rows.append(made | {"images_a_second": asked["train"] / made["seconds"]})
    return rows


def _seconds(
    model: nn.Module,
    split: Split,
    training: Mapping[str, Any],
    rounds: int,
    device: torch.device,
    seed: int,
) -> dict[str, list[float]]:
    """Seconds of the epochs of both kinds, without the first two and the last.

    The first two warm up, and the last measures all training images.
    """
    ends: list[float] = []

    def note_time(*_: object) -> dict[str, float]:
        ends.append(now(device))
        return {}

    fit(
        CrossEntropy(),
        model,
        split,
        epochs=2 * rounds + 3,
        evaluate_every=2,
        schedule="constant",
        device=device,
        on_epoch=note_time,
        progress=False,
        seed=seed,
        **training,
    )
    seconds = [end - begin for begin, end in pairwise(ends)][1 : 1 + 2 * rounds]
    return {"training": seconds[0::2], "training and evaluation": seconds[1::2]}


def _random_images(train: int, test: int, seed: int) -> Split:
    g = seeding.generator(seed, "epochs")
    pixels = torch.randint(0, 256, (train + test, 3, 32, 32), generator=g, dtype=torch.uint8)
    labels = torch.arange(train + test) % CLASSES
    beside = pixels[train:], labels[train:]
    return from_arrays(pixels[:train], labels[:train], test=beside, standardise=True, seed=seed)
