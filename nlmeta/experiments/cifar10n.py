"""CIFAR-10N and CIFAR-100N on fixed features: labels that people gave, and a head that is trained.

The images are replaced by 1,280 features of EfficientNet-Lite0 at 96 pixels, a network that was
trained on ImageNet. They bound what any method here can reach. The head that is trained on them has
one hidden layer of 512, enough to memorise.
Settings are chosen once, on 10,000 images with the labels of one person (random1), on one tuning
seed, among three values; nothing was tuned on the worst labels. A thousand noisy images are set
apart, so that the history has the scores by which an epoch can be chosen without clean labels.

On CIFAR-100N a few of the entries are run. Their settings are chosen in the same way, on 10,000 of
its own images, because T has a hundred rows there and labels a hundred entries.
"""

from typing import Any

from nlmeta import presets
from nlmeta.experiments.digits import ACT_FIRST, EARLY_START, RELEASED
from nlmeta.experiments.label_heads import label_heads
from nlmeta.experiments.task import Entry, Problem, over
from nlmeta.experiments.training_runs import ALL, TrainingTable

__all__ = ["CIFAR100N", "CIFAR10N"]

TUNED = "random1, 10,000 images"
TUNED_OF_100 = "fine, 10,000 images"
TRAINING: dict[str, Any] = {
    "epochs": 20,
    "evaluate_every": 1,
    "evaluate_train": 0.1,
    "batch_size": 128,
    "lr": 0.02,
    "momentum": 0.9,
    "weight_decay": 5e-4,
    "schedule": "cosine",
}


def _problem(
    name: str, tuned: str, *, labels: str, dataset: str = "cifar10n", train_size: int | None = None
) -> Problem:
    return Problem(
        name=name,
        load={"name": dataset, "labels": labels, "meta_size": 1000, "validation_size": 1000},
        network={"name": "mlp", "hidden": [512]},
        training=TRAINING,
        features="efficientnet-lite0",
        train_size=train_size,
        held_out=1000,
        choices_of=None if name == tuned else tuned,
        every_choice=True,
    )


META: dict[str, Any] = {"meta": "clean", "effort": 4.0}
META_TRAINING: dict[str, Any] = {"warmup_epochs": 3, "meta_batch_size": 128}
CLID_MU = {"head": "weights", "head_optimizer": "adam", "max_norm": 1.0}
MLNT = presets.MLNT_DIGITS.method
PENALTIES = over("penalty", 0.1, 1.0, 10.0)

ENTRIES = (
    Entry("cross-entropy", "cross_entropy"),
    Entry(
        "early stopping",
        "cross_entropy",
        grid=over("early_epochs", 1, 3, 6),
        where={"early_epochs": "training.epochs"},
    ),
    Entry("ridge", "ridge", grid=PENALTIES, faithful="paper"),
    Entry("EMA", "ema", grid=over("decay", 0.99, 0.999, 0.9995)),
    Entry("GCE", "gce", grid=over("q", 0.5, 0.7, 0.9), faithful="paper"),
    Entry("ELR", "elr", {"beta": 0.7}, grid=over("weight", 1.0, 3.0, 7.0), faithful="paper"),
    Entry(
        "meta set alone",
        "cross_entropy",
        meta="alone",
        training={"batch_size": ALL, "epochs": 100},
        grid=over("lr", 0.005, 0.02, 0.05),
    ),
    Entry(
        "fine-tuning",
        "cross_entropy",
        meta="alone",
        training={"batch_size": ALL, "epochs": 50},
        grid=over("lr", 0.002, 0.01, 0.05),
        **EARLY_START,
    ),
    Entry(
        "GLC",
        "gold",
        start_goes_on=False,
        meta="clean",
        grid=over("lr", 0.005, 0.01, 0.02),
        faithful="paper",
        **EARLY_START,
    ),
    Entry(
        "MLC",
        "mlc",
        presets.MLC_DIGITS.method,
        training=META_TRAINING,
        grid=over("transition_lr", 3.0, 30.0, 300.0),
        faithful="paper",
        **META,
    ),
    Entry(
        "MLC, T stays the identity",
        "mlc",
        {**presets.MLC_DIGITS.method, "transition_lr": 0.0},
        training=META_TRAINING,
        **META,
    ),
    Entry(
        "MLC, released form",
        "mlc",
        {**presets.MLC_DIGITS.method, **RELEASED},
        training=META_TRAINING,
        grid=over("transition_lr", 1.1, 110.0, 11000.0),
        faithful="code",
        **META,
    ),
    Entry(
        "MSLG",
        "mslg",
        presets.MSLG_DIGITS.method,
        training=META_TRAINING,
        grid=over("label_lr", 100.0, 500.0, 4000.0),
        faithful="paper",
        **META,
    ),
    Entry(
        "MSLG, labels stay",
        "mslg",
        {**presets.MSLG_DIGITS.method, "label_lr": 0.0},
        training=META_TRAINING,
        **META,
    ),
    Entry(
        "mean teacher",
        "mlnt",
        {**MLNT, "trial_lr": 0.0, "trials": 1},
        start={"epochs": 3},
        start_goes_on=False,
        grid=over("meta_weight", 1.0, 3.0, 10.0),
        effort=4.0,
    ),
    Entry(
        "MLNT",
        "mlnt",
        {**MLNT, "trials": 2},
        start={"epochs": 3},
        start_goes_on=False,
        grid=over("trial_lr", 0.1, 0.3, 1.0),
        effort=6.0,
    ),
    Entry(
        "CLID-MU",
        "clid_mu",
        CLID_MU,
        training=META_TRAINING,
        meta="noisy",
        meta_size=1000,
        grid=over("head_lr", 3e-5, 3e-4, 3e-3),
        effort=4.0,
        faithful="paper",
    ),
    Entry(
        "Meta-Weight-Net",
        "clid_mu",
        {**CLID_MU, "objective": "label cross-entropy"},
        training=META_TRAINING,
        grid=over("head_lr", 3e-5, 3e-4, 3e-3),
        faithful="paper",
        **META,
    ),
    Entry(
        "learning to reweight",
        "reweight",
        training=META_TRAINING,
        grid=over("lr", 0.005, 0.01, 0.02),
        faithful="paper",
        **META,
    ),
    Entry(
        "L2B",
        "reweight",
        {"bootstrap": True},
        training=META_TRAINING,
        grid=over("lr", 0.005, 0.01, 0.02),
        faithful="paper",
        **META,
    ),
    Entry("ridge, meta set alone", "ridge", meta="alone", grid=PENALTIES),
    Entry("purified labels", "purified_labels", meta="clean", grid=PENALTIES),
    Entry(
        "purified labels, cross-entropy",
        "purified_labels",
        {"objective": "cross-entropy"},
        meta="clean",
        grid=PENALTIES,
    ),
    Entry(
        "purified labels, one inner step",
        "purified_labels",
        {"inner_steps": 1},
        meta="clean",
        grid=PENALTIES,
    ),
    *label_heads(
        encoder="inputs",
        epochs=TRAINING["epochs"],
        linear=over("head_lr", 1e-3, 1e-2, 0.1),
        corrected=over("head_lr", 3e-5, 3e-4, 3e-3),
        at_rest=over("lr", 0.005, 0.01, 0.02),
        **META_TRAINING,
    ),
    # The grids of the rows that look first, but for the rate of the step that is looked at.
    Entry(
        "MLC, act first",
        "mlc",
        {**presets.MLC_DIGITS.method, **ACT_FIRST},
        training=META_TRAINING,
        grid=over("transition_lr", 15.0, 150.0, 1500.0),
        **META,
    ),
    Entry(
        "MSLG, act first",
        "mslg",
        {**presets.MSLG_DIGITS.method, **ACT_FIRST},
        training=META_TRAINING,
        grid=over("label_lr", 2500.0, 12500.0, 1e5),
        **META,
    ),
)

CIFAR10N = TrainingTable(
    name="cifar10n",
    about="On labels that people gave, and fixed features: what beats a few epochs, or a ridge?",
    problems=(
        _problem(TUNED, TUNED, labels="random1", train_size=10_000),
        _problem("worst", TUNED, labels="worst"),
        _problem("random1", TUNED, labels="random1"),
        _problem("aggregate", TUNED, labels="aggregate"),
    ),
    entries=ENTRIES,
    seeds=range(3),
    tuning_seeds=(100,),
    history=True,
)

OF_100 = ("cross-entropy", "early stopping", "ridge", "ELR", "MLC", "MSLG", "MLNT", "CLID-MU")

CIFAR100N = TrainingTable(
    name="cifar100n",
    about="With a hundred classes, labels that people gave and fixed features: what beats a ridge?",
    problems=tuple(
        _problem(name, TUNED_OF_100, dataset="cifar100n", labels="noisy_fine", train_size=size)
        for name, size in ((TUNED_OF_100, 10_000), ("fine", None))
    ),
    entries=[entry for entry in ENTRIES if entry.name in OF_100],
    seeds=range(3),
    tuning_seeds=(100,),
    history=True,
)
