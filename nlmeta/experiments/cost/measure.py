"""Seconds and bytes of one training step, as ratios to plain cross-entropy in the same run.

All steps are timed in turn, round after round, so that whatever else the machine does meets each of
them alike; the best round counts, and the median stands beside it. On the CPU the clock is that of
the processor, which stands still while other programs run. Seconds say more about the machine than
about the method, ratios less. Memory is the highest number of bytes that were alive at
one time during a step, above what was there before it.
"""

import copy
import os
import platform
import time
import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from nlmeta import seeding
from nlmeta._checks import check_count
from nlmeta._torch import TorchDispatchMode, tree_leaves
from nlmeta.bilevel import Lookahead
from nlmeta.data.batches import Batch
from nlmeta.experiments.cost.literal import LiteralCLIDMU, LiteralMLC, LiteralMLNT, LiteralMSLG
from nlmeta.methods import (
    CLIDMU,
    MLC,
    MLNT,
    MSLG,
    Captured,
    CrossEntropy,
    EveryKth,
    Method,
    WeightNet,
)
from nlmeta.methods.memory import LabelMemory, rows_on_disk
from nlmeta.methods.recording import WARMUP_STEPS

__all__ = [
    "CANDIDATES",
    "Candidate",
    "count_operations",
    "measure",
    "measure_label_memory",
    "peak_bytes",
    "surroundings",
]

Row = dict[str, Any]
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
MEMORY_LABELS, MEMORY_CLASSES = 1_000_000, 1_000


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
    return kind(_num_classes(model), virtual_lr=0.1, transition_lr=1.0, **options)


def _mslg(model: nn.Module, train: Batch, *, kind: type[MSLG] = MSLG, **options: Any) -> Method:
    return kind(train.y.cpu(), _num_classes(model), virtual_lr=0.1, label_lr=100.0, **options)


def _clid_mu(
    model: nn.Module, train: Batch, *, kind: type[CLIDMU] = CLIDMU, **options: Any
) -> Method:
    return kind(WeightNet(seed=0), head_lr=1e-3, **options)


def _mlnt(model: nn.Module, train: Batch, *, kind: type[MLNT] = MLNT, **options: Any) -> Method:
    return kind(model, model, trial_lr=0.1, meta_weight=1.0, seed=0, **options)


def _every_kth(model: nn.Module, train: Batch, *, build: Callable[..., Method], k: int) -> Method:
    return EveryKth(build(model, train), k)


def _captured(model: nn.Module, train: Batch, *, build: Callable[..., Method]) -> Method:
    return Captured(build(model, train))


def _num_classes(model: nn.Module) -> int:
    classifier = model.get_submodule("classifier")
    assert isinstance(classifier, nn.Linear)
    return classifier.out_features


def _candidates() -> list[Candidate]:
    found = [Candidate("cross-entropy", "plain", lambda model, train: CrossEntropy())]
    lookaheads: list[tuple[type, type, Callable[..., Method], str]] = [
        (MLC, LiteralMLC, _mlc, "MLC"),
        (MSLG, LiteralMSLG, _mslg, "MSLG"),
        (CLIDMU, LiteralCLIDMU, _clid_mu, "CLID-MU"),
    ]
    for kind, literal, build, name in lookaheads:
        found.append(Candidate(name, "literal", partial(build, kind=literal)))
        found += [
            Candidate(name, mode, partial(build, kind=kind, mode=how))
            for mode, how in LOOKAHEADS.items()
        ]
        tenth = partial(_every_kth, build=build, k=10)
        found.append(Candidate(name, "jvp, every 10th step", tenth, steps=10))
    for order in ("first", "second"):
        literal_mlnt = partial(_mlnt, kind=LiteralMLNT, order=order)
        found.append(Candidate("MLNT", f"literal, {order} order, M=10", literal_mlnt))
        for trials in (10, 5, 1) if order == "first" else (10, 1):
            build = partial(_mlnt, order=order, trials=trials)
            found.append(Candidate("MLNT", f"{order} order, M={trials}", build))
    batched = partial(_mlnt, trials_at_once=10)
    found.append(Candidate("MLNT", "first order, M=10, batched", batched))
    modes = {"plain", "jvp, fast", "fd, fast", "first order, M=10", "first order, M=10, batched"}
    found += [
        Candidate(c.method, f"{c.mode}, captured", partial(_captured, build=c.build), device="cuda")
        for c in found
        if c.mode in modes
    ]
    return found


CANDIDATES: Sequence[Candidate] = tuple(_candidates())


class _Runner:
    """A candidate at work: a network of its own, and steps on the same two batches."""

    def __init__(self, candidate: Candidate, model: nn.Module, train: Batch, meta: Batch) -> None:
        self.candidate = candidate
        self.model = copy.deepcopy(model).train()
        if "fd" in candidate.mode:
            # A difference is compared with a gradient where it meets a network first, and not in
            # the steps that are measured here.
            still = torch.optim.SGD(self.model.parameters(), lr=0.0)
            first = candidate.build(self.model, train).to(train.x.device)
            first.step(self.model, still, train, meta)
        self.method = candidate.build(self.model, train).to(train.x.device)
        # A small step: what is timed must not depend on where training leads.
        self.optimizer = torch.optim.SGD(
            self.model.parameters(), lr=1e-4, momentum=0.9, weight_decay=5e-4
        )
        self.batches = train, meta
        self.seconds: list[float] = []

    def step(self) -> None:
        for _ in range(self.candidate.steps):
            self.method.step(self.model, self.optimizer, *self.batches)

    def warm_up(self) -> None:
        """A step, or as many as it takes until a recorded one is replayed."""
        recorded = isinstance(self.method, Captured)
        for _ in range(WARMUP_STEPS + 2 if recorded else 1):
            self.step()

    def time(self) -> None:
        device = self.batches[0].x.device
        clock = time.process_time if device.type == "cpu" else time.perf_counter
        wait_for(device)
        start = clock()
        self.step()
        wait_for(device)
        self.seconds.append((clock() - start) / self.candidate.steps)

    def bytes_and_operations(self) -> tuple[int, float]:
        self.optimizer.zero_grad()  # so that gradients count as the step's own
        device, counted = self.batches[0].x.device, list[int]()

        def count() -> None:
            counted.append(count_operations(self.step))

        if isinstance(self.method, Captured):  # the places of a recording are memory too
            count()
            self.optimizer.zero_grad()
            self.method = Captured(self.method.method)
            return peak_bytes(self.warm_up, device), counted[0]
        if device.type == "cuda":  # to be watched makes PyTorch choose other operations
            count()
            self.optimizer.zero_grad()
            return peak_bytes(self.step, device), counted[0] / self.candidate.steps
        return peak_bytes(count, device), counted[0] / self.candidate.steps


def measure(
    model: nn.Module,
    *,
    network: str,
    shape: Sequence[int] = (3, 32, 32),
    batch: int = 64,
    candidates: Iterable[Candidate] = CANDIDATES,
    rounds: int = 5,
    device: str | torch.device = "cpu",
    seed: int,
    report: Callable[[str], None] | None = None,
) -> list[Row]:
    """Time and memory of a training step for each candidate.

    Parameters
    ----------
    model : nn.Module
        The network, with its last linear layer named ``classifier``. It is copied, never moved.
    network : str
        Its name, for the rows.
    shape : sequence of int
        Of one input. Default (3, 32, 32).
    batch : int
        Samples in the training batch and in the meta batch. Default 64. MLNT needs 11.
    candidates : iterable of Candidate
        Default: all; those for another kind of device are left out. Cross-entropy must be among
        them, since everything is a ratio to it.
    rounds : int
        How often each step is timed, after one step to warm up. Default 5.
    device : str or torch.device
        Default ``"cpu"``.
    seed : int
        Draws inputs and labels, which are random.
    report : callable, optional
        Called with a sentence now and then.

    Returns
    -------
    list of dict
        One row for each candidate: ``method``, ``mode``, ``network``, ``device``, ``dtype``,
        ``seconds`` (best round; on the CPU of processor time, summed over threads),
        ``seconds_median``, ``time_ratio`` (best to best),
        ``memory_bytes`` and ``memory_ratio``, ``operations`` (see `count_operations`); further
        ``batch``, ``rounds``, ``threads``, ``torch``, ``python``, ``machine``.
    """
    check_count("rounds", rounds)
    check_count("batch", batch, minimum=2)
    device = torch.device(device)
    candidates = [c for c in candidates if c.device in (None, device.type)]
    methods = [c.method for c in candidates]
    if "cross-entropy" not in methods:
        given = ", ".join(f"{c.method}: {c.mode}" for c in candidates)
        raise ValueError(
            f"`candidates` holds {given}; it must hold cross-entropy, to which ratios are taken"
        )
    say = report or (lambda text: None)
    model = copy.deepcopy(model).to(device)
    train, meta = _random_batches(shape, batch, _num_classes(model), model, seed=seed)
    runners = [_Runner(candidate, model, train, meta) for candidate in candidates]
    say(f"{len(runners)} kinds of step on {network}: one round to warm up, {rounds} are timed")
    for runner in runners:
        runner.warm_up()
    for _ in range(rounds):
        for runner in runners:
            runner.time()
    say("memory and operations")
    memory, operations = zip(*[runner.bytes_and_operations() for runner in runners], strict=True)
    plain = methods.index("cross-entropy")
    own = {"network": network, "batch": batch, "rounds": rounds, **surroundings(model)}
    return [
        {
            "method": runner.candidate.method,
            "mode": runner.candidate.mode,
            **own,
            "seconds": min(runner.seconds),
            "seconds_median": median(runner.seconds),
            "time_ratio": min(runner.seconds) / min(runners[plain].seconds),
            "memory_bytes": memory[i],
            "memory_ratio": memory[i] / memory[plain],
            "operations": operations[i],
        }
        for i, runner in enumerate(runners)
    ]


def measure_label_memory(
    step_seconds: float,
    *,
    num_samples: int = MEMORY_LABELS,
    num_classes: int = MEMORY_CLASSES,
    batch: int = 64,
    rounds: int = 50,
    file: Path | None = None,
    seed: int,
) -> Row:
    """What reading and writing a batch of MSLG's labels costs, beside a step of cross-entropy.

    Parameters
    ----------
    step_seconds : float
        Of that step.
    num_samples, num_classes : int
        N and C. Defaults: a million and a thousand, 4 GB.
    batch : int
        Rows read and written, at random places. Default 64.
    rounds : int
        Default 50. Each has rows of its own, so what is read was not just written.
    file : Path, optional
        Keep the labels in this file. Default: in RAM.
    seed : int
        Draws the places.

    Returns
    -------
    dict
        A row as from `measure`; ``seconds`` is the *median*, since the best round may find its rows
        in a cache. ``memory_bytes`` is what the labels occupy, for good; it has no ratio.
    """
    g = seeding.generator(seed, "label memory")
    shape = num_samples, num_classes
    labels = torch.zeros(shape) if file is None else rows_on_disk(file, *shape)
    memory = LabelMemory(labels.fill_(1.0), device="cpu")
    like = torch.zeros(1)
    seconds = []
    for _ in range(rounds):
        ids = torch.randint(num_samples, (4 * batch,), generator=g).unique()
        ids = ids[torch.randperm(len(ids), generator=g)[:batch]]
        start = time.perf_counter()
        memory.write(ids, memory.read(ids, like=like) + 1)
        seconds.append(time.perf_counter() - start)
    return {
        "method": "MSLG",
        "mode": f"label memory {'in RAM' if file is None else 'on disk'}, "
        f"{num_samples:,} x {num_classes:,}",
        "network": "none",
        "batch": batch,
        "rounds": rounds,
        **surroundings(memory),
        "seconds": median(seconds),
        "seconds_median": median(seconds),
        "time_ratio": median(seconds) / step_seconds,
        "memory_bytes": memory.logits.nbytes,
        "memory_ratio": None,
    }


def peak_bytes(work: Callable[[], object], device: torch.device) -> int:
    """Most bytes alive at one time while `work` runs, above those that were there before.

    On CUDA these are the allocator's bytes. On the CPU they are the storages of all tensors that an
    operation returned; what an operation needs inside itself is not seen.

    Parameters
    ----------
    work : callable
        Called once, without arguments.
    device : torch.device
        Where it allocates.

    Returns
    -------
    int
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        return torch.cuda.max_memory_allocated(device) - before
    with _LiveBytes() as live:
        work()
    return live.peak


def count_operations(work: Callable[[], object]) -> int:
    """How many operations Python asks a device for while `work` runs.

    On a GPU each is a kernel, or some. Views are left out, for they move no number, and so is
    what a replayed recording repeats, for which nobody asks.

    Parameters
    ----------
    work : callable
        Called once, without arguments.

    Returns
    -------
    int
    """
    with _Operations() as asked:
        work()
    return asked.count


class _Operations(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        self.count += not func.is_view
        return func(*args, **(kwargs or {}))


class _LiveBytes(TorchDispatchMode):
    """Follows every storage from the operation that returned it to its end."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.followed: dict[int, tuple[int, weakref.ref[Any]]] = {}

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        self._follow((args, kwargs), new=False)  # what was there before, and its views
        output = func(*args, **kwargs)
        self._follow(output, new=True)
        return output

    def _follow(self, tree: Any, *, new: bool) -> None:
        for tensor in tree_leaves(tree):
            if not isinstance(tensor, Tensor):
                continue
            storage = tensor.untyped_storage()
            key = id(storage)
            if key not in self.followed:
                size = storage.nbytes() if new else 0
                self.followed[key] = size, weakref.ref(storage, partial(self._end, key))
                self.now += size
                self.peak = max(self.peak, self.now)

    def _end(self, key: int, _: object) -> None:
        self.now -= self.followed.pop(key)[0]


def _random_batches(
    shape: Sequence[int], n: int, num_classes: int, model: nn.Module, *, seed: int
) -> tuple[Batch, Batch]:
    g = seeding.generator(seed, "cost")
    like = next(model.parameters())
    x = torch.randn(2 * n, *shape, generator=g).to(like)
    y = torch.randint(num_classes, (2 * n,), generator=g).to(like.device)
    ids = torch.arange(n, device=like.device)
    return Batch(x[:n], y[:n], ids), Batch(x[n:], y[n:])


def wait_for(device: torch.device) -> None:
    """Until all that was asked of a device is done, so that a clock may be read."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def surroundings(module: nn.Module) -> Row:
    """What a measurement depends on beside the step: device, type, threads, versions, machine."""
    like = next(iter([*module.parameters(), *module.buffers()]))
    machine = torch.cuda.get_device_name(like.device) if like.is_cuda else _processor()
    return {
        "device": like.device.type,
        "dtype": str(like.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": machine,
    }


def _processor() -> str:
    """The processor's name where the system tells it, and how many there are."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")  # Linux
    if info.exists():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        name = names[0].partition(":")[2].strip() if names else name
    return f"{name}, {os.cpu_count()} processors"
