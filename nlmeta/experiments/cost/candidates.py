"""Every kind of training step that is compared."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from nlmeta import methods
from nlmeta.bilevel import Lookahead
from nlmeta.data.batches import Batch
from nlmeta.experiments.cost import literal
from nlmeta.methods import CLIDMU, MLC, MLNT, MSLG, Method

__all__ = ["CANDIDATES", "LOOKAHEADS", "Candidate", "num_classes"]

LOOKAHEADS = {
    "exact": Lookahead("exact"),
    "jvp, fast": Lookahead("jvp"),
    "jvp, lean": Lookahead("jvp", recompute=True),
    "fd, fast": Lookahead("fd"),
    "fd, lean": Lookahead("fd", recompute=True),
    "fd one-sided, fast": Lookahead("fd", one_sided=True),
    "fd one-sided, lean": Lookahead("fd", one_sided=True, recompute=True),
    "jvp, last layer": Lookahead("jvp", only=("classifier",)),
}


@dataclass(frozen=True)
class Candidate:
    """One way to take a training step.

    Attributes
    ----------
    method, mode : str
        Its row in the table.
    build : callable
        ``build(model, train)`` returns the method for a network and the batch it is timed on.
    steps : int
        Steps that are timed together; their mean counts. Default 1.
    device : str, optional
        The only kind of device that it is for. Default: any.
    """

    method: str
    mode: str
    build: Callable[[nn.Module, Batch], Method]
    steps: int = 1
    device: str | None = None


def _mlc(model: nn.Module, train: Batch, *, kind: type[MLC] = MLC, **options: Any) -> Method:
    return kind(num_classes(model), virtual_lr=0.1, transition_lr=1.0, **options)


def _mslg(model: nn.Module, train: Batch, *, kind: type[MSLG] = MSLG, **options: Any) -> Method:
    return kind(train.y.cpu(), num_classes(model), virtual_lr=0.1, label_lr=100.0, **options)


def _clid_mu(model: nn.Module, train: Batch, *, kind: Any = CLIDMU, **options: Any) -> Method:
    return kind(methods.WeightNet(seed=0), head_lr=1e-3, **options)


def _mlnt(model: nn.Module, train: Batch, *, kind: type[MLNT] = MLNT, **options: Any) -> Method:
    return kind(model, model, trial_lr=0.1, meta_weight=1.0, seed=0, **options)


def _every_kth(model: nn.Module, train: Batch, *, build: Callable[..., Method], k: int) -> Method:
    return methods.EveryKth(build(model, train), k)


def _captured(model: nn.Module, train: Batch, *, build: Callable[..., Method]) -> Method:
    return methods.Captured(build(model, train))


def num_classes(model: nn.Module) -> int:
    """The outputs of the network's last layer, named ``classifier``."""
    classifier = model.get_submodule("classifier")
    assert isinstance(classifier, nn.Linear)
    return classifier.out_features


def _candidates() -> list[Candidate]:
    found = [Candidate("cross-entropy", "plain", lambda model, train: methods.CrossEntropy())]
    lookaheads: list[tuple[str, Callable[..., Method], type]] = [
        ("MLC", _mlc, literal.LiteralMLC),
        ("MSLG", _mslg, literal.LiteralMSLG),
        ("CLID-MU", _clid_mu, literal.LiteralCLIDMU),
    ]
    for name, build, as_released in lookaheads:
        found.append(Candidate(name, "literal", partial(build, kind=as_released)))
        for mode, how in LOOKAHEADS.items():
            found.append(Candidate(name, mode, partial(build, mode=how)))
        tenth = partial(_every_kth, build=build, k=10)
        found.append(Candidate(name, "jvp, every 10th step", tenth, steps=10))
    for order in ("first", "second"):
        literal_mlnt = partial(_mlnt, kind=literal.LiteralMLNT, order=order)
        found.append(Candidate("MLNT", f"literal, {order} order, M=10", literal_mlnt))
        for trials in (10, 5, 1) if order == "first" else (10, 1):
            build = partial(_mlnt, order=order, trials=trials)
            found.append(Candidate("MLNT", f"{order} order, M={trials}", build))
    batched = partial(_mlnt, trials_at_once=10)
    found.append(Candidate("MLNT", "first order, M=10, batched", batched))
    modes = {"plain", "jvp, fast", "fd, fast", "first order, M=10", "first order, M=10, batched"}
    for one in [one for one in found if one.mode in modes]:
        build = partial(_captured, build=one.build)
        found.append(Candidate(one.method, f"{one.mode}, captured", build, device="cuda"))
    return found


CANDIDATES: Sequence[Candidate] = tuple(_candidates())
