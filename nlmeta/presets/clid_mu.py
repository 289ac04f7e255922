"""CLID-MU (Hu et al., KDD 2025) as released."""

from nlmeta.presets.base import Preset

__all__ = [
    "CLID_MU_ANIMAL10N",
    "CLID_MU_CIFAR_MULTIPLIERS",
    "CLID_MU_CIFAR_WEIGHTS",
    "CLID_MU_CLOTHING1M",
    "CLID_MU_DIVIDEMIX_CIFAR",
    "CLID_MU_SEMI_CIFAR10",
]

#: CLID-MU on CIFAR as released, weights.
CLID_MU_CIFAR_WEIGHTS = Preset(
    certainty="code",
    source="The authors' repository ruofanhu/CLID-MU, weights on CIFAR. A file that the script "
    "needs is missing from the release, so it does not run as it is.",
    commit="5cd0608",
    date="2025-06-05",
    method={"head_optimizer": "sgd", "head_lr": 1e-5, "head_weight_decay": 5e-4},
    training={
        "epochs": 100,
        "batch_size": 100,
        "meta_batch_size": 100,
        "lr": 0.05,
        "momentum": 0.9,
        "weight_decay": 5e-4,
    },
    protocol={
        "network": "WRN-28-10",
        "head": "1-100-1",
        "temperature": 0.5,
        "schedule": "cosine down to 1e-3 and up again, with a period of 10 epochs",
        "meta_size": 1000,
        "meta_from": "any training images, which stay in the training set",
        "augmentation": "flip, crop with reflected padding, RandAugmentMC(2, 10), cutout of 16; "
        "meta images too",
        "selection": "summed logits of the five epochs of lowest divergence on the meta set",
    },
)

#: CLID-MU on CIFAR as released, multipliers (VRI).
CLID_MU_CIFAR_MULTIPLIERS = Preset(
    certainty="code",
    source="The authors' repository ruofanhu/CLID-MU, multipliers (VRI) on CIFAR.",
    commit="5cd0608",
    date="2025-06-05",
    method={"head_optimizer": "adam", "head_lr": 0.01, "head_weight_decay": 5e-4},
    training={**CLID_MU_CIFAR_WEIGHTS.training, "epochs": 160, "lr": 0.02},
    protocol={
        **CLID_MU_CIFAR_WEIGHTS.protocol,
        "network": "PreAct-ResNet-18; ResNet-34 for human noise",
        "head": "576-1024-512-512 with tanh, mean and log-variance of the logits' factors",
        "schedule": "cosine down to 1e-3 over 150 epochs",
    },
)

#: CLID-MU with few labels (UDA, FixMatch, FlexMatch) on CIFAR-10 as released, weights.
CLID_MU_SEMI_CIFAR10 = Preset(
    certainty="code",
    source="The authors' repository ruofanhu/CLID-MU, weights with few labels (UDA, FixMatch, "
    "FlexMatch) on CIFAR-10.",
    commit="5cd0608",
    date="2025-06-05",
    method=CLID_MU_CIFAR_WEIGHTS.method,
    protocol={
        "network": "WRN-28-2",
        "head": "1-100-1, weights not normalised",
        "labelled": 4000,
        "steps": 30_000,
        "batch": "100 labelled, 700 unlabelled",
        "optimizer": "SGD 0.03, Nesterov 0.9, weight decay 1e-4",
        "cutoff": 0.95,
        "unlabelled_weight": 1.0,
        "temperature": 0.1,
        "meta_size": 1000,
        "meta_batch_size": 1000,
        "noise": "symmetric 20 and 50 %, CIFAR-10N aggregate, random 1 and worst",
        "seeds": 5,
        "selection": "the epoch of lowest divergence",
    },
    remarks={
        "method.head_optimizer": "The head's SGD there has Nesterov's momentum of 0.9, which ours "
        "has not.",
    },
)

#: CLID-MU within DivideMix on CIFAR as released, multipliers.
CLID_MU_DIVIDEMIX_CIFAR = Preset(
    certainty="code",
    source="The authors' repository ruofanhu/CLID-MU, multipliers within DivideMix on CIFAR.",
    commit="5cd0608",
    date="2025-06-05",
    method=CLID_MU_CIFAR_MULTIPLIERS.method,
    protocol={
        "network": "two PreAct-ResNet-18",
        "epochs": 300,
        "batch_size": 128,
        "optimizer": "SGD 0.02 (0.05 in one launcher), weight decay 5e-4, a tenth at 80 and 120",
        "meta_size": 1000,
        "mixup": 4.0,
        "unlabelled_weight": 150.0,
        "sharpening": 0.5,
        "threshold": 0.5,
        "warmup_epochs": "10 (CIFAR-10), 30 (CIFAR-100)",
    },
)

#: CLID-MU on Animal-10N as released, multipliers.
CLID_MU_ANIMAL10N = Preset(
    certainty="code",
    source="The authors' repository ruofanhu/CLID-MU, multipliers on Animal-10N.",
    commit="5cd0608",
    date="2025-06-05",
    method=CLID_MU_CIFAR_MULTIPLIERS.method,
    training={
        "epochs": 170,
        "warmup_epochs": 10,
        "batch_size": 128,
        "meta_batch_size": 100,
        "lr": 0.1,
        "momentum": 0.9,
        "weight_decay": 1e-3,
    },
    protocol={
        "network": "VGG19-BN",
        "schedule": "cosine down to 1e-4",
        "temperature": 0.5,
        "meta_size": 1000,
        "meta_from": "any training images, drawn anew each epoch",
    },
)

#: CLID-MU on Clothing1M as released, multipliers.
CLID_MU_CLOTHING1M = Preset(
    certainty="code",
    source="The authors' repository ruofanhu/CLID-MU, multipliers on Clothing1M.",
    commit="5cd0608",
    date="2025-06-05",
    method=CLID_MU_CIFAR_MULTIPLIERS.method,
    protocol={
        "network": "ResNet-50, pretrained",
        "optimizer": "Adam 5e-4, begun anew each epoch",
        "epochs": 160,
        "batch_size": 128,
        "steps_per_epoch": 3000,
        "temperature": 0.5,
        "meta_batch_size": 100,
        "meta_from": "the clean validation list, up to 500 a class of the clean labels",
    },
    remarks={"method.head_lr": "The launcher for another objective has 3e-4."},
)
