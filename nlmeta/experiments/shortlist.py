"""The short list of an audition: three settings of each method, at a reader's own length.

Step sizes that were found on one dataset are no defaults for another, so each entry tries three a
factor of ten or so apart (ours), and none has more than another. Lengths are shares of the whole
training, because nobody knows how long a reader's training has to be.
"""

from nlmeta import presets
from nlmeta.experiments.task import Entry, over
from nlmeta.experiments.training_runs import ALL

__all__ = ["shortlist"]


def shortlist(
    *, epochs: int, lr: float, steps: int, samples: int, meta: int, features: bool, vectors: bool
) -> tuple[Entry, ...]:
    """The entries that a split and a network allow.

    Parameters
    ----------
    epochs, lr
        The length and the learning rate of cross-entropy, which the others share.
    steps : int
        Steps of an epoch.
    samples, meta : int
        Training samples, and checked samples that may be trained on. Without any, the entries that
        need them are left out.
    features : bool
        Whether the network hands out its features, which the label head, CLID-MU and MLNT look at.
    vectors : bool
        Whether the inputs are vectors of floats, for ridge regression.

    Returns
    -------
    tuple of Entry
    """
    early = sorted({max(1, epochs // 8), max(1, epochs // 4), max(1, epochs // 2)})
    label_epochs = epochs - max(1, epochs // 5)  # of MSLG, whose labels move c in all its visits
    # With `skip` it begins near the given labels, without it with labels that say nothing.
    head_of_labels = {
        "head": "corrected",
        "head_options": {"embedding": 16, "hidden": 64, "skip": True},
    }
    head = {"head": "weights", "head_optimizer": "adam", "max_norm": 1.0}
    entries = (
        Entry("ridge regression", "ridge", grid=over("penalty", 0.1, 1.0, 10.0), effort=0.0),
        Entry("cross-entropy", "cross_entropy"),
        Entry(
            "early stopping",
            "cross_entropy",
            grid=over("early_epochs", *early),
            where={"early_epochs": "training.epochs"},
        ),
        Entry(
            "fine-tuning",
            "cross_entropy",
            start={},
            after="early stopping",
            where={"early_epochs": "start.epochs"},
            meta="alone",
            training={"batch_size": ALL, "epochs": 100},
            grid=over("lr", lr / 20, lr / 5, lr),
            effort=meta / samples,
        ),
        Entry(
            "EMA",
            "ema",
            grid=over("decay", *(round(1 - k / (epochs * steps + k), 6) for k in (30, 10, 3))),
        ),
        Entry("GCE", "gce", grid=over("q", 0.4, 0.7, 1.0)),
        Entry("ELR", "elr", grid=over("weight", 1.0, 3.0, 7.0)),
        Entry(
            "MLC",
            "mlc",
            {"virtual_lr": 0.1},
            training={"warmup_epochs": max(1, epochs // 6)},
            meta="clean",
            grid=over("transition_lr", 3.0, 30.0, 300.0),
            effort=4,
        ),
        Entry(
            "MSLG",
            "mslg",
            {name: presets.MSLG_DIGITS.method[name] for name in ("virtual_lr", "k", "scale")},
            start={"epochs": epochs - label_epochs, "schedule": "constant"},
            training={"epochs": label_epochs, "lr": lr / 50},
            meta="clean",
            grid=over("label_lr", *(round(c / label_epochs, 3) for c in (4e3, 2e4, 8e4))),
            effort=4,
        ),
        Entry(
            "label head",
            "label_head",
            {**presets.META_LABEL_CORRECTION_CIFAR10.method, "clean_share": 0.0, **head_of_labels},
            training={"warmup_epochs": max(1, epochs // 6)},
            meta="clean",
            grid=over("head_lr", 3e-4, 3e-3, 3e-2),
            effort=4,
        ),
        Entry(
            "CLID-MU",
            "clid_mu",
            head,
            training={"meta_batch_size": min(100, samples)},
            meta="noisy",
            meta_size=min(500, samples),
            grid=over("head_lr", 1e-4, 1e-3, 1e-2),
            effort=4,
        ),
        Entry(
            "MLNT",
            "mlnt",
            {"trial_lr": 1.0, "trials": 4, "ramp_steps": max(1, epochs * steps // 10)},
            start={"epochs": max(1, epochs // 6)},
            start_goes_on=False,
            grid=over("meta_weight", 1.0, 3.0, 10.0),
            effort=12,
        ),
    )
    without = set() if features else {"label_head", "clid_mu", "mlnt"}
    without |= set() if vectors else {"ridge"}
    return tuple(
        entry
        for entry in entries
        if entry.build not in without and (meta or entry.meta not in ("clean", "alone"))
    )
