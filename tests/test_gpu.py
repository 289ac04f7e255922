"""Tests that need a CUDA device: the same package, on a GPU.

Without a device they are skipped; `make test-gpu` requires one. Numbers are held against the CPU's,
in float64 to rounding. In float32 a GPU may multiply in TensorFloat-32, so bounds there are wider.
"""

import functools

import methods
import properties
import pytest
import torch
import torch.nn.functional as F
from helpers import digits as split
from helpers import mlp, stop_at
from methods import BY_NAME, LINES, problem_of
from PIL import Image
from torch import nn

from nlmeta import EMA, CrossEntropy, bilevel, choose_device, data, fit, losses, metrics
from nlmeta._torch import full_float32
from nlmeta.data import Batches, draw_batch
from nlmeta.data.augmentation import Compose, RandAugment, RandomCrop, RandomFlip
from nlmeta.methods import FixMatch
from nlmeta.models import MLP, SmallCNN
from nlmeta.procedures import compare
from nlmeta.seeding import generator, seeded

pytestmark = pytest.mark.gpu  # conftest.py skips what is marked so where there is no device

DEVICE = "cuda"
STEPS = 3  # a pass over the 177 training samples of `split`: 64, 64 and 49


PROBLEM = problem_of(split(), mlp)
mlc = functools.partial(methods.mlc, PROBLEM)


def cnn(seed=1):
    return SmallCNN(1, 10, seed=seed)


class Dropping(nn.Module):
    """With dropout, which on a GPU draws from the GPU's own generator."""

    def __init__(self, seed=1):
        super().__init__()
        self.first, self.drop = MLP(64, 8, (8,), seed=seed), nn.Dropout(0.5)
        self.last = MLP(8, 10, (8,), seed=seed)

    def forward(self, x):
        return self.last(self.drop(self.first(x)))


def run(method=None, model=None, **options):
    method = CrossEntropy() if method is None else method
    model = mlp() if model is None else model
    defaults = {"epochs": 4, "seed": 0, "progress": False, "device": DEVICE}
    return fit(method, model, split(), **{**defaults, **options})


def hypergradient(make, device, dtype, *, autocast=False, mode="jvp"):
    """By T, on the first training batch, at a T with entries everywhere."""
    model, given = make().to(device, dtype), split().to(device, dtype)
    start = 0.8 * torch.eye(10, dtype=dtype) + 0.02
    transition = start.to(device).requires_grad_()
    x, y = given.train.x[:64], given.train.y[:64]
    with (
        seeded(5, "dropout", torch.device(device)),
        torch.autocast(device, dtype=torch.bfloat16, enabled=autocast),
    ):
        forward = bilevel.forward_pass(model, x)
        if autocast:
            assert forward.logits.dtype == torch.bfloat16
        found = bilevel.hypergradient(
            model,
            forward,
            lambda z: losses.transition_cross_entropy(z, y, transition),
            lambda network: F.cross_entropy(network(given.meta.x), given.meta.y),
            [transition],
            lr=0.1,
            mode=mode,
        )
    (gradient,) = found.gradients
    assert gradient.device.type == device
    assert gradient.dtype == dtype
    return gradient.double().cpu()


def relative_error(got, want):
    assert want.norm() > 1e-4
    return ((got - want).norm() / want.norm()).item()


def test_the_default_device_is_the_gpu_in_use():
    assert choose_device() == torch.device("cuda", torch.cuda.current_device())
    assert choose_device("cuda") == choose_device()


@pytest.mark.parametrize("name", ["cross-entropy", "mlc", "average of mlc"])
def test_fit_trains_on_the_gpu_and_learns(name):
    model = cnn()
    made = {
        "cross-entropy": CrossEntropy,
        "mlc": mlc,
        "average of mlc": lambda: EMA(mlc(), model, decay=0.5),
    }
    result = run(made[name](), model, epochs=8, warmup_epochs=2)
    for module in (result.model, result.method, result.predictor):
        for key, tensor in module.state_dict().items():  # generators and counts stay in Python
            assert key.endswith("_extra_state") or tensor.device.type == DEVICE
    assert result.accuracy > 0.25  # guessing gives 0.1
    assert result.accuracy > result.history["test_accuracy"].iloc[0]
    counts = {m.num_batches_tracked.item() for m in model.modules() if hasattr(m, "running_mean")}
    assert counts == {8 * STEPS}


def test_fit_in_float64_takes_the_steps_that_the_cpu_takes():
    """Twelve steps: rounding of 1e-16 is carried on, not blown up."""
    for make in (CrossEntropy, mlc):
        on_gpu = run(make(), precision="float64").history
        on_cpu = run(make(), precision="float64", device="cpu").history
        assert on_gpu["loss"].tolist() == pytest.approx(on_cpu["loss"].tolist(), rel=1e-8)
        assert on_cpu["loss"].nunique() == 4


def test_fit_under_bfloat16_keeps_the_weights_in_float32():
    result = run(mlc(), cnn(), precision="bfloat16")
    assert result.model.classifier.weight.dtype == torch.float32
    want = run(mlc(), cnn()).history["loss"].tolist()
    # Eight bits of a product, 2^-8, and twelve steps that carry it on.
    assert result.history["loss"].tolist() == pytest.approx(want, rel=0.1)


def test_labels_batches_and_meta_draws_of_a_seed_are_those_of_the_cpu():
    here, there = split(), split().to(DEVICE)
    assert there.train.y.device.type == DEVICE
    assert here.digest == there.digest
    drawn = []
    for given in (here, there):
        batches = Batches(given.train, 64, generator=generator(0, "batches"))
        meta = draw_batch(given.meta, 5, generator=generator(0, "meta batches"))
        drawn.append([*batches, meta])
    for on_cpu, on_gpu in zip(*drawn, strict=True):
        for one, two in zip(on_cpu, on_gpu, strict=True):
            assert two.device.type == DEVICE
            assert torch.equal(one, two.cpu())


def test_training_leaves_the_generators_of_gpu_and_cpu_as_they_were():
    before = torch.get_rng_state(), torch.cuda.get_rng_state()
    run(mlc(), Dropping(), epochs=1)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert torch.equal(torch.cuda.get_rng_state(), before[1])


def test_dropout_on_the_gpu_follows_the_seed():
    found = []
    for seed, outside in ((0, 1), (0, 2), (1, 1)):
        torch.cuda.manual_seed(outside)
        found.append(run(model=Dropping(), epochs=2, seed=seed).history["loss"].tolist())
    assert found[0] == pytest.approx(found[1], rel=1e-6)  # sums may come in another order
    assert found[0] != pytest.approx(found[2], rel=1e-3)


@pytest.mark.parametrize("mode", ["jvp", "exact"])
@pytest.mark.parametrize("make", [mlp, cnn])
def test_the_hypergradient_in_float64_is_that_of_the_cpu(make, mode):
    want = hypergradient(make, "cpu", torch.float64, mode="exact")
    got = hypergradient(make, DEVICE, torch.float64, mode=mode)
    assert relative_error(got, want) < 1e-10


def test_dropout_is_repeated_in_the_tangent_on_the_gpu():
    """With another mask forward mode would not agree with double backward."""
    want = hypergradient(Dropping, DEVICE, torch.float64, mode="exact")
    assert relative_error(hypergradient(Dropping, DEVICE, torch.float64), want) < 1e-10


@pytest.fixture
def _no_tf32():
    with full_float32():
        yield


@pytest.mark.usefixtures("_no_tf32")
@pytest.mark.parametrize("make", [mlp, cnn])
def test_the_hypergradient_in_float32_is_that_of_the_cpu(make):
    """A CPU's own float32 is 2e-7 and 3e-7 off."""
    want = hypergradient(make, "cpu", torch.float64)
    assert relative_error(hypergradient(make, DEVICE, torch.float32), want) < 1e-4


def test_the_hypergradient_keeps_its_direction_where_convolutions_use_tensor_float_32():
    """Ten bits, 1e-3, in a difference of larger numbers: simulated on a CPU it was 0.01 to 0.04."""
    want = hypergradient(cnn, "cpu", torch.float64)
    assert relative_error(hypergradient(cnn, DEVICE, torch.float32), want) < 0.15


@pytest.mark.parametrize("make", [mlp, cnn])
def test_forward_mode_holds_under_bfloat16_autocast_on_the_gpu(make):
    """A cosine of 0.99, as documented in `bilevel.hypergradient`."""
    want = hypergradient(make, "cpu", torch.float64)
    got = hypergradient(make, DEVICE, torch.float32, autocast=True)
    assert want.norm() > 1e-4
    assert F.cosine_similarity(got.flatten(), want.flatten(), dim=0) > 0.99


def test_finite_differences_are_refused_under_autocast_on_the_gpu():
    with pytest.raises(RuntimeError, match="mode='fd' under autocast"):
        hypergradient(mlp, DEVICE, torch.float32, autocast=True, mode="fd")


@pytest.mark.parametrize("make", [mlp, Dropping, cnn])
def test_a_resumed_run_ends_where_an_uninterrupted_one_does(make, tmp_path):
    """Dropout goes on with the masks that would have come next: other ones differ by percents."""

    options = {"meta_batch_size": 7, "precision": "float64"}
    whole = run(mlc(), make(), **options)
    path = tmp_path / "run.pt"
    stopped = run(mlc(), make(), checkpoint=path, on_epoch=stop_at(3, KeyboardInterrupt), **options)
    assert len(stopped.history) == 2
    resumed = run(mlc(), make(seed=2), checkpoint=path, resume=True, **options)
    for column in ("loss", "meta_loss"):
        got, want = resumed.history[column].tolist(), whole.history[column].tolist()
        assert got == pytest.approx(want, rel=1e-8)  # sums may come in another order
    assert resumed.model.state_dict().keys() == whole.model.state_dict().keys()
    for name, tensor in whole.model.state_dict().items():
        torch.testing.assert_close(resumed.model.state_dict()[name], tensor, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(("first", "second"), [("cpu", DEVICE), (DEVICE, "cpu")])
def test_a_run_can_go_on_on_another_device(first, second, tmp_path):
    path, options = tmp_path / "run.pt", {"precision": "float64"}
    run(mlc(), checkpoint=path, on_epoch=stop_at(3, KeyboardInterrupt), device=first, **options)
    resumed = run(mlc(), mlp(2), checkpoint=path, resume=True, device=second, **options)
    whole = run(mlc(), device="cpu", **options)
    assert resumed.model.classifier.weight.device.type == second
    assert resumed.history["loss"].tolist() == pytest.approx(
        whole.history["loss"].tolist(), rel=1e-8
    )


def test_networks_on_the_gpu_can_be_compared():
    model = run().model
    table = compare([lambda *_: {"a": model}], split, [3], jobs=1, progress=False)
    test = split().to(DEVICE).test
    assert table["accuracy"].tolist() == [metrics.evaluate(model, test.x, test.y, batch_size=99)]


def test_the_loss_gives_the_values_and_gradients_of_the_cpu():
    draw = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(64, 10, generator=draw, dtype=torch.float64)
    labels = torch.arange(64) * 7 % 10
    for space in ("probability", "logit"):
        found = []
        for device in ("cpu", DEVICE):
            z = logits.to(device).requires_grad_()
            t = (0.8 * torch.eye(10).double() + 0.02).to(device).requires_grad_()
            options = {"space": space, "q_floor": 1e-2}
            loss = losses.transition_cross_entropy(z, labels.to(device), t, **options)
            found.append([loss, *torch.autograd.grad(loss, (z, t))])
        for on_cpu, on_gpu in zip(*found, strict=True):
            assert on_cpu.abs().max() > 1e-4
            torch.testing.assert_close(on_gpu.cpu(), on_cpu, rtol=1e-10, atol=1e-14)


def lines(*names):
    chosen = [BY_NAME[name] for name in names] or LINES
    return pytest.mark.parametrize("line", chosen, ids=lambda line: line.name)


def run_line(line, model=mlp, **options):
    model = model()
    return run(line.build(PROBLEM, model), model, **options)


@lines()
def test_each_method_takes_on_the_gpu_the_steps_that_it_takes_on_the_cpu(line):
    """Two epochs in float64: network, everything that is learned beside it, and diagnostics."""

    def on(device):
        return run_line(line, device=device, epochs=2, precision="float64")

    properties.gpu_equals_cpu(on, mlp().double())


def small_cnn():
    return SmallCNN(1, 10, width=4, hidden=8, seed=1)


@lines("MLC", "MLC, lean", "MSLG", "CLID-MU, weights by Adam", "MLNT")
@pytest.mark.parametrize(
    "options",
    [{"compile": True}, {"channels_last": True}],
    ids=["compiled", "channels last"],
)
def test_options_of_speed_change_nothing_but_speed(line, options):
    """Twelve steps of a convolutional network in float64, with a warm-up."""
    chosen = {"precision": "float64", "warmup_epochs": 1}
    plain, fast = (run_line(line, small_cnn, **chosen, **given) for given in ({}, options))
    for a, b in zip(plain.model.parameters(), fast.model.parameters(), strict=True):
        torch.testing.assert_close(b, a, rtol=1e-6, atol=1e-8)
    assert fast.history["loss"].tolist() == pytest.approx(plain.history["loss"].tolist(), rel=1e-8)


@pytest.mark.usefixtures("_no_tf32")
@lines("MLC", "CLID-MU, weights by Adam", "MLNT")
def test_channels_last_in_float32_changes_nothing_but_speed(line):
    """In float64, as above, cuDNN has no kernels for this layout and goes back to the other."""
    results = [
        run_line(line, small_cnn, precision="float32", channels_last=last) for last in (False, True)
    ]
    plain, fast = (result.history["loss"].tolist() for result in results)
    assert fast == pytest.approx(plain, rel=1e-3)


def test_automatic_precision_is_bfloat16_where_it_is_native():
    native = torch.cuda.is_bf16_supported(including_emulation=False)
    wanted = run(mlc(), cnn(), precision="bfloat16" if native else "float32").history["loss"]
    got = run(mlc(), cnn(), precision="auto").history["loss"]
    assert got.tolist() == pytest.approx(wanted.tolist(), rel=1e-3)
    if native:
        single = run(mlc(), cnn(), precision="float32").history["loss"]
        assert got.tolist() != pytest.approx(single.tolist(), rel=1e-6)


@pytest.mark.parametrize("unlabelled", [False, True])
@pytest.mark.parametrize("on_disk", [False, True])
def test_a_network_trains_on_images_as_on_the_cpu(on_disk, unlabelled, tmp_path):
    """Bytes that lie on the device, or files decoded ahead; each image augmented by its numbers."""
    stored = torch.randint(0, 256, (48, 3, 8, 8), generator=generator(0, "x"), dtype=torch.uint8)
    labels = torch.arange(48) % 3
    for i, image in enumerate(stored):
        path = tmp_path / ("exam" if i < 12 else "photos") / str(labels[i].item()) / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(path)
    folders = {"folder": tmp_path / "photos", "test": tmp_path / "exam"}
    made = data.from_folder(**folders, size=8, in_memory=not on_disk, seed=0)
    made = made.augmented(Compose([RandomCrop(padding=2), RandomFlip(), RandAugment()]))
    losses_of = {}
    for device in ("cpu", DEVICE):
        views = {"weak": RandomFlip(), "strong": RandAugment(), "cutoff": 0.3}
        fixmatch = FixMatch(made.train.x, **views, batch_size=8, seed=0)
        result = fit(
            fixmatch if unlabelled else CrossEntropy(),
            SmallCNN(3, 3, width=4, seed=0),
            made,
            epochs=2,
            batch_size=16,
            seed=0,
            device=device,
            precision="float64",
            progress=False,
        )
        losses_of[device] = torch.tensor(result.history["loss"].tolist())
    torch.testing.assert_close(losses_of[DEVICE], losses_of["cpu"], rtol=1e-9, atol=0)
