"""The table on the digits: the four methods beside all that could explain them away.

The rule is the same for every row that has something to choose: six settings of the step sizes, for
a control as for a method. (Plain cross-entropy, the controls at rest and the rows that choose
epochs have the common setting; cross-entropy with six learning rates is a row of its own.) Each is
trained on the tuning seeds, and the one with the highest mean accuracy on 150 clean validation
images after the last epoch is taken. It is trained on the seeds of the table, which no choice has
seen, and tested after the last epoch. What uses no clean sample chooses once for each kind of
noise.

A clean validation set is a luxury in itself. Here everybody has it.
"""

from collections.abc import Mapping
from typing import Any

from nlmeta import presets
from nlmeta.experiments.label_heads import label_heads
from nlmeta.experiments.task import Entry, Problem, over
from nlmeta.experiments.training_runs import ALL, TrainingTable

__all__ = ["ACT_FIRST", "DIGITS", "EARLY_START", "RELEASED"]

NOISES = {"symmetric": 0.5, "one-target": 0.4}
META_SIZES = (100, 20)
NOISY_META = 500  # noisy training images that a divergence may look at, 100 in each step


def _name(noise: str, meta_size: int) -> str:
    return f"{noise} {100 * NOISES[noise]:.0f} %, {meta_size} clean"


def _problem(noise: str, meta_size: int) -> Problem:
    load = {"name": "digits", "noise": noise, "rate": NOISES[noise], "meta_size": meta_size}
    return Problem(
        name=_name(noise, meta_size),
        load=load,
        network={"name": "mlp"},
        training={**presets.DIGITS.training, "epochs": 60},
        choices_of=None if meta_size == META_SIZES[0] else _name(noise, META_SIZES[0]),
    )


RATES = over("lr", 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
SMALL_RATES = over("lr", 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)
PENALTIES = over("penalty", 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
HEAD_RATES = over("head_lr", 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
TRIALS = tuple(
    {"trial_lr": trial_lr, "meta_weight": weight}
    for trial_lr in (0.1, 0.3, 1.0)
    for weight in (3.0, 10.0)
)
EARLY_LEARNING = tuple(
    {"weight": weight, "beta": beta}
    for beta, weights in ((0.7, (3.0, 5.0, 7.0)), (0.9, (5.0, 7.0, 10.0)))
    for weight in weights
)
RELEASED: Mapping[str, Any] = {  # the form of MLC's released code, without its step sizes
    "space": "logit",
    "keep_transition": False,
    "normalise": "column",
    "q_floor": 0.0,
}
ACT_FIRST: Mapping[str, Any] = {  # the ordinary step is the lookahead, at the training's own rate
    "virtual_lr": None,
    "mode": {"sequence": "act-first"},
}
EARLY = over("early_epochs", 5, 10, 15, 20, 30, 40)
EARLY_START: Mapping[str, Any] = {  # what follows the choice of early stopping
    "start": {},
    "after": "early stopping",
    "where": {"early_epochs": "start.epochs"},
}


def _mlc(name: str, faithful: str, *transition_lr: float, **switches: Any) -> Entry:
    return Entry(
        name,
        "mlc",
        {**presets.MLC_DIGITS.method, **switches},
        training={"warmup_epochs": 10},
        meta="clean",
        grid=over("transition_lr", *transition_lr) or ({},),
        effort=4,
        faithful=faithful,
    )


def _mslg(name: str, grid: Any, **switches: Any) -> Entry:
    return Entry(
        name,
        "mslg",
        {**presets.MSLG_DIGITS.method, **switches},
        start={"epochs": 8, "schedule": "constant"},
        training={**presets.MSLG_DIGITS.training, "epochs": 42},
        meta="clean",
        grid=grid,
        effort=4,
        faithful="ours" if switches else "paper",
    )


def _mlnt(name: str, grid: Any, effort: float, **switches: Any) -> Entry:
    return Entry(
        name,
        "mlnt",
        {**presets.MLNT_DIGITS.method, **switches},
        start={"epochs": 10},
        start_goes_on=False,
        grid=grid,
        effort=effort,
        faithful="ours" if switches else "paper",
    )


def _clid_mu(name: str, grid: Any = HEAD_RATES, **options: Any) -> Entry:
    further: dict[str, Any] = {
        key: options.pop(key)
        for key in ("meta", "keep", "after", "label", "faithful")
        if key in options
    }
    common: dict[str, Any] = {"meta": "noisy", "meta_size": NOISY_META, "grid": grid, "effort": 4}
    return Entry(
        name,
        "clid_mu",
        {"head_optimizer": "adam", "max_norm": 1.0, **options},
        training={"meta_batch_size": 100},
        **{**common, **further},
    )


MULTIPLIERS = {"head": "multipliers", "head_options": {"embedding": 16, "hidden": [128, 64]}}
SCORES = ("divergence", "one-hot divergence")

ENTRIES = (
    Entry("cross-entropy", "cross_entropy"),
    Entry(
        "cross-entropy, small rate",
        "cross_entropy",
        grid=over("lr", 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05),
    ),
    Entry("early stopping", "cross_entropy", grid=EARLY, where={"early_epochs": "training.epochs"}),
    Entry("EMA", "ema", grid=over("decay", 0.99, 0.998, 0.999, 0.9995, 0.9998, 0.9999)),
    Entry("GCE", "gce", grid=over("q", 0.3, 0.5, 0.7, 0.8, 0.9, 1.0), faithful="paper"),
    Entry(
        "meta set alone",
        "cross_entropy",
        meta="alone",
        training={"batch_size": ALL, "epochs": 200},
        grid=RATES,
    ),
    Entry(
        "fine-tuning",
        "cross_entropy",
        **EARLY_START,
        meta="alone",
        training={"batch_size": ALL, "epochs": 100},
        grid=SMALL_RATES,
    ),
    _mlc("MLC", "paper", 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0),
    _mlc("MLC, T stays the identity", "ours", transition_lr=0.0),
    _mlc(
        "MLC, released form",
        "code",
        *(0.11, 1.1, 11.0, 110.0, 1100.0, 11000.0),
        **RELEASED,
    ),
    _mslg("MSLG", over("label_lr", 250.0, 500.0, 1000.0, 2000.0, 4000.0, 8000.0)),
    _mslg("MSLG, labels stay", over("lr", 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2), label_lr=0.0),
    _mlnt("MLNT", TRIALS, 12),
    _mlnt("MLNT, given labels", TRIALS, 5, replaced=0.0, trials=1),
    _mlnt(
        "mean teacher",
        over("meta_weight", 1.0, 2.0, 3.0, 5.0, 10.0, 20.0),
        4,
        trial_lr=0.0,
        trials=1,
    ),
    _clid_mu("CLID-MU", head="weights", faithful="paper"),
    _clid_mu("CLID-MU, uniform graph", head="weights", objective="uniform divergence"),
    _clid_mu("CLID-MU, entropy instead", head="weights", objective="prediction entropy"),
    _clid_mu(
        "Meta-Weight-Net",
        head="weights",
        objective="label cross-entropy",
        meta="clean",
        faithful="paper",
    ),
    _clid_mu("CLID-MU, multipliers", **MULTIPLIERS, faithful="paper"),
    _clid_mu("CLID-MU, multipliers stay", over("head_lr", 0.0), **MULTIPLIERS),
    Entry(
        "cross-entropy, chosen epochs",
        "cross_entropy",
        label="cross-entropy",
        meta_size=NOISY_META,
        keep=SCORES,
        after="cross-entropy",
    ),
    _clid_mu(
        "CLID-MU, chosen epochs",
        ({},),
        head="weights",
        label="CLID-MU",
        keep=SCORES,
        after="CLID-MU",
    ),
    _clid_mu("CLID-MU, multipliers, uniform graph", objective="uniform divergence", **MULTIPLIERS),
    Entry("forward, true T", "forward", grid=RATES, faithful="paper"),
    Entry(
        "forward, estimated T",
        "forward_estimated",
        {"percentile": 97.0},  # as in the released code for ten classes
        **EARLY_START,
        start_goes_on=False,
        grid=SMALL_RATES,
        faithful="paper",
    ),
    Entry(
        "GLC",
        "gold",
        **EARLY_START,
        start_goes_on=False,
        meta="clean",
        grid=SMALL_RATES,
        faithful="paper",
    ),
    Entry(
        "learning to reweight",
        "reweight",
        meta="clean",
        grid=SMALL_RATES,
        effort=4,
        faithful="paper",
    ),
    Entry(
        "Co-teaching",
        "co_teaching",
        {"ramp_epochs": 10},  # as in the released code
        grid=over("forget_rate", 0.2, 0.3, 0.4, 0.5, 0.6, 0.7),
        effort=2,
        faithful="paper",
    ),
    Entry("ELR", "elr", grid=EARLY_LEARNING, faithful="paper"),
    Entry("ridge", "ridge", grid=PENALTIES, faithful="paper"),
    Entry(
        "L2B",
        "reweight",
        {"bootstrap": True},
        meta="clean",
        grid=SMALL_RATES,
        effort=4,
        faithful="paper",
    ),
    Entry("purified labels", "purified_labels", meta="clean", grid=PENALTIES),
    Entry(
        "purified labels, one inner step",
        "purified_labels",
        {"inner_steps": 1},
        meta="clean",
        grid=PENALTIES,
    ),
    *label_heads(
        encoder="before",
        epochs=60,
        warmup_epochs=10,
        linear=over("head_lr", 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3),
        corrected=HEAD_RATES,
        at_rest=RATES,
    ),
    # The grids of the rows that look first, but for the rate of the step that is looked at.
    _mlc("MLC, act first", "ours", 6.0, 20.0, 60.0, 200.0, 600.0, 2000.0, **ACT_FIRST),
    _mslg(
        "MSLG, act first",
        over("label_lr", 1.25e5, 2.5e5, 5e5, 1e6, 2e6, 4e6),
        **ACT_FIRST,
    ),
    _clid_mu("CLID-MU, act first", head="weights", **ACT_FIRST),
)

DIGITS = TrainingTable(
    name="digits",
    about="Do the four methods beat what could explain them away, on 1,097 digits?",
    problems=[_problem(noise, size) for noise in NOISES for size in META_SIZES],
    entries=ENTRIES,
    seeds=range(5),
    tuning_seeds=(100, 101, 102),
)
