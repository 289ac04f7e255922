"""MSLG (Algan & Ulusoy, ICPR 2020) as released."""

from nlmeta.presets.base import Preset

__all__ = [
    "MSLG_CIFAR10",
    "MSLG_CLOTHING1M",
    "MSLG_FOOD101N",
]

#: MSLG on CIFAR-10 as released.
MSLG_CIFAR10 = Preset(
    certainty="code",
    source="The authors' repository gorkemalgan/MSLG_noisy_label, its settings for CIFAR-10.",
    commit="7b6e5f7",
    date="2020-10-12",
    method={
        "virtual_lr": 0.5,
        "label_lr": 4000.0,
        "k": 10.0,
        "entropy_weight": 1.0,
        "direction": "prediction-first",
        "scale": "entries",
    },
    training={
        "epochs": 120,
        "warmup_epochs": 44,
        "batch_size": 128,
        "meta_batch_size": 128,
        "lr": 1e-2,
        "schedule": (42, 82),
        "momentum": 0.9,
        "weight_decay": 1e-4,
    },
    data={
        "meta_from": "test",
        "meta_size": 4000,
        "balanced_meta": False,
        "test_size": 5000,
        "validation_size": 0,
        "scale": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    },
    protocol={
        "network": "8 layers: convolutions 64-64-128-128-196-196 with BatchNorm, 256 hidden",
        "augmentation": "crop with padding 4, horizontal and vertical flip; none for meta images",
        "order": "never shuffled",
        "selection": "best accuracy on the meta set",
        "seeds": 1,
    },
    remarks={
        "data": "The meta set is 4,000 of the 5,000 test images that are no test images there.",
    },
)

#: MSLG on Clothing1M as released.
MSLG_CLOTHING1M = Preset(
    certainty="code",
    source="The authors' repository gorkemalgan/MSLG_noisy_label, its settings for Clothing1M.",
    commit="7b6e5f7",
    date="2020-10-12",
    method={**MSLG_CIFAR10.method, "label_lr": 1500.0},
    training={
        "epochs": 10,
        "warmup_epochs": 1,
        "batch_size": 32,
        "meta_batch_size": 32,
        "lr": 1e-3,
        "schedule": (6,),
        "momentum": 0.9,
        "weight_decay": 1e-4,
    },
    data={"meta_from": "validation", "meta_size": 14_313, "balanced_meta": False},
    protocol={
        "network": "ResNet-50 with ImageNet weights",
        "augmentation": "none: resize 256, centre crop 224",
        "order": "shuffled once",
        "selection": "best accuracy on the meta set",
        "seeds": 1,
    },
    remarks={"data.meta_size": "It is the whole validation part."},
)

#: MSLG on Food-101N as released.
MSLG_FOOD101N = Preset(
    certainty="code",
    source="The authors' repository gorkemalgan/MSLG_noisy_label, its settings for Food101N.",
    commit="7b6e5f7",
    date="2020-10-12",
    method=MSLG_CLOTHING1M.method,
    training=MSLG_CLOTHING1M.training,
    protocol={
        **MSLG_CLOTHING1M.protocol,
        "meta_size": 10_000,
        "meta_from": "drawn from the verified training list",
    },
)
