"""MetaLabelNet (Algan & Ulusoy, TIP 2022) and Meta Label Correction (Zheng et al., AAAI 2021).

The second is called MLC by its authors; `MLC_CIFAR10` is a preset of Meta Loss Correction.
"""

from nlmeta.presets.base import Preset

__all__ = [
    "META_LABEL_CORRECTION_CIFAR10",
    "META_LABEL_CORRECTION_CLOTHING1M",
    "META_LABEL_NET_CIFAR10",
    "META_LABEL_NET_CLOTHING1M",
    "META_LABEL_NET_FOOD101N",
]

#: MetaLabelNet on CIFAR-10 as released.
META_LABEL_NET_CIFAR10 = Preset(
    certainty="code",
    source="The authors' repository gorkemalgan/MetaLabelNet, its settings for CIFAR-10.",
    commit="6ffdeb6",
    method={
        "head_lr": 1e-2,
        "virtual_lr": 1.0,
        "direction": "prediction-first",
        "scale": "entries",
        "entropy_weight": 1.0,
        "head_optimizer": "adam",
        "head_weight_decay": 1e-4,
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
    protocol={
        "network": "8 layers: convolutions 64-64-128-128-196-196 with BatchNorm, 256 hidden",
        "head": "a linear layer on the 256 features of the network after the warm-up, in "
        "evaluation mode",
        "meta_size": 5000,
        "order": "never shuffled; unlabelled samples, if there are any, after the labelled ones",
        "selection": "best accuracy on the meta set",
        "seeds": 1,
    },
    remarks={
        "method": "The same repository has older commits with other steps: a head of three "
        "layers, a virtual step of 0.5, and a term that holds labels near the given ones.",
        "training.lr": "Schedule and batch size were read at commit 2d9cdfb.",
    },
)

#: MetaLabelNet on Clothing1M as released.
META_LABEL_NET_CLOTHING1M = Preset(
    certainty="code",
    source="The authors' repository gorkemalgan/MetaLabelNet, its settings for Clothing1M.",
    commit="6ffdeb6",
    method={**META_LABEL_NET_CIFAR10.method, "head_lr": 1e-3},
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
    protocol={
        "network": "ResNet-50 with ImageNet weights",
        "head": "a linear layer on 2,048 features",
        "meta_size": 5000,
        "selection": "best accuracy on the meta set",
        "seeds": 1,
    },
    remarks={"training.lr": "Schedule and batch size were read at commit 2d9cdfb."},
)

#: MetaLabelNet on Food-101N as released.
META_LABEL_NET_FOOD101N = Preset(
    certainty="code",
    source="The authors' repository gorkemalgan/MetaLabelNet, its settings for Food101N.",
    commit="6ffdeb6",
    method=META_LABEL_NET_CLOTHING1M.method,
    training={**META_LABEL_NET_CLOTHING1M.training, "epochs": 20, "warmup_epochs": 6},
    protocol={**META_LABEL_NET_CLOTHING1M.protocol, "meta_size": 10_000},
    remarks={"training.lr": "Schedule and batch size were read at commit 2d9cdfb."},
)

#: Meta Label Correction on CIFAR-10 as its released command runs it.
META_LABEL_CORRECTION_CIFAR10 = Preset(
    certainty="code",
    source="The authors' repository microsoft/MLC, its command for CIFAR-10; that for CIFAR-100 "
    "has the same settings.",
    commit="8fab1cb",
    method={
        "head_lr": 3e-4,
        "direction": "label-first",
        "scale": "samples",
        "entropy_weight": 0.0,
        "clean_share": 0.5,
        "head_optimizer": "amsgrad",
        "head_weight_decay": 0.0,
    },
    training={
        "epochs": 120,
        "batch_size": 100,
        "meta_batch_size": 100,
        "lr": 0.1,
        "schedule": (81, 101),
        "momentum": 0.9,
        "weight_decay": 5e-4,
    },
    protocol={
        "network": "ResNet-32",
        "head": "64 features and an embedding of 128, two layers of 128 with tanh",
        "noise": "symmetric 40 % in the command for CIFAR-10, one-target 60 % in that for "
        "CIFAR-100",
        "meta_size": 1000,
        "augmentation": "flip, crop with reflected padding of 4; meta images too",
        "selection": "best validation accuracy, on the meta set",
    },
    remarks={
        "method": "The network's own step is the lookahead there, which is the further argument "
        "mode=bilevel.Lookahead(sequence='act-first').",
        "training": "The step was read at commit 1a68fd7, the arguments at commit 73fcea5.",
    },
)

#: Meta Label Correction on Clothing1M as its released command runs it.
META_LABEL_CORRECTION_CLOTHING1M = Preset(
    certainty="code",
    source="The authors' repository microsoft/MLC, its command for Clothing1M.",
    commit="8fab1cb",
    method=META_LABEL_CORRECTION_CIFAR10.method,
    training={
        **META_LABEL_CORRECTION_CIFAR10.training,
        "epochs": 15,
        "batch_size": 32,
        "schedule": (6,),
    },
    protocol={
        "network": "ResNet-50, pretrained",
        "head": "2,048 features and an embedding of 128, two layers of 128 with tanh",
    },
    remarks=META_LABEL_CORRECTION_CIFAR10.remarks,
)
