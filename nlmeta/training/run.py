"""A run in progress: its state, its steps, and the measurements after an epoch."""

from collections.abc import Callable, Iterator, Mapping
from itertools import chain, repeat
from typing import Any

import torch
from torch import Tensor, nn

from nlmeta import distributed
from nlmeta._interface import each
from nlmeta._torch import compiled
from nlmeta.data import Batch, Batches, Split
from nlmeta.data.batches import draw_batches
from nlmeta.methods import Method
from nlmeta.methods.base import scaled_by
from nlmeta.seeding import generator, seeded
from nlmeta.training.devices import autocast, loss_scaler
from nlmeta.training.evaluation import measure
from nlmeta.training.optimisers import rate_factor

__all__ = ["OnEpoch", "Run"]

OnEpoch = Callable[[int, nn.Module, Method], Mapping[str, float]]

#: The columns of the history, by the names of `measure`.
COLUMNS = {
    "accuracy": "test_accuracy",
    "train_accuracy": "train_accuracy",
    "memorised": "memorised",
}


class Run:
    """Everything that a run must keep so that it can be continued exactly.

    Parameters
    ----------
    method, model, split
        The arguments of `fit`, on the device of the run.
    settings : mapping
        The settings of the run, from `settings_of`.
    device : torch.device
        The device of the run.
    optimizer : torch.optim.Optimizer
        The optimiser of the network's parameters, before its first step.
    on_epoch : callable, optional
        The function that `fit` calls after each epoch.
    train_share : float
        Share of the training samples that are measured before the last epoch. Default 1.

    Attributes
    ----------
    rates : list of float
        The learning rate of each group of parameters, which the schedule multiplies.
    scaler : torch.amp.GradScaler or None
        The scaler of losses in float16.
    rows : list of dict
        The history: one row for each epoch that has ended.
    saved : int
        The number of epochs that the checkpoint holds.
    generators : dict of str to torch.Generator
        The streams that batches and meta batches are drawn from.
    """

    def __init__(
        self,
        method: Method,
        model: nn.Module,
        split: Split,
        settings: Mapping[str, Any],
        device: torch.device,
        optimizer: torch.optim.Optimizer,
        on_epoch: OnEpoch | None = None,
        train_share: float = 1.0,
    ) -> None:
        self.method, self.model, self.split = method, model, split
        self.train_share = train_share
        self.settings, self.device, self.on_epoch = settings, device, on_epoch
        self.optimizer = optimizer
        self.rates = [float(group["lr"]) for group in optimizer.param_groups]
        self.scaler = loss_scaler(settings["precision"], device)
        self.rows: list[dict[str, float]] = []
        self.saved = 0
        self.modes = [(part, part.training) for part in model.modules()]
        names = ("batches", "meta batches")
        self.generators = {name: generator(settings["seed"], name) for name in names}
        self.batches = Batches(
            split.train,
            settings["batch_size"],
            smallest=method.smallest_batch,
            generator=self.generators["batches"],
        )

    def train_epoch(self, epoch: int) -> dict[str, float]:
        """Take one pass over the training part; return the first entries of the epoch's row."""
        methods = [part for part in self.method.modules() if isinstance(part, Method)]
        networks = [self.model, *chain.from_iterable(part.networks for part in methods)]
        for part, mode in self.modes:  # `train` would wake up layers that the caller had frozen
            part.training = mode
        with compiled(self.model, self.settings["compile"]), distributed.joint(*networks):
            row = self._steps(epoch)
        distributed.broadcast(self.model, self.method)  # statistics differ until here
        return row

    def finish_epoch(self, epoch: int, *, evaluate: bool) -> dict[str, float]:
        """Measure and call `on_epoch`; return further entries of the epoch's row.

        Each epoch has a stream of its own here, so these draws do not change the run's dropout.
        """
        row: dict[str, float] = {}
        with seeded(self.settings["seed"], own_stream(f"after epoch {epoch}"), self.device):
            if evaluate:
                predictor, precision = self.method.predictor(self.model), self.settings["precision"]
                share = 1.0 if epoch == self.settings["epochs"] else self.train_share
                measured = measure(predictor, self.split, precision=precision, train_share=share)
                row |= {COLUMNS[name]: measured[name] for name in COLUMNS if name in measured}
            if self.on_epoch is not None:
                numbers = self.on_epoch(epoch, self.model, self.method) or {}
                row |= {name: float(value) for name, value in numbers.items()}
        return row

    def _steps(self, epoch: int) -> dict[str, float]:
        steps, diagnostics = len(self.batches), []
        pairs = zip(self.batches, self._meta_batches(epoch, steps), strict=True)
        for i, (train, meta) in enumerate(pairs):
            factor = rate_factor(self.settings, epoch, i, steps)
            for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
                group["lr"] = rate * factor
            with autocast(self.settings["precision"], self.device), scaled_by(self.scaler):
                diagnostics.append(self._step(epoch, train, meta))
        means = _means(diagnostics, type(self.method).__name__, epoch)
        return {"epoch": epoch, "lr": self.rates[0] * factor, **means}

    def _meta_batches(self, epoch: int, steps: int) -> Iterator[Batch | None]:
        """A meta batch for each step, or None for steps that do not use one."""
        if epoch <= self.settings["warmup_epochs"] or not self.method.needs_meta:
            return repeat(None, steps)
        size, order = self.settings["meta_batch_size"], self.generators["meta batches"]
        return draw_batches(self.split.meta, size, steps, generator=order)

    def _step(self, epoch: int, train: Batch, meta: Batch | None) -> dict[str, Tensor]:
        train = self._laid_out(train)
        if epoch <= self.settings["warmup_epochs"]:
            return self.method.warmup_step(self.model, self.optimizer, train)
        meta = None if meta is None else self._laid_out(meta)
        return self.method.step(self.model, self.optimizer, train, meta)

    def _laid_out(self, batch: Batch) -> Batch:
        if not self.settings["channels_last"]:
            return batch
        return batch._replace(x=each(_channels_last, batch.x))


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x


def own_stream(purpose: str) -> str:
    """The name of this process's stream of random numbers; process 0 has the plain name."""
    number = distributed.rank()
    return f"{purpose} {number}" if number else purpose


def _means(diagnostics: list[dict[str, Tensor]], method: str, epoch: int) -> dict[str, float]:
    """Means over an epoch's steps, or over the steps that returned the number.

    The CPU waits for the device once here, and not in each step.
    """
    means = {}
    for name in dict.fromkeys(chain.from_iterable(diagnostics)):
        steps = [step for step, d in enumerate(diagnostics, start=1) if name in d]
        values = torch.stack([diagnostics[step - 1][name] for step in steps]).cpu().double()
        if not values.isfinite().all():
            first = int((~values.isfinite()).nonzero()[0])
            raise FloatingPointError(
                f"{method}: `{name}` is {values[first]} at step {steps[first]} of epoch {epoch}; "
                "a smaller learning rate often helps. Earlier checkpoints are unchanged"
            )
        means[name] = values.mean().item()
    return means
