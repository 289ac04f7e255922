"""How far the direction of a cheap hypergradient is from the one in double precision."""

import copy
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nlmeta import bilevel, losses, seeding
from nlmeta._checks import check_count
from nlmeta._interface import each, rows_of
from nlmeta.bilevel import Lookahead
from nlmeta.data import load
from nlmeta.data.batches import Batch, draw_batch
from nlmeta.data.split import Samples
from nlmeta.experiments.cost.candidates import LOOKAHEADS
from nlmeta.methods.base import backward, descend

__all__ = ["ESTIMATES", "TRIALS", "measure_precision"]

ESTIMATES = (
    ("exact", torch.float32),
    ("jvp, fast", torch.float32),
    ("fd, fast", torch.float32),
    ("jvp, fast", torch.bfloat16),
    ("jvp, last layer", torch.float32),
    ("act first, jvp", torch.float32),
    ("act first, fd one-sided", torch.float32),
    ("act first, fd one-sided, outer gradient in bfloat16", torch.float32),
    ("act first, jvp, bfloat16", torch.float32),
)
Half = Literal["bfloat16"] | None
TRIALS: Mapping[str, Half] = {"float32": None, "bfloat16": "bfloat16"}  # trial steps of MLNT


def measure_precision(
    model: nn.Module,
    *,
    network: str,
    shape: Sequence[int] = (3, 32, 32),
    trained: Sequence[int] = (0, 100, 300),
    batch: int = 64,
    batches: int = 3,
    device: str | torch.device = "cpu",
    seed: int,
    report: Callable[[str], None] | None = None,
) -> list[dict[str, Any]]:
    """Cosine between hypergradients of sample weights and the double backward in float64.

    An act-first sequence takes a plain step of the size of the virtual one, so all have the same
    hypergradient to compare with. For MLNT it is the first-order gradient by the parameters, from
    trial steps on two sets of random labels towards the network's own prediction.

    The data are the digits with 40 % symmetric noise, brought to the size asked for; the network is
    trained on their noisy labels by cross-entropy.

    Parameters
    ----------
    model : nn.Module
        The network, for ten classes. It is copied.
    network : str
        Its name, for the rows.
    shape : sequence of int
        Channels, height and width of an image. Default (3, 32, 32).
    trained : sequence of int
        Numbers of training steps after which it is measured, in rising order. Default
        (0, 100, 300).
    batch : int
        Samples in a training batch and in a meta batch. Default 64.
    batches : int
        Number of pairs of batches to average over. Default 3.
    device : str or torch.device
        The device. Default ``"cpu"``.
    seed : int
        Seed of split, noise and batches.
    report : callable, optional
        A function that is called with a sentence now and then. Default: nothing is said.

    Returns
    -------
    list of dict
        A row for each number of steps and each estimate: ``mode`` (as in the table of costs),
        ``dtype`` (bfloat16 is autocast around everything), ``trained`` (steps), ``cosine`` (mean),
        ``cosine_min``, ``network``, ``batch``, ``batches``.
    """
    check_count("batches", batches)
    split = load("digits", noise="symmetric", rate=0.4, seed=seed)
    train, meta = (_resized(part, shape).to(device) for part in (split.train, split.meta))
    model = copy.deepcopy(model).to(device).train()
    g = seeding.generator(seed, "precision")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    own = {"network": network, "batch": batch, "batches": batches}
    rows: list[dict[str, Any]] = []
    for before, steps in pairwise((0, *trained)):
        if report is not None:
            report(f"precision after {steps} training steps")
        for _ in range(steps - before):
            x, y, _ = draw_batch(train, batch, generator=g)
            descend(optimizer, F.cross_entropy(model(x), y))
        cosines: dict[tuple[str, torch.dtype], list[float]] = {}
        for _ in range(batches):
            pair = (draw_batch(train, batch, generator=g), draw_batch(meta, batch, generator=g))
            truth = _hypergradient(copy.deepcopy(model).double(), *pair, LOOKAHEADS["exact"])
            for mode, dtype in ESTIMATES:
                with torch.autocast(pair[0].y.device.type, dtype, enabled=dtype != torch.float32):
                    got = _hypergradient(copy.deepcopy(model), *pair, LOOKAHEADS[mode])
                cosine = F.cosine_similarity(got.double(), truth, dim=0).item()
                cosines.setdefault((mode, dtype), []).append(cosine)
            labels = pair[0].y[torch.randint(batch, (2, batch), generator=g).to(pair[0].y.device)]
            truth = _trial_gradient(copy.deepcopy(model).double(), pair[0], labels)
            for kind, half in TRIALS.items():
                got = _trial_gradient(copy.deepcopy(model), pair[0], labels, dtype=half)
                cosine = F.cosine_similarity(got.double(), truth, dim=0).item()
                cosines.setdefault((f"MLNT, trials in {kind}", torch.float32), []).append(cosine)
        for (mode, dtype), found in cosines.items():
            near = {"cosine": sum(found) / len(found), "cosine_min": min(found)}
            name = str(dtype).removeprefix("torch.")
            rows.append({"mode": mode, "trained": steps, **near, **own, "dtype": name})
    return rows


def _hypergradient(model: nn.Module, train: Batch, meta: Batch, how: Lookahead) -> Tensor:
    """By a weight on each training sample, shape (n,), in the network's type."""
    like = next(model.parameters())
    w = torch.full((len(train.y),), 1 / len(train.y), dtype=like.dtype, device=like.device)
    w.requires_grad_()

    def typed(x: Tensor) -> Tensor:
        return x.to(like.dtype)

    forward = bilevel.forward_pass(model, each(typed, train.x))

    def inner_loss(logits: Tensor) -> Tensor:
        return (w * F.cross_entropy(logits, train.y, reduction="none")).sum()

    taken = None
    if how.acts_first:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        backward(optimizer, inner_loss(forward.logits))
        taken = bilevel.act(model, optimizer)
    return bilevel.hypergradient(
        model,
        forward,
        inner_loss,
        outer_loss=lambda network: F.cross_entropy(network(each(typed, meta.x)), meta.y),
        meta_parameters=[w],
        lr=0.1,
        mode=how,
        taken=taken,
    ).gradients[0]


def _trial_gradient(
    model: nn.Module, train: Batch, labels: Tensor, *, dtype: Half = None
) -> Tensor:
    """Of MLNT, by all parameters, in one row."""
    like = next(model.parameters())
    x = each(lambda part: part.to(like.dtype), train.x)
    forward = bilevel.forward_pass(model, x)
    log_q = forward.logits.detach().log_softmax(1)

    def divergence(network: Callable[..., Any]) -> Tensor:
        return losses.soft_label_divergence(network(x), log_q, direction="label-first")

    gradient, _ = bilevel.mean_trial_gradient(
        model, forward, F.cross_entropy, labels, divergence, lr=0.1, dtype=dtype
    )
    return torch.cat([g.flatten() for g in gradient.values()])


def _resized(samples: Samples, shape: Sequence[int]) -> Samples:
    channels, *size = shape
    x = F.interpolate(rows_of(samples.x, slice(None)), size=size, mode="bilinear")
    return Samples(x.expand(-1, channels, -1, -1).contiguous(), samples.y)
