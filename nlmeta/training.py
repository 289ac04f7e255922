"""`fit`: the one training loop of the book.

It does what every run needs around a method's `step` and nothing of the method itself: batches,
learning rate, warm-up, evaluation after each epoch, a history, checkpoints that continue to the
same numbers, and a clean stop on Ctrl-C. A method works without it: its `step` goes into any loop.
"""

import hashlib
import math
import os
import time
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from inspect import signature
from itertools import chain, repeat
from pathlib import Path
from types import BuiltinFunctionType, FunctionType
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from tqdm import tqdm

from nlmeta import distributed, metrics
from nlmeta._checks import check_choice, check_count, check_not_negative, check_positive, check_rate
from nlmeta._torch import bytes_of, compiled, move
from nlmeta.data import Batch, Batches, ImageFiles, Images, Samples, Split
from nlmeta.data.batches import draw_batches
from nlmeta.methods import Method
from nlmeta.models.copies import check_initialised
from nlmeta.seeding import generator, seeded

__all__ = ["Result", "choose_device", "fit", "progress_wanted"]

CHECKPOINT_FORMAT = 5
PRECISIONS = ("float32", "float64", "bfloat16", "auto")
SCHEDULES = ("cosine", "constant")
ANSWERS = 8  # samples whose logits stand in a checkpoint
CHANGED = 0.01  # of the largest such logit: far above what another machine rounds


@dataclass(frozen=True)
class Result:
    """What a training run leaves behind.

    Attributes
    ----------
    model : nn.Module
        The trained network.
    method : Method
        With whatever it learned beside the network.
    history : pandas.DataFrame
        A row an epoch: ``epoch``, ``lr``, the method's diagnostics as means over the epoch's steps
        (``loss``, ...), ``test_accuracy`` (not a number without a test part), ``train_accuracy``
        (share of the *given* training labels that are predicted), ``memorised`` (the same among
        wrong labels only; not a number where none is wrong or nobody knows; neither if training
        images stay on disk, which would all be decoded once more), what `on_epoch` returned,
        ``seconds``.
    finished : bool
        False if the run was stopped by Ctrl-C. The network is then as it was at that moment, maybe
        inside an epoch; the checkpoint holds the last whole epoch, and continues from there.
    """

    model: nn.Module
    method: Method
    history: pd.DataFrame
    finished: bool

    @property
    def predictor(self) -> nn.Module:
        """The network to predict with: the trained one, or the method's average of it."""
        return self.method.predictor(self.model)

    @property
    def accuracy(self) -> float:
        """Clean test accuracy after the last epoch. Never that of the best one.

        It is not a number where the split has no test part.
        """
        if "test_accuracy" not in self.history:
            raise ValueError("the run was stopped before anything was evaluated")
        return float(self.history["test_accuracy"].iloc[-1])


def fit(
    method: Method,
    model: nn.Module,
    split: Split,
    *,
    epochs: int,
    seed: int,
    warmup_epochs: int = 0,
    batch_size: int = 64,
    meta_batch_size: int | None = None,
    lr: float = 0.05,
    momentum: float = 0.9,
    weight_decay: float = 5e-4,
    schedule: Literal["cosine", "constant"] | Sequence[int] = "cosine",
    device: torch.device | str | None = None,
    precision: Literal["float32", "float64", "bfloat16", "auto"] = "float32",
    channels_last: bool = False,
    compile: bool | str = False,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
    evaluate_every: int = 1,
    on_epoch: Callable[[int, nn.Module, Method], Mapping[str, float]] | None = None,
    progress: bool | None = None,
) -> Result:
    """Train a network with a method.

    Parameters
    ----------
    method : Method
        Takes the steps.
    model : nn.Module
        Returns logits of shape (n, C). Trained in place, in training mode. Where it comes in that
        mode with parts in evaluation mode, as frozen norm layers are, these stay in it.
    split : Split
        The data. What is in memory is moved to the device as a whole; images on disk are decoded
        ahead of each batch. Training images are augmented as `Split.augmented` says.
    epochs : int
        Passes over the training part, warm-up included. The result is that of the last.
    seed : int
        Draws the batches and, where the network has it, dropout. Split and weights have their own.
    warmup_epochs : int
        First epochs, with plain cross-entropy. Default 0.
    batch_size : int
        Default 64. With several processes that of the joint batch, a multiple of their number.
    meta_batch_size : int, optional
        Clean samples a step, drawn anew each time. Default: the whole meta set. With several
        processes a multiple of their number; the whole set is cut to one. Images on disk need a
        number.
    lr, momentum, weight_decay : float
        Of SGD. Defaults 0.05, 0.9, 5e-4 (ours, `nlmeta.presets.DIGITS`).
    schedule : {"cosine", "constant"} or sequence of int
        ``"cosine"`` (default) takes the learning rate from `lr` to zero over all steps. Epochs,
        counted from 1: from each of them on the rate is a tenth of what it was before.
    device : torch.device or str, optional
        Default: CUDA if there is one, then Apple's MPS, then the CPU.
    precision : {"float32", "float64", "bfloat16", "auto"}
        ``"bfloat16"`` means autocast, with weights in float32. ``"auto"`` is that on a GPU which
        computes in it natively (since Ampere), and ``"float32"`` elsewhere, on a T4 for example.
        Default ``"float32"``.
    channels_last : bool
        Lay images and the weights of convolutions out with the channels last, which many devices
        prefer. Numbers change by rounding. Default False.
    compile : bool or str
        Compile the network's passes with `torch.compile`; a string names one of its backends.
        Numbers change by rounding. Tangents and evaluation stay as they are. Not for
        ``mode="exact"`` nor MLNT's second order: a compiled network cannot be differentiated twice.
        Default False.
    checkpoint : path, optional
        File written after each epoch, whole or not at all. Without `resume` it must not exist yet.
    resume : bool
        Continue from `checkpoint` if it is there. The run then ends at the same numbers as an
        uninterrupted one, bit for bit on the CPU. Default False.
    evaluate_every : int
        Evaluate after every so many epochs, and after the last. Default 1. The history holds no
        number where nothing was evaluated.
    on_epoch : callable, optional
        ``on_epoch(epoch, model, method)`` after each epoch; the numbers it returns join the
        history. What it draws from PyTorch's generators comes from a stream of its own for each
        epoch, so it does not change the run. Modes that it sets are put back, `requires_grad`
        stays. If it has `state_dict` and `load_state_dict`, its
        state is in the checkpoint.
    progress : bool, optional
        Show a progress bar. Default: unless the environment variable ``NLMETA_PROGRESS`` is 0.

    Returns
    -------
    Result

    Raises
    ------
    ValueError
        An argument is out of range, or the checkpoint is not one of this run.
    FloatingPointError
        A loss or another diagnostic stopped being finite. The last checkpoint stays.

    Notes
    -----
    Under ``torchrun``, after `nlmeta.distributed.start`, all processes train the one network
    together: each on its part of every batch, and all call `fit` with the same arguments. The
    network starts from the weights of process 0. That process alone shows progress and writes the
    checkpoint, and all read it, with the same number of processes as before. Each evaluates, and
    calls `on_epoch`.
    """
    check_count("epochs", epochs)
    check_count("evaluate_every", evaluate_every)
    check_positive("lr", lr)
    check_rate("momentum", momentum)
    check_not_negative("weight_decay", weight_decay)
    if isinstance(schedule, str):
        check_choice("schedule", schedule, SCHEDULES)
    else:
        schedule = list(schedule)
        for drop in schedule:
            check_count("schedule", drop)
    check_choice("precision", precision, PRECISIONS)
    if not isinstance(compile, bool | str):
        raise ValueError(f"`compile` is {compile!r}; it must be True, False or a backend's name")
    if meta_batch_size is not None:
        check_count("meta_batch_size", meta_batch_size)
    check_count("warmup_epochs", warmup_epochs, minimum=0)
    if warmup_epochs > epochs:
        raise ValueError(f"`warmup_epochs` is {warmup_epochs}; it must lie in 0 to {epochs}")
    if resume and checkpoint is None:
        raise ValueError("`resume` is True without a `checkpoint` to continue from")
    _check_split(split, method, meta_batch_size)
    processes = distributed.world_size()
    distributed.check_divisible("batch_size", batch_size)
    if meta_batch_size is not None:
        distributed.check_divisible("meta_batch_size", meta_batch_size)
    device = choose_device(device)
    if precision == "auto":
        precision = _native_precision(device)
    dtype = torch.float64 if precision == "float64" else torch.float32
    check_initialised("model", model)
    split = split.to(device, dtype)
    move(model, device, dtype)
    if channels_last:
        model.to(memory_format=torch.channels_last)
    move(method, device, dtype)
    if not model.training:
        model.train()

    path = None if checkpoint is None else Path(checkpoint)
    parts = ("train", "meta", "test")
    settings: dict[str, Any] = {
        "method": method.settings,
        "network": f"{type(model).__name__}, {_size(model)} parameters",
        "layers": _layers(model),
        "split": split.digest,
        "inputs": {part: _inputs(getattr(split, part), whole=path is not None) for part in parts},
        "epochs": epochs,
        "seed": seed,
        "warmup_epochs": warmup_epochs,
        "batch_size": batch_size,
        "meta_batch_size": meta_batch_size,
        "lr": lr,
        "momentum": momentum,
        "weight_decay": weight_decay,
        "schedule": schedule,
        "precision": precision,
        "channels_last": channels_last,
        "compile": compile,
        "processes": processes,
    }
    settings = _plain(settings)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=lr, momentum=momentum, weight_decay=weight_decay
    )
    run = _Run(model, method, optimizer, split, settings, device, on_epoch)
    there = path is not None and path.exists()
    _check_alike({**settings, "checkpoint given": path is not None, "checkpoint exists": there})
    if path is not None and there and not resume:
        raise ValueError(
            f"`checkpoint` {str(path)!r} exists; pass resume=True to continue that run, "
            "or name another file"
        )
    finished = True
    networks = [n for m in method.modules() if isinstance(m, Method) for n in m.networks]
    number = distributed.rank()
    mine = f" {number}" if number else ""
    with seeded(seed, f"training{mine}", device):
        if path is not None and there:
            run.load(path)
        distributed.broadcast(model, method)
        with _bar(epochs, len(run.rows), type(method).__name__, progress) as bar:
            try:
                for epoch in range(len(run.rows) + 1, epochs + 1):
                    started = time.perf_counter()
                    with compiled(model, compile), distributed.joint(model, *networks):
                        row = run.train_epoch(epoch)
                    distributed.broadcast(model, method)  # statistics differ until here
                    # With a stream of its own: what is drawn here moves no dropout of the run.
                    with seeded(seed, f"after epoch {epoch}{mine}", device):
                        if epoch % evaluate_every == 0 or epoch == epochs:
                            row |= _evaluate(method.predictor(model), split)
                        if on_epoch is not None:
                            numbers = on_epoch(epoch, model, method) or {}
                            row |= {k: float(v) for k, v in numbers.items()}
                    row["seconds"] = time.perf_counter() - started
                    run.rows.append(row)
                    if path is not None:
                        run.save(path)
                    shown = {k: row[k] for k in ("loss", "test_accuracy") if k in row}
                    bar.set_postfix({name: f"{value:.3f}" for name, value in shown.items()})
                    bar.update()
            except KeyboardInterrupt:
                finished = False
                kept = "" if path is None else f"; resume=True continues from {str(path)!r}"
                if number == 0:
                    tqdm.write(f"stopped after {len(run.rows)} of {epochs} epochs{kept}")
    return Result(model, method, pd.DataFrame(run.rows), finished)


def choose_device(device: torch.device | str | None = None) -> torch.device:
    """The device asked for, or the fastest there is.

    Parameters
    ----------
    device : torch.device or str, optional
        For example ``"cpu"`` or ``"cuda:1"``. Default: CUDA, else MPS, else the CPU.

    Returns
    -------
    torch.device

    Raises
    ------
    ValueError
        The name is unknown, or this machine has no such device.
    """
    if device is None:
        if torch.cuda.is_available():
            return torch.device("cuda", torch.cuda.current_device())
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    allowed = "`device` is {!r}; it must be 'cpu', 'mps' or 'cuda', or one with a number, 'cuda:1'"
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise ValueError(allowed.format(str(device))) from None
    available = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (chosen.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if chosen.type not in available:
        raise ValueError(allowed.format(str(device)))
    if not available[chosen.type]:
        raise ValueError(f"`device` is {str(device)!r}; this machine has no such device")
    if chosen.type == "cuda" and chosen.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return chosen


def progress_wanted(progress: bool | None = None) -> bool:
    """Whether to show progress bars: as asked, else unless ``NLMETA_PROGRESS`` is 0.

    Parameters
    ----------
    progress : bool, optional
        Default: ask the environment.

    Returns
    -------
    bool
    """
    return os.environ.get("NLMETA_PROGRESS", "1") != "0" if progress is None else progress


class _Run:
    """A run in progress: all that it must keep to go on as if nothing had happened."""

    def __init__(
        self,
        model: nn.Module,
        method: Method,
        optimizer: torch.optim.Optimizer,
        split: Split,
        settings: dict[str, Any],
        device: torch.device,
        on_epoch: object,
    ) -> None:
        self.on_epoch = on_epoch
        self.model, self.method, self.optimizer = model, method, optimizer
        self.split, self.settings, self.device = split, settings, device
        self.rows: list[dict[str, float]] = []
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
        """One pass over the training part; the first row entries of the history."""
        steps = len(self.batches)
        for part, mode in self.modes:  # `train` would wake up layers that the caller had frozen
            part.training = mode
        diagnostics = []
        pairs = zip(self.batches, self._meta_batches(epoch, steps), strict=True)
        for i, (train, meta) in enumerate(pairs):
            share_done = ((epoch - 1) * steps + i) / (self.settings["epochs"] * steps)
            lr = self.settings["lr"] * _factor(self.settings["schedule"], epoch, share_done)
            for group in self.optimizer.param_groups:
                group["lr"] = lr
            with _autocast(self.settings["precision"], self.device):
                diagnostics.append(self._step(epoch, train, meta))
        means = _means(diagnostics, type(self.method).__name__, epoch)
        return {"epoch": epoch, "lr": lr, **means}

    def _meta_batches(self, epoch: int, steps: int) -> Iterator[Batch | None]:
        """One for each step, or None where there is nothing to do with it."""
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
        if not self.settings["channels_last"] or batch.x.ndim != 4:
            return batch
        return batch._replace(x=batch.x.contiguous(memory_format=torch.channels_last))

    def save(self, path: Path) -> None:
        random_state = {name: g.get_state() for name, g in self.generators.items()}
        random_state["cpu"] = distributed.gather(torch.get_rng_state()[None])  # (W, ...)
        if self.device.type == "cuda":
            own = torch.cuda.get_rng_state(self.device)
            random_state["cuda"] = distributed.gather(own[None])
        state = {
            "format": CHECKPOINT_FORMAT,
            "settings": self.settings,
            "rows": self.rows,
            "model": self.model.state_dict(),
            "method": self.method.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "random_state": random_state,
            "answers": self.answers(),
        }
        if hasattr(self.on_epoch, "state_dict"):
            state["on_epoch"] = self.on_epoch.state_dict()
        if distributed.rank() == 0:
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_name(path.name + ".part")
            torch.save(state, unfinished)
            unfinished.replace(path)  # in one go, so that a crash leaves the old file whole
        distributed.gather_objects(None)  # nobody goes on before the file is there

    def answers(self) -> Tensor:
        """Logits of the first training samples: what a network with these weights computes."""
        with seeded(0, "answers", self.device):  # nothing is drawn from the run's own stream
            first = self.split.train.x[slice(ANSWERS)]
            return metrics.predict(self.model, first).to("cpu", torch.float64)

    def load(self, path: Path) -> None:
        try:
            # Loading moves what belongs on the device, and leaves Adam's count of steps in Python,
            # where it is not waited for.
            state = torch.load(path, map_location="cpu", weights_only=True)
            known = isinstance(state, dict) and state.get("format") == CHECKPOINT_FORMAT
        except Exception as error:  # torch raises many kinds for a file that is not its own
            reason = str(error).partition("\n")[0]  # further lines advise to trust the file
            raise ValueError(
                f"`checkpoint` {str(path)!r} cannot be read as a checkpoint; it is truncated or "
                f"of another program. Move it away to start anew. PyTorch says: {reason}"
            ) from error
        if not known:
            raise ValueError(
                f"`checkpoint` {str(path)!r} is not a checkpoint of this version of `nlmeta.fit`"
            )
        theirs = state["settings"]
        for name, there, here in _differences(theirs, self.settings):
            raise ValueError(
                f"`checkpoint` {str(path)!r} is of another run: there `{name}` is {there!r}, here "
                f"{here!r}"
            )
        try:
            self.model.load_state_dict(state["model"])
            self.method.load_state_dict(state["method"])
            self.optimizer.load_state_dict(state["optimizer"])
        except (RuntimeError, ValueError) as error:
            raise ValueError(
                f"`checkpoint` {str(path)!r} is of another network: {error}"
            ) from error
        before, now = state["answers"].double(), self.answers().double()
        if (now - before).abs().max() > CHANGED * before.abs().max():
            raise ValueError(
                f"`checkpoint` {str(path)!r} is of another network: at the weights that it holds, "
                "the one here gives other logits for the same samples. What it computes has "
                "changed, an activation function for example; or it draws random numbers from "
                "elsewhere than PyTorch"
            )
        if hasattr(self.on_epoch, "load_state_dict"):
            if "on_epoch" not in state:
                raise ValueError(
                    f"`checkpoint` {str(path)!r} was written without what `on_epoch` keeps; "
                    "it can only be continued without it"
                )
            self.on_epoch.load_state_dict(state["on_epoch"])
        random_state = {name: s.cpu() for name, s in state["random_state"].items()}
        for name, g in self.generators.items():
            g.set_state(random_state[name])
        own = distributed.rank()  # cloned, since PyTorch crashes on a state that is a view
        torch.set_rng_state(random_state["cpu"][own].clone())
        if self.device.type == "cuda" and "cuda" in random_state:
            torch.cuda.set_rng_state(random_state["cuda"][own].clone(), self.device)
        self.rows = state["rows"]


def _check_split(split: Split, method: Method, meta_batch_size: int | None) -> None:
    """Require what a method needs of the data."""
    if len(split.train) == 0:
        raise ValueError("`split` has an empty training part; there is nothing to train on")
    if method.needs_meta and len(split.meta) == 0:
        raise ValueError(f"`split` has an empty meta set; {type(method).__name__} needs one")
    processes = distributed.world_size()
    fewest = min(len(split.train), len(split.meta)) if method.needs_meta else len(split.train)
    if fewest < processes:
        raise ValueError(
            f"`split` has a part of {fewest} samples; {processes} processes need one each"
        )
    on_disk = isinstance(split.meta.x, Images) and split.meta.x.on_disk
    if method.needs_meta and on_disk and meta_batch_size is None:
        raise ValueError(
            f"`meta_batch_size` is None, which takes all {len(split.meta)} meta images in every "
            "step, and these would be decoded anew each time; name a number"
        )
    if method.num_samples not in (None, len(split.train)):
        raise ValueError(
            f"`method` keeps something for each of {method.num_samples} samples; "
            f"the training part has {len(split.train)}"
        )
    if method.needs_meta_labels:
        missing = sorted(set(range(split.num_classes)) - set(split.meta.y.tolist()))
        if missing:
            raise ValueError(
                f"`split` has a meta set without class {missing[0]}; {type(method).__name__} "
                "learns from its labels and needs every class there"
            )


def _inputs(samples: Samples, *, whole: bool) -> str:
    """What inputs are beside their rows and labels, which the digest has: size, scale, change.

    As a whole: and the numbers themselves, or, of images on disk, the names of their files.
    """
    x = samples.x
    said = repr(x.to("cpu", torch.float32)) if isinstance(x, Images) else str(tuple(x.shape))
    if not whole:
        return said
    stored = x.stored if isinstance(x, Images) else x
    if isinstance(stored, ImageFiles):
        numbers = "\n".join(stored.names).encode()
    else:
        numbers = bytes_of(stored)
    return f"{said}, SHA-256 {hashlib.sha256(numbers).hexdigest()}"


def _layers(model: nn.Module) -> dict[str, str]:
    """Of each module what its weights do not tell: rates, activation functions, what is frozen."""
    told = float | str | FunctionType | BuiltinFunctionType
    layers = {}
    for name, module in model.named_modules():
        chosen = _parameters(type(module))  # what else a module notes may change in training
        options = [
            f"{option}={getattr(value, '__name__', value)}"
            for option, value in vars(module).items()
            if option in chosen and isinstance(value, told)
        ]
        frozen = [n for n, p in module.named_parameters(recurse=False) if not p.requires_grad]
        state = ["in evaluation mode"] * (not module.training) + [f"{n} frozen" for n in frozen]
        said = filter(None, [module.extra_repr(), *options, *state])
        layers[name or "network"] = f"{type(module).__name__}({', '.join(said)})"
    return layers


def _parameters(kind: type[nn.Module]) -> Container[str]:
    """The names of what its constructor takes; none of one that is not written in Python."""
    try:
        return signature(kind).parameters
    except ValueError:
        return ()


def _differences(theirs: Any, ours: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Where two mappings differ, level by level: the place, and what each has there."""
    if isinstance(theirs, Mapping) and isinstance(ours, Mapping):
        for key in dict.fromkeys((*ours, *theirs)):
            place = f"{name}.{key}" if name else str(key)
            yield from _differences(theirs.get(key), ours.get(key), place)
    elif theirs != ours:
        yield name, theirs, ours


def _size(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def _check_alike(settings: dict[str, Any]) -> None:
    """Require that all processes were asked for the same run."""
    for number, theirs in enumerate(distributed.gather_objects(settings)):
        for name, there, here in _differences(theirs, settings):
            raise ValueError(
                f"all processes must run the same: `{name}` is {there!r} in process {number}, "
                f"{here!r} in process {distributed.rank()}"
            )


def _plain(value: Any) -> Any:
    """Without numpy's numbers, which a checkpoint read with `weights_only` may not hold."""
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    return value.item() if isinstance(value, np.generic) else value


def _factor(schedule: str | list[int], epoch: int, position: float) -> float:
    """What the learning rate is multiplied with, `position` running from 0 to 1 over the run."""
    if isinstance(schedule, list):
        return 0.1 ** sum(epoch >= drop for drop in schedule)
    return 0.5 * (1 + math.cos(math.pi * position)) if schedule == "cosine" else 1.0


def _native_precision(device: torch.device) -> Literal["bfloat16", "float32"]:
    """bfloat16 where the card does not emulate it: since compute capability 8."""
    native = device.type == "cuda" and torch.cuda.get_device_capability(device)[0] >= 8
    return "bfloat16" if native else "float32"


def _autocast(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    if precision != "bfloat16":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def _means(diagnostics: list[dict[str, Tensor]], method: str, epoch: int) -> dict[str, float]:
    """Means over an epoch's steps, or over those that had the number.

    The device is waited for here, once, and not in each step.
    """
    means = {}
    for name in dict.fromkeys(chain.from_iterable(diagnostics)):
        steps = [step for step, d in enumerate(diagnostics, start=1) if name in d]
        values = torch.stack([diagnostics[step - 1][name] for step in steps]).cpu().double()
        if not values.isfinite().all():
            first = int((~values.isfinite()).nonzero()[0])
            raise FloatingPointError(
                f"{method}: `{name}` is {values[first]} at step {steps[first]} of epoch {epoch}; "
                "a smaller learning rate often helps. Earlier checkpoints are untouched"
            )
        means[name] = values.mean().item()
    return means


def _evaluate(predictor: nn.Module, split: Split) -> dict[str, float]:
    test = _finite_logits(predictor, split.test)  # of no samples without a test part
    measured = {"test_accuracy": metrics.accuracy(test, split.test.y)}
    if isinstance(split.train.x, Images) and split.train.x.on_disk:
        return measured
    train = _finite_logits(predictor, split.train)
    return measured | {
        "train_accuracy": metrics.accuracy(train, split.train.y),
        "memorised": metrics.memorised(train, split.train.y, split.true_labels),
    }


def _finite_logits(predictor: nn.Module, samples: Samples) -> Tensor:
    logits = metrics.predict(predictor, samples.x)
    if not logits.isfinite().all():
        raise FloatingPointError(
            "the network's logits are no longer finite; a smaller learning rate often helps. "
            "Earlier checkpoints are untouched"
        )
    return logits


@contextmanager
def _bar(epochs: int, done: int, title: str, progress: bool | None) -> Iterator[Any]:
    with tqdm(
        total=epochs,
        initial=done,
        desc=title,
        unit="epoch",
        leave=False,
        disable=distributed.rank() > 0 or not progress_wanted(progress),
    ) as bar:
        yield bar
