"""A dataset and a network as Hugging Face has them: tokens, masks, an output with logits."""

import re
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch
from methods import LINES, Problem
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.testing import assert_close

from nlmeta import CLIDMU, MLC, MLNT, MSLG, CrossEntropy, bilevel, fit, losses, metrics
from nlmeta.data import Batch, from_rows
from nlmeta.methods import FixMatch, WeightNet
from nlmeta.models import logits_of, with_features

C, VOCABULARY, LENGTH = 3, 12, 6
COLUMNS = ("input_ids", "attention_mask")


def rows(n=90):
    """Texts of two to six tokens; the class is that of their most frequent kind of token."""
    g = torch.Generator().manual_seed(4)
    found = []
    for i in range(n):
        length = 2 + i % (LENGTH - 1)
        tokens = 1 + i % C + C * torch.randint(0, 3, (length,), generator=g)
        given = (i + (i % 5 == 0)) % C  # one label in five is wrong
        found.append(
            {
                "input_ids": tokens.tolist(),
                "attention_mask": [1] * length,
                "label": given,
                "truth": i % C,
            }
        )
    return found


def split_of(given):
    return from_rows(
        given,
        inputs=COLUMNS,
        label="label",
        true_label="truth",
        padding=0,
        meta_size=12,
        test_size=18,
        seed=0,
    )


class Transformer(nn.Module):
    """Two layers of attention over masked tokens, and a linear layer on their mean."""

    def __init__(self, seed=0, dropout=0.1, width=8):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.words = nn.Embedding(VOCABULARY, width)
            self.places = nn.Embedding(LENGTH, width)
            layer = nn.TransformerEncoderLayer(width, 2, 12, dropout=dropout, batch_first=True)
            self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
            self.classifier = nn.Linear(width, C)

    def forward(self, input_ids, attention_mask, return_features=False):
        places = torch.arange(input_ids.shape[1], device=input_ids.device)
        h = self.words(input_ids) + self.places(places)
        h = self.encoder(h, src_key_padding_mask=attention_mask == 0)
        seen = attention_mask[:, :, None].to(h)
        features = (h * seen).sum(1) / seen.sum(1)
        output = SimpleNamespace(logits=self.classifier(features), hidden_states=None)
        return (output, features) if return_features else output


SPLIT = split_of(rows())
PROBLEM = Problem(
    SPLIT.train.y,
    0.7 * torch.eye(C) + 0.1,
    torch.zeros(40, LENGTH),  # for a method that changes a tensor at random
    lambda seed: Transformer(seed),
)


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.name)
def test_every_method_trains_a_transformer_on_tokens_and_masks_or_is_refused_by_name(line):
    """Two epochs. A method that changes inputs at random, or runs without dropout, says so."""
    network = Transformer()
    options = {"epochs": 2, "batch_size": 24, "seed": 0, "lr": 0.05, "progress": False}
    method = line.build(PROBLEM, network)
    before = [p.detach().clone() for p in network.parameters()]
    if any(isinstance(part, FixMatch) for part in method.modules()):
        with pytest.raises(TypeError, match="FixMatch changes a single tensor"):
            fit(method, network, SPLIT, **options)
        return
    if getattr(method, "trials_at_once", 1) > 1:
        with pytest.raises(RuntimeError, match="`model` draws random numbers, as dropout does"):
            fit(method, network, SPLIT, **options)
        network = Transformer(dropout=0.0)
        method = line.build(PROBLEM, network)
        with mathematics():  # PyTorch warns that other attention is slow for several steps at once
            run = fit(method, network, SPLIT, **options)
    else:
        run = fit(method, network, SPLIT, **options)
    assert run.finished
    assert len(run.history) == 2
    assert 0 <= run.accuracy <= 1
    assert any(not torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


@contextmanager
def mathematics():
    """Attention whose backward pass can be differentiated, in evaluation mode too."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def test_a_transformer_learns_the_clean_classes_from_noisy_rows():
    network = Transformer(dropout=0.0)
    run = fit(CrossEntropy(), network, SPLIT, epochs=10, batch_size=24, seed=0, progress=False)
    assert run.accuracy > 0.9  # of three classes
    assert metrics.evaluate(network, SPLIT.test.x, SPLIT.test.y) == run.accuracy


def test_a_run_on_rows_goes_on_where_it_stopped_and_not_with_other_tokens(tmp_path):
    options = {"epochs": 3, "batch_size": 24, "seed": 0, "progress": False}

    def method():
        return MLC(C, virtual_lr=0.1, transition_lr=1.0)

    whole = fit(method(), Transformer(), SPLIT, **options)

    def stop(epoch, model, method):
        if epoch == 2:
            raise KeyboardInterrupt

    there = {"checkpoint": tmp_path / "run.pt"}
    fit(method(), Transformer(), SPLIT, on_epoch=stop, **there, **options)
    other = split_of([row | {"input_ids": row["input_ids"][::-1]} for row in rows()])
    with pytest.raises(ValueError, match=r"`inputs.train` is 'input_ids: \(60, 6\), SHA-256"):
        fit(method(), Transformer(), other, resume=True, **there, **options)
    again = fit(method(), Transformer(), SPLIT, resume=True, **there, **options)
    pairs = zip(whole.model.parameters(), again.model.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


class Foreign(Transformer):
    """With the arguments and the output of a library's network, and no more."""

    def forward(self, input_ids, attention_mask):
        return super().forward(input_ids, attention_mask)


def test_the_example_of_the_readme_trains_on_rows_and_a_network_of_others(root, monkeypatch):
    text = (root / "README.md").read_text()
    (code,) = re.findall(r"rows: begin -->\s*```python\n(.*?)```", text, re.DOTALL)
    checked = [row | {"checked": row["label"] == row["truth"]} for row in rows()]
    names = {"rows": checked, "network": Foreign()}
    monkeypatch.setenv("NLMETA_PROGRESS", "0")
    exec(compile(code, "README.md", "exec"), names)
    run = names["run"]
    assert run.finished
    assert (run.method.transition - torch.eye(C)).abs().max() > 0.01
    logits, features = with_features(names["model"], names["split"].test.x)
    assert (logits.shape, features.shape) == ((12, C), (12, 8))


# Hypergradients in float64, against double backward through the math backend of attention


def batches(form=dict):
    """A training batch of 20 rows and a meta batch of 12."""

    def batch(samples, n):
        x = {name: part[:n] for name, part in samples.x.items()}
        return Batch(x if form is dict else tuple(x.values()), samples.y[:n], torch.arange(n))

    return batch(SPLIT.train, 20), batch(SPLIT.meta, 12)


def transformer(dropout):
    return Transformer(dropout=dropout).double().train()


METHODS = {
    "MLC": lambda mode: MLC(
        C, virtual_lr=0.5, transition_lr=1.0, initial=(0.7 * torch.eye(C) + 0.1), mode=mode
    ).double(),
    "MSLG": lambda mode: MSLG(SPLIT.train.y, C, virtual_lr=0.5, label_lr=1.0, mode=mode).double(),
    "CLID-MU": lambda mode: CLIDMU(WeightNet(8, seed=0), head_lr=0.1, mode=mode).double(),
}


def gradients(name, mode, dropout, form=dict):
    """The method's hypergradient, and the random numbers of dropout the same each time."""
    network, (train, meta) = transformer(dropout), batches(form)
    method = METHODS[name](mode)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        forward = bilevel.forward_pass(network, train.x)
        if name == "MLC":
            return method.transition_gradient(network, forward, train.y, meta).gradients
        if name == "MSLG":
            u = torch.linspace(-1, 1, 20 * C, dtype=torch.float64).view(20, C)
            return method.label_gradient(network, forward, u, meta).gradients
        return method.head_gradient(network, forward, train.y, meta, lr=0.5).gradients


@pytest.mark.parametrize("form", [dict, tuple])
@pytest.mark.parametrize("dropout", [0.0, 0.2])
@pytest.mark.parametrize("name", METHODS)
def test_hypergradients_of_a_transformer_equal_double_backward(name, dropout, form):
    with mathematics():
        wanted = gradients(name, "exact", dropout)
    found = gradients(name, "jvp", dropout, form)
    largest = max(g.abs().max() for g in wanted)
    assert largest > 1e-6
    for got, want in zip(found, wanted, strict=True):
        assert_close(got, want, rtol=0, atol=1e-9 * largest.item())


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_the_second_order_of_mlnt_equals_double_backward_on_a_transformer(dropout):
    """By hand: autograd through the trial step, on the same batch."""
    network, (train, _) = transformer(dropout), batches()
    method = MLNT(
        network, network, trial_lr=0.3, meta_weight=1.0, trials=2, order="second", seed=0
    ).double()
    labels = torch.stack([(train.y + 1) % C, (train.y + 2) % C])
    log_q = torch.linspace(-1, 1, 20 * C, dtype=torch.float64).view(20, C).log_softmax(1)
    with torch.random.fork_rng(devices=[]), mathematics():
        torch.manual_seed(1)
        forward = bilevel.forward_pass(network, train.x)
        found, _ = method.meta_gradient(network, forward, labels, log_q)
        theta, total = bilevel.parameters(network), 0.0
        for y in labels:
            loss = losses.cross_entropy(forward.logits, y)
            slopes = torch.autograd.grad(loss, [*theta.values()], create_graph=True)
            pairs = zip(theta.items(), slopes, strict=True)
            ahead = {name: p - 0.3 * slope for (name, p), slope in pairs}
            with bilevel.same_random_numbers(forward):
                logits = logits_of(bilevel.with_parameters(network, ahead), train.x)
            total = total + losses.soft_label_divergence(logits, log_q, direction="label-first") / 2
        wanted = torch.autograd.grad(total, [*theta.values()])
    largest = max(g.abs().max() for g in wanted).item()
    assert largest > 1e-3
    for name, want in zip(theta, wanted, strict=True):
        assert_close(found[name], want, rtol=0, atol=1e-9 * largest)
