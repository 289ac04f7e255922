"""Training steps on a device that does not exist; `test_device.py` runs this and reads its report.

The device is PyTorch's place for accelerators of others, with nothing behind it, and tensors there
are fake: shapes, types and devices without numbers. So every operation that mixes devices fails as
on a GPU, and so does every look at a number, for which a GPU would be waited for. For a process of
its own, since PyTorch keeps the device's name for good.
"""

import json
import sys
import traceback
from functools import partial

import torch
from helpers import digits, mlp
from methods import BY_NAME, LINES, problem_of
from torch import int64, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from nlmeta.data import Batch, Batches, Images, Samples, draw_batch
from nlmeta.data.augmentation import Compose, RandAugment, RandomCrop, RandomFlip
from nlmeta.models import (
    CNN8,
    VGG19BN,
    CIFARResNet,
    PreActResNet,
    ResNet9,
    SmallCNN,
    TextMLP,
    WideResNet,
)
from nlmeta.seeding import generator

DEVICE = "pretended"
IMAGE, FLOAT = (3, 32, 32), torch.float32
NETWORKS = {
    "SmallCNN": (lambda: SmallCNN(3, 10, seed=0), IMAGE, FLOAT),
    "CNN8": (lambda: CNN8(10, seed=0), IMAGE, FLOAT),
    "VGG19BN": (lambda: VGG19BN(10, width=4, seed=0), IMAGE, FLOAT),
    "ResNet-9": (lambda: ResNet9(10, width=4, seed=0), IMAGE, FLOAT),
    "ResNet": (lambda: CIFARResNet(18, 10, width=4, seed=0), IMAGE, FLOAT),
    "ResNet, groups": (lambda: CIFARResNet(18, 10, width=8, norm="group", seed=0), IMAGE, FLOAT),
    "PreActResNet": (lambda: PreActResNet(18, 10, width=4, seed=0), IMAGE, FLOAT),
    "WideResNet": (lambda: WideResNet(10, 1, 10, dropout=0.3, seed=0), IMAGE, FLOAT),
    "TextMLP": (lambda: TextMLP(50, 10, dimension=4, hidden=(8,), seed=0), (3,), int64),
}


class Waits(TorchDispatchMode):
    """Notes what a GPU would be waited for, and what a recorded step would not find again.

    The first are copies between it and the CPU that block. The second are all copies, but for those
    of `from_host`, and indices that lie on the CPU, which are copied as well.
    """

    def __init__(self):
        super().__init__()
        self.waits, self.lost = set(), set()

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        found = operation(*args, **kwargs)
        name = operation.overloadpacket.__name__
        if name in ("_to_copy", "copy_"):
            source = args[1] if name == "copy_" else args[0]
            blocking = not (args[2] if len(args) > 2 else kwargs.get("non_blocking", False))
            if source.device.type != found.device.type:
                if blocking or found.device.type == "cpu":
                    self.waits.add(_place())
                if not any(frame.name == "from_host" for frame in traceback.extract_stack()):
                    self.lost.add(_place())
        if "index" in name and isinstance(args[0], torch.Tensor) and args[0].device.type == DEVICE:
            tensors = [t for t in tree_leaves(args[1:]) if isinstance(t, torch.Tensor)]
            if any(t.device.type == "cpu" for t in tensors):
                self.lost.add(_place())
        return found


def _place():
    frames = traceback.extract_stack()
    inside = [f for f in frames if "nlmeta/" in f.filename and "_host" not in f.filename] or frames
    return f"{inside[-1].filename}: {inside[-1].line}"


def moved(module):
    """The same module with fake tensors on the device; `.to` cannot replace one kind by another."""
    for part in module.modules():
        for name, p in part._parameters.items():
            if p is not None:
                fake = torch.empty(p.shape, dtype=p.dtype, device=DEVICE)
                part._parameters[name] = nn.Parameter(fake, requires_grad=p.requires_grad)
        if getattr(part, "stays", False):
            part.logits = torch.empty(part.logits.shape)
            continue
        for name, b in part._buffers.items():
            if b is not None:
                part._buffers[name] = torch.empty(b.shape, dtype=b.dtype, device=DEVICE)
    return module


def fake(*shape, dtype=torch.float32):
    return torch.empty(*shape, dtype=dtype, device=DEVICE)


def fake_batch(n, shape, dtype=torch.float32):
    return Batch(fake(n, *shape, dtype=dtype), fake(n, dtype=int64), fake(n, dtype=int64))


def steps(make, network, shape, dtype=torch.float32):
    """Two steps of a method."""
    model = network()
    method = make(model)
    with FakeTensorMode():
        model, method = moved(model), moved(method)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
        for _ in range(2):
            train, meta = (fake_batch(n, shape, dtype) for n in (64, 20))
            method.step(model, optimizer, train, meta)


def batches(images):
    """A pass over the training part and a draw of meta samples."""
    samples = Samples(images or torch.zeros(100, 3, 8, 8), torch.zeros(100, dtype=int64))
    with FakeTensorMode():
        if images is None:
            samples = Samples(fake(100, 3, 8, 8), fake(100, dtype=int64))
        else:  # made before, since a new one looks at its numbers
            images.stored = fake(100, 3, 8, 8, dtype=torch.uint8)
            images.mean, images.deviation = fake(3), fake(3)
            object.__setattr__(samples, "y", fake(100, dtype=int64))
        order = generator(0, "batches")
        for batch in [
            *Batches(samples, 32, generator=order),
            draw_batch(samples, 7, generator=order),
        ]:
            assert {t.device.type for t in batch} == {DEVICE}


def bytes_of_images():
    change = Compose([RandomCrop(padding=2), RandomFlip(), RandAugment()])
    # Python's numbers, worked out on the CPU; fake tensors have none anywhere.
    strengths = RandAugment()._strengths(8, 8).tolist()
    RandAugment._strengths = lambda self, height, width: torch.tensor(strengths)
    scale = torch.full((3,), 127.5)
    stored = torch.zeros(100, 3, 8, 8, dtype=torch.uint8)
    return Images(stored, mean=scale, deviation=scale, augmentation=change)


def tried(work):
    """What went wrong, what was waited for, and what a recording would lose."""
    error = None
    with Waits() as seen:
        try:
            work()
        except Exception as raised:
            frames = traceback.extract_tb(raised.__traceback__)
            place = [f for f in frames if "nlmeta/" in f.filename] or frames
            error = f"{type(raised).__name__}: {raised} at {place[-1].line}"
    return {"error": error, "waits": sorted(seen.waits), "lost": sorted(seen.lost)}


def built(line, network):
    """The method of a line for digits, whose further networks are of the same kind as its first."""
    return partial(line.build, problem_of(digits(), lambda seed: network()))


def main():
    backend_registration._setup_privateuseone_for_python_backend(DEVICE)
    shape = digits().train.x.shape[1:]
    report = {line.name: tried(partial(steps, built(line, mlp), mlp, shape)) for line in LINES}
    for name, (network, shape, dtype) in NETWORKS.items():
        for line in (BY_NAME["MLC"], BY_NAME["MLNT"]):
            work = partial(steps, built(line, network), network, shape, dtype)
            report[f"{name}, {line.name}"] = tried(work)
    report["batches of floats"] = tried(lambda: batches(None))
    report["batches of bytes"] = tried(lambda: batches(bytes_of_images()))
    json.dump(report, sys.stdout)


if __name__ == "__main__":
    main()
