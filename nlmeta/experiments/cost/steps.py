"""Seconds and bytes of one training step, as ratios to plain cross-entropy in the same run.

All steps are timed in turn, round after round, so that whatever else the machine does meets each of
them alike; the best round counts, and the median stands beside it. On the CPU the clock is that of
the processor, which stands still while other programs run. Seconds say more about the machine than
about the method, ratios less. Memory is the highest number of bytes that were alive at
one time during a step, above what was there before it.
"""

import copy
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import nn

from nlmeta import seeding
from nlmeta._checks import check_count
from nlmeta.data.batches import Batch
from nlmeta.experiments.cost import clocks
from nlmeta.experiments.cost.candidates import CANDIDATES, Candidate, num_classes
from nlmeta.methods import Captured
from nlmeta.methods.recording import WARMUP_STEPS

__all__ = ["measure"]


class _Runner:
    """A candidate at work: a network of its own, and steps on the same two batches."""

    def __init__(self, candidate: Candidate, model: nn.Module, *pair: Batch, half: bool) -> None:
        train, meta = self.batches = pair
        self.candidate, self.half = candidate, half
        self.model = copy.deepcopy(model).train()
        if "fd" in candidate.mode:
            # A difference is compared with a gradient where it meets a network first, and not in
            # the steps that are measured here.
            still = torch.optim.SGD(self.model.parameters(), lr=0.0)
            first = candidate.build(self.model, train).to(train.y.device)
            first.step(self.model, still, train, meta)
        self.method = candidate.build(self.model, train).to(train.y.device)
        # A small step: what is timed must not depend on where training leads.
        own = self.model.parameters()
        self.optimizer = torch.optim.SGD(own, lr=1e-4, momentum=0.9, weight_decay=5e-4)
        self.seconds: list[float] = []

    def step(self) -> None:
        for _ in range(self.candidate.steps):
            with torch.autocast(self.batches[0].y.device.type, torch.bfloat16, enabled=self.half):
                self.method.step(self.model, self.optimizer, *self.batches)

    def warm_up(self) -> None:
        """A step, or as many as it takes until a recorded one is replayed."""
        recorded = isinstance(self.method, Captured)
        for _ in range(WARMUP_STEPS + 2 if recorded else 1):
            self.step()

    def time(self) -> None:
        seconds = clocks.seconds_of(self.step, self.batches[0].y.device)
        self.seconds.append(seconds / self.candidate.steps)

    def bytes_and_operations(self) -> tuple[int | None, float | None]:
        if not self.candidate.watched:
            return None, None
        device, counted = self.batches[0].y.device, list[int]()

        def count() -> None:
            counted.append(clocks.count_operations(self.step))

        self.optimizer.zero_grad()  # so that gradients count as the step's own
        if device.type != "cuda" and not isinstance(self.method, Captured):
            return clocks.peak_bytes(count, device), counted[0] / self.candidate.steps
        count()  # by itself: to be watched makes PyTorch choose other operations on a GPU
        self.optimizer.zero_grad()
        if isinstance(self.method, Captured):  # the places of a recording are memory too
            self.method = Captured(self.method.method)
        return clocks.peak_bytes(self.warm_up, device), counted[0] / self.candidate.steps


def measure(
    model: nn.Module,
    *,
    network: str,
    shape: Sequence[int] = (3, 32, 32),
    batch: int = 64,
    candidates: Iterable[Candidate] = CANDIDATES,
    rounds: int = 5,
    half: bool = False,
    device: str | torch.device = "cpu",
    seed: int,
    report: Callable[[str], None] | None = None,
) -> list[clocks.Row]:
    """Time and memory of a training step for each candidate.

    Parameters
    ----------
    model : nn.Module
        The network, with its last linear layer named ``classifier``. It is copied, never moved.
    network : str
        Its name, for the rows.
    shape : sequence of int
        The shape of one input. Default (3, 32, 32).
    batch : int
        Samples in the training batch and in the meta batch. Default 64. MLNT needs 11.
    candidates : iterable of Candidate
        The steps that are compared; those for another kind of device are left out. Cross-entropy
        must be among them, since everything is a ratio to it. Default: all.
    rounds : int
        Number of times that each step is timed, after one step to warm up. Default 5.
    half : bool
        If True, every step is taken under bfloat16 autocast, that of cross-entropy too; then no
        candidate may take a difference. Default False.
    device : str or torch.device
        The device. Default ``"cpu"``.
    seed : int
        Seed of inputs and labels, which are random.
    report : callable, optional
        A function that is called with a sentence now and then. Default: nothing is said.

    Returns
    -------
    list of dict
        One row for each candidate: ``method``, ``mode``, ``network``, ``dtype``, ``seconds`` (best
        round; on the CPU of processor time, summed over threads), ``seconds_median``,
        ``time_ratio`` (best to best), ``memory_bytes`` and ``memory_ratio``, ``operations`` (see
        `count_operations`), ``batch``, ``rounds``. Bytes and operations are None if the candidate
        cannot be `watched`.
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
    train, meta = _random_batches(model, shape, batch, seed)
    runners = [_Runner(candidate, model, train, meta, half=half) for candidate in candidates]
    say(f"{len(runners)} kinds of step on {network}: one round to warm up, {rounds} are timed")
    for runner in runners:
        runner.warm_up()
    for _ in range(rounds):
        for runner in runners:
            runner.time()
    say("memory and operations")
    memory, operations = zip(*[runner.bytes_and_operations() for runner in runners], strict=True)
    plain = methods.index("cross-entropy")
    own: clocks.Row = {"network": network, "batch": batch, "plain": min(runners[plain].seconds)}
    own |= {"dtype": "bfloat16" if half else clocks.dtype_of(model)}
    rows = []
    for runner, peak, asked in zip(runners, memory, operations, strict=True):
        method, mode = runner.candidate.method, runner.candidate.mode
        share = None if peak is None else peak / memory[plain]
        taken: clocks.Row = {"memory": peak, "memory_ratio": share}
        row = clocks.row(method, mode, runner.seconds, **own, **taken)
        rows.append(row | {"operations": asked})
    return rows


def _random_batches(model: nn.Module, shape: Sequence[int], n: int, seed: int) -> list[Batch]:
    g = seeding.generator(seed, "cost")
    like = next(model.parameters())
    x = torch.randn(2 * n, *shape, generator=g).to(like)
    y = torch.randint(num_classes(model), (2 * n,), generator=g).to(like.device)
    ids = torch.arange(n, device=like.device)
    return [Batch(x[:n], y[:n], ids), Batch(x[n:], y[n:])]
