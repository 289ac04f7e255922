"""MLNT (Li et al., CVPR 2019) as released, and as others wrote it for CIFAR-10."""

from nlmeta.presets.base import Preset

__all__ = [
    "MLNT_CIFAR10",
    "MLNT_CLOTHING1M_2018",
    "MLNT_CLOTHING1M_HEAD",
]

#: MLNT on Clothing1M as first released, with a gradient of first order.
MLNT_CLOTHING1M_2018 = Preset(
    certainty="code",
    source="The authors' repository LiJunnan1992/MLNT at their own first commit; training and "
    "protocol are the same at the last.",
    commit="91eac84",
    date="2018-12-20",
    method={
        "trial_lr": 0.02,
        "meta_weight": 1.0,
        "trials": 10,
        "replaced": 0.5,
        "neighbours": 10,
        "order": "first",
        "update": "sum",
        "scale": "entries",
        "ramp_steps": 2000,
        "ramp_decay": 0.99,
        "decay": 0.999,
    },
    training={
        "epochs": 1,
        "batch_size": 32,
        "lr": 8e-4,
        "schedule": (2,),
        "momentum": 0.9,
        "weight_decay": 1e-3,
    },
    protocol={
        "network": "ResNet-50 with ImageNet weights",
        "feature_network": "the same, trained by cross-entropy for 3 epochs",
        "augmentation": "none: resize 256, centre crop 224",
        "selection": "best of student and teacher on clean validation images, every 1,000 steps",
        "iterations": 1,
        "start": "no meta-gradient in the first 500 steps",
        "batch_norm": "running statistics also move in every trial step; ours move once a step",
        "seeds": 1,
    },
    remarks={"training.epochs": "The script's default; its texts speak of 3 for the paper."},
)

#: MLNT on Clothing1M as last released, with a gradient of second order.
MLNT_CLOTHING1M_HEAD = Preset(
    certainty="code",
    source="The repository LiJunnan1992/MLNT at its last commit: the same as the first but for "
    "the order of the gradient.",
    commit="40f163d",
    date="2020-08-17",
    method={**MLNT_CLOTHING1M_2018.method, "order": "second"},
    training=MLNT_CLOTHING1M_2018.training,
    protocol=MLNT_CLOTHING1M_2018.protocol,
    remarks={
        "method.order": "An outside change made it the second by accident.",
        **MLNT_CLOTHING1M_2018.remarks,
    },
)

#: MLNT on CIFAR-10, for which the authors released nothing.
MLNT_CIFAR10 = Preset(
    certainty="port",
    source="Two re-implementations that cite the paper, ckghosted/MLNT-CIFAR10 and "
    "xavierlopeze/PFM_Noisy_Labels; the authors released nothing for CIFAR-10.",
    method={
        "trial_lr": 0.2,
        "meta_weight": 0.4,
        "trials": 10,
        "replaced": 0.5,
        "neighbours": 10,
        "order": "first",
        "update": "sum",
        "ramp_steps": 20 * 352,
        "ramp_decay": 0.99,
        "decay": 0.999,
    },
    training={
        "epochs": 120,
        "batch_size": 128,
        "lr": 0.2,
        "schedule": (81,),
        "momentum": 0.9,
        "weight_decay": 1e-4,
    },
    protocol={
        "network": "pre-activation ResNet-32, widths 32, 64 and 128",
        "feature_network": "the same, 10 epochs of cross-entropy at a rate of 0.04",
        "augmentation": "crop with padding 4, horizontal flip",
        "validation_size": 5000,
        "selection": "best of student and teacher on clean validation images",
        "iterations": 3,
    },
    remarks={
        "method.meta_weight": "The two disagree on what 0.4 multiplies: here, as in one, the loss.",
        "method.ramp_steps": "20 epochs of 45,000 images.",
    },
)
