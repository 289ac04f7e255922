"""MLC (Wang et al., CVPR 2020) as released."""

from nlmeta.presets.base import Preset

__all__ = ["MLC_CIFAR10"]

#: MLC on CIFAR-10 as released.
MLC_CIFAR10 = Preset(
    certainty="code",
    source="The training script for CIFAR-10 in the authors' repository ZhenWang-PhD/"
    "Training-Noise-Robust-Deep-Neural-Networks-via-Meta-Learning.",
    commit="709fe1c",
    date="2020-10-06",
    method={
        "virtual_lr": 1e-3,
        "transition_lr": 0.11,
        "space": "logit",
        "keep_transition": False,
        "normalise": "column",
        "reduction": "sum",
        "q_floor": 0.0,
    },
    training={
        "batch_size": 64,
        "lr": 1e-4,
        "momentum": 0.9,
        "weight_decay": 5e-4,
        "schedule": "constant",
    },
    data={
        "meta_from": "test",
        "meta_size": 500,
        "validation_size": 0,
        "scale": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    },
    protocol={
        "network": "WRN-40-2 with LeakyReLU(0.01), convolutions with bias, no dropout",
        "warmup_steps": 30_000,
        "warmup_lr": 0.1,
        "steps": 50_000,
        "augmentation": "none",
        "selection": "best test accuracy, looked up every 100 steps",
        "noise": "one-target at 10, 20, 30 and 40 %",
    },
    remarks={
        "method.virtual_lr": "It is on the sum over a batch of 64, so it is 0.064 on the mean.",
        "training": "The ordinary step, after 30,000 warm-up steps at a rate of 0.1 on the mean.",
        "training.lr": "It is on the sum over the batch as well.",
        "training.weight_decay": "It is added to the gradient of the sum, so it is 7.8e-6 beside "
        "a mean loss.",
        "data": "Clean test images, 50 a class, make the meta set, and all training images are "
        "trained on.",
        "protocol": "An earlier state of the script has 20,000 and 30,000 steps, so these are not "
        "the paper's.",
    },
)
