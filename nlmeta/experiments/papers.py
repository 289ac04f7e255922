"""The papers' own experiments at full size: networks, batches, schedules and datasets as released.

None of it was run here: it is made for GPUs, and several datasets have to be asked for. A `Study`
says how sure its settings are and what our code does otherwise; `literature.published` has the
figures, most of them second-hand or from memory. Where the settings of an experiment are unknown,
or our code lacks a part, there is a study without a plan.

The last epoch is the result, on all of the test part, where released code takes the best epoch: on
test images (MLC), on the meta set (MSLG) or on clean validation images (MLNT). Cross-entropy beside
a method has its training, without a warm-up.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from nlmeta import presets
from nlmeta.experiments.cifar10 import CLID_MU, MEAN, MLC, MLC_START, MLNT_START, MSLG, PLAIN
from nlmeta.experiments.study import Study
from nlmeta.experiments.task import Entry, Problem
from nlmeta.experiments.training_runs import TrainingTable

__all__ = ["PAPERS", "SHAPES", "STUDIES", "TINY_NETWORKS"]

#: Classes of a dataset, and channels and side in pixels of its images.
SHAPES = {
    "cifar10": (10, 3, 32),
    "cifar100": (100, 3, 32),
    "cifar10n": (10, 3, 32),
    "cifar100n": (100, 3, 32),
    "animal10n": (10, 3, 64),
    "clothing1m": (14, 3, 224),
    "food101n": (101, 3, 224),
}

#: What a network becomes at the scale ``"tiny"``; another one, where it has no width.
TINY_NETWORKS: Mapping[str, Mapping[str, Any]] = {
    "cnn8": {"name": "preact_resnet", "depth": 18, "width": 4},
    "vgg19bn": {"width": 4},
    "preact_resnet": {"width": 4},
    "cifar_resnet": {"width": 4},
    "wide_resnet": {"depth": 10, "widen_factor": 1},
    "resnet50": {"name": "cifar_resnet", "depth": 18, "width": 4},
}


def _problems(
    study: str, load: Mapping[str, Any], rates: Sequence[float], **common: Any
) -> tuple[Problem, ...]:
    """One for each rate of the noise."""
    return tuple(
        Problem(
            name=f"{study}, {load['noise']} {100 * rate:.0f} %",
            load={**load, "rate": rate},
            scale="paper",
            **common,
        )
        for rate in rates
    )


def _human(study: str, load: Mapping[str, Any], *labels: str, **common: Any) -> tuple[Problem, ...]:
    """One for each set of labels that people gave."""
    return tuple(
        Problem(name=f"{study}, {name}", load={**load, "labels": name}, scale="paper", **common)
        for name in labels
    )


def _real(study: str, load: Mapping[str, Any], **common: Any) -> tuple[Problem, ...]:
    """The only one, on labels as they come."""
    return (Problem(name=f"{study}, given labels", load=load, scale="paper", **common),)


CROSS_ENTROPY = Entry("cross-entropy", "cross_entropy")

MLNT_LARGE = presets.MLNT_CLOTHING1M_2018.training
MLNT_LARGE_START = {**MLNT_LARGE, "epochs": 3, "schedule": (3,)}
MLNT = Entry(
    "MLNT",
    "mlnt",
    presets.MLNT_CIFAR10.method,
    start=MLNT_START,
    start_goes_on=False,
    effort=18,
    faithful="port",
)
MLNT_FIRST = Entry(
    "MLNT, first release",
    "mlnt",
    presets.MLNT_CLOTHING1M_2018.method,
    start=MLNT_LARGE_START,
    start_goes_on=False,
    effort=18,
    faithful="code",
)
MLNT_LAST = Entry(
    "MLNT, last release",
    "mlnt",
    presets.MLNT_CLOTHING1M_HEAD.method,
    start=MLNT_LARGE_START,
    start_goes_on=False,
    effort=35,
    faithful="code",
)
MLC_RELEASED = Entry(
    "MLC, released form",
    "mlc",
    presets.MLC_CIFAR10.method,
    training=MLC,
    meta="clean",
    effort=7,
    faithful="code",
)
MSLG_SMALL = Entry(
    "MSLG",
    "mslg",
    presets.MSLG_CIFAR10.method,
    training=MSLG,
    meta="clean",
    effort=5,
    faithful="code",
)
MSLG_LARGE = Entry(
    "MSLG, large images",
    "mslg",
    presets.MSLG_CLOTHING1M.method,
    training=presets.MSLG_CLOTHING1M.training,
    meta="clean",
    effort=5,
    faithful="code",
)
WEIGHTS = Entry(
    "CLID-MU, weights",
    "clid_mu",
    {**presets.CLID_MU_CIFAR_WEIGHTS.method, "head": "weights"},
    meta="noisy",
    meta_size=1000,
    effort=7,
    faithful="code",
)
MULTIPLIERS = Entry(
    "CLID-MU, multipliers",
    "clid_mu",
    {**presets.CLID_MU_CIFAR_MULTIPLIERS.method, "head": "multipliers"},
    meta="noisy",
    meta_size=1000,
    effort=5,
    faithful="code",
)

PREACT32 = {"name": "preact_resnet", "depth": 32, "activated": "none"}
PREACT18 = {"name": "preact_resnet", "depth": 18, "final_norm": False, "activated": "all"}
RESNET50 = {"name": "resnet50", "weights": "IMAGENET1K_V1"}
MSLG_DATA = {"name": "cifar10", **presets.MSLG_CIFAR10.data}
MSLG_LARGE_PLAIN = {**presets.MSLG_CLOTHING1M.training, "warmup_epochs": 0}
MSLG_COMMON: Any = {
    "network": {"name": "cnn8"},
    "training": PLAIN,
    "augmentation": "crop and both flips",
}
MLNT_COMMON: Any = {
    "network": PREACT32,
    "training": presets.MLNT_CIFAR10.training,
    "augmentation": "crop and flip",
}
WHOLE = {"meta_size": 0, "validation_size": 0}
CLID_MU_COMMON: Any = {"augmentation": "flip, crop, RandAugmentMC", "training": CLID_MU}

MLNT_DIFFERS = "One iteration of three; the others are `procedures.mlnt_iterations`."
MLNT_LARGE_DIFFERS = (
    "The middle square has 224 pixels, not the inner 224 of 256; the meta step begins at once; "
    "running statistics move once a step."
)
MSLG_DIFFERS = "Training images are shuffled."
CLID_MU_DIFFERS = (
    "One cosine to zero; meta images as they are; the last epoch, not five of lowest divergence."
)

STUDIES = (
    Study(
        name="MLNT, CIFAR-10 symmetric",
        paper="mlnt",
        settings="port",
        problems=_problems(
            "MLNT, CIFAR-10",
            {"name": "cifar10", "noise": "symmetric-inclusive", "meta_size": 0},
            (0.0, 0.1, 0.3, 0.5, 0.7, 0.9),
            **MLNT_COMMON,
        ),
        entries=(MLNT, CROSS_ENTROPY),
        images=45_000,
        cores=("cifar10", "pixels"),
        differs=MLNT_DIFFERS,
    ),
    Study(
        name="MLNT, CIFAR-10 asymmetric",
        paper="mlnt",
        settings="port",
        problems=_problems(
            "MLNT, CIFAR-10",
            {"name": "cifar10", "noise": "asymmetric-cifar10", "meta_size": 0},
            (0.1, 0.2, 0.3, 0.4, 0.5),
            **MLNT_COMMON,
        ),
        entries=(MLNT, CROSS_ENTROPY),
        steps_as="MLNT, CIFAR-10 symmetric",
        images=45_000,
        differs=MLNT_DIFFERS,
    ),
    Study(
        name="MLNT, Clothing1M",
        paper="mlnt",
        settings="code",
        problems=_real(
            "MLNT, Clothing1M",
            {"name": "clothing1m", "size": 224, "meta_size": 0},
            network=RESNET50,
            training=MLNT_LARGE,
        ),
        entries=(MLNT_FIRST, MLNT_LAST, CROSS_ENTROPY),
        images=1_000_000,
        differs=MLNT_LARGE_DIFFERS,
    ),
    Study(
        name="MLC, CIFAR-10",
        paper="mlc",
        settings="code",
        problems=_problems(
            "MLC, CIFAR-10",
            {"name": "cifar10", "noise": "one-target", **presets.MLC_CIFAR10.data},
            (0.1, 0.2, 0.3, 0.4),
            network={
                "name": "wide_resnet",
                "depth": 40,
                "widen_factor": 2,
                "negative_slope": 0.01,
            },
            training=MEAN,
            start=MLC_START,
        ),
        entries=(MLC_RELEASED, CROSS_ENTROPY),
        images=50_000,
        cores=("cifar10", "pixels"),
        differs="Batches are those of epochs, and not drawn independently; convolutions have no "
        "bias. Other states of the script have fewer steps.",
    ),
    Study(
        name="MLC, MNIST",
        paper="mlc",
        settings="unknown",
        cores=("mnist",),
        differs="Network, batch and schedule were never released.",
    ),
    Study(
        name="MLC, Twitter",
        paper="mlc",
        settings="unknown",
        cores=("twitter",),
        differs="Network, batch and schedule were never released.",
    ),
    Study(
        name="MLC, CIFAR-100",
        paper="mlc",
        settings="unknown",
        differs="Network, batch, schedule and noise were never released.",
    ),
    Study(
        name="MLC, Clothing1M",
        paper="mlc",
        settings="unknown",
        differs="Network, batch and schedule were never released.",
    ),
    Study(
        name="MSLG, CIFAR-10 symmetric",
        paper="mslg",
        settings="code",
        problems=_problems(
            "MSLG, CIFAR-10",
            {**MSLG_DATA, "noise": "symmetric"},
            (0.2, 0.4, 0.6, 0.8),
            **MSLG_COMMON,
        ),
        entries=(MSLG_SMALL, CROSS_ENTROPY),
        images=50_000,
        cores=("cifar10",),
        differs=MSLG_DIFFERS,
    ),
    Study(
        name="MSLG, CIFAR-10 feature-dependent",
        paper="mslg",
        settings="code",
        problems=_problems(
            "MSLG, CIFAR-10",
            {**MSLG_DATA, "noise": "feature-dependent", "predictions": "shipped"},
            (0.2, 0.4, 0.6, 0.8),
            **MSLG_COMMON,
        ),
        entries=(MSLG_SMALL, CROSS_ENTROPY),
        steps_as="MSLG, CIFAR-10 symmetric",
        images=50_000,
        cores=("pixels",),
        differs=f"{MSLG_DIFFERS} The table of predictions is the shipped one, in which many rows "
        "tie; ties are broken at random, released by class number.",
    ),
    Study(
        name="MSLG, CIFAR-10 class-dependent",
        paper="mslg",
        settings="code",
        problems=_problems(
            "MSLG, CIFAR-10",
            {**MSLG_DATA, "noise": "asymmetric-cifar10"},
            (0.2,),
            **MSLG_COMMON,
        ),
        entries=(MSLG_SMALL, CROSS_ENTROPY),
        steps_as="MSLG, CIFAR-10 symmetric",
        images=50_000,
        differs=f"{MSLG_DIFFERS} The code has this noise, and its help text does not name it; the "
        "rate is ours.",
    ),
    Study(
        name="MSLG, Clothing1M",
        paper="mslg",
        settings="code",
        problems=_real(
            "MSLG, Clothing1M",
            {
                "name": "clothing1m",
                "size": 224,
                "validation_size": 0,
                **presets.MSLG_CLOTHING1M.data,
            },
            network=RESNET50,
            training=MSLG_LARGE_PLAIN,
        ),
        entries=(MSLG_LARGE, CROSS_ENTROPY),
        images=1_000_000,
        differs="The middle square has 224 pixels, not the inner 224 of 256; no validation image "
        "is left, since all are meta images.",
    ),
    Study(
        name="MSLG, Food-101N",
        paper="mslg",
        settings="code",
        problems=_real(
            "MSLG, Food-101N",
            {"name": "food101n", "size": 224, "meta_size": 10_000, "balanced_meta": False},
            network=RESNET50,
            training=MSLG_LARGE_PLAIN,
        ),
        entries=(MSLG_LARGE, CROSS_ENTROPY),
        images=295_268,
        differs="The middle square has 224 pixels, not the inner 224 of 256. Meta images are "
        "verified as right; released, they carry the noise. The test part is that of Food-101.",
    ),
    Study(
        name="CLID-MU, CIFAR-10, weights",
        paper="clid_mu",
        settings="code",
        problems=_problems(
            "CLID-MU, CIFAR-10, weights",
            {"name": "cifar10", "noise": "symmetric-inclusive", **WHOLE},
            (0.4,),
            network={"name": "wide_resnet", "depth": 28, "widen_factor": 10},
            augmentation="flip, crop, RandAugmentMC",
            training={**presets.CLID_MU_CIFAR_WEIGHTS.training, "schedule": "cosine"},
        ),
        entries=(WEIGHTS, CROSS_ENTROPY),
        images=50_000,
        differs=f"{CLID_MU_DIFFERS} Released, the cosine rises again every 10 epochs. The rate is "
        "that of the baselines that others ran.",
    ),
    Study(
        name="CLID-MU, CIFAR-100, multipliers",
        paper="clid_mu",
        settings="code",
        problems=(
            *_problems(
                "CLID-MU, CIFAR-100",
                {"name": "cifar100", "noise": "symmetric-inclusive", **WHOLE},
                (0.6,),
                network=PREACT18,
                **CLID_MU_COMMON,
            ),
            *_problems(
                "CLID-MU, CIFAR-100",
                {"name": "cifar100", "noise": "instance-dependent", **WHOLE},
                (0.4,),
                network=PREACT18,
                **CLID_MU_COMMON,
            ),
        ),
        entries=(MULTIPLIERS, CROSS_ENTROPY),
        images=50_000,
        cores=("cifar10",),
        differs=f"{CLID_MU_DIFFERS} Our instance-dependent noise looks at scaled images.",
    ),
    Study(
        name="CLID-MU, CIFAR-10N",
        paper="clid_mu",
        settings="code",
        problems=_human(
            "CLID-MU, CIFAR-10N",
            {"name": "cifar10n", **WHOLE},
            "aggregate",
            "random1",
            "worst",
            network={"name": "cifar_resnet", "depth": 34},
            **CLID_MU_COMMON,
        ),
        entries=(MULTIPLIERS, CROSS_ENTROPY),
        images=50_000,
        cores=("cifar10n", "pixels"),
        differs=CLID_MU_DIFFERS,
    ),
    Study(
        name="CLID-MU, CIFAR-100N",
        paper="clid_mu",
        settings="code",
        problems=_human(
            "CLID-MU, CIFAR-100N",
            {"name": "cifar100n", **WHOLE},
            "noisy_fine",
            network={"name": "cifar_resnet", "depth": 34},
            **CLID_MU_COMMON,
        ),
        entries=(MULTIPLIERS, CROSS_ENTROPY),
        images=50_000,
        cores=("cifar100n",),
        differs=CLID_MU_DIFFERS,
    ),
    Study(
        name="CLID-MU, Animal-10N",
        paper="clid_mu",
        settings="code",
        problems=_real(
            "CLID-MU, Animal-10N",
            {"name": "animal10n", "meta_size": 0},
            network={"name": "vgg19bn"},
            augmentation="flip, crop, RandAugmentMC",
            training={**presets.CLID_MU_ANIMAL10N.training, "schedule": "cosine"},
        ),
        entries=(MULTIPLIERS, CROSS_ENTROPY),
        images=50_000,
        differs=f"{CLID_MU_DIFFERS} The meta set is not drawn anew each epoch; the network has one "
        "linear layer; its augmentation is that of CIFAR.",
    ),
    Study(
        name="CLID-MU, Clothing1M",
        paper="clid_mu",
        settings="code",
        differs="The network is trained by Adam, begun anew each epoch of 3,000 steps; a plan here "
        "has SGD alone.",
    ),
    Study(
        name="CLID-MU, Food-101N",
        paper="clid_mu",
        settings="unknown",
        differs="There is a log in the repository, and no settings in our notes.",
    ),
    Study(
        name="CLID-MU, 4,000 labels, CIFAR-10",
        paper="clid_mu",
        settings="code",
        differs="`methods.FixMatch` takes the step, but a table here has no images without labels; "
        "UDA and FlexMatch are not implemented.",
    ),
    Study(
        name="CLID-MU, within DivideMix, CIFAR",
        paper="clid_mu",
        settings="code",
        differs="DivideMix is not implemented.",
    ),
    Study(
        name="CLID-MU, WebVision",
        paper="clid_mu",
        settings="unknown",
        differs="A summary names it; the repository has no script for it.",
    ),
)

PAPERS = TrainingTable(
    name="papers",
    about="What do the four methods reach in the papers' own experiments, at full size?",
    problems=[
        replace(problem, entries=[entry.name for entry in study.entries])
        for study in STUDIES
        for problem in study.problems
    ],
    entries=list({entry.name: entry for study in STUDIES for entry in study.entries}.values()),
    threads=None,
    resumable=True,
    history=True,
    at_once=False,
)
