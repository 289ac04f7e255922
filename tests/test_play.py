"""What the figures of play.js compute: in a browser, against the same in Python, in float64."""

import json
import re

import chapters
import moving
import pytest
import torch
import torch.nn.functional as F
from chromium import open_page, page_errors
from scipy.optimize import minimize_scalar
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from nlmeta import losses

POINTS = torch.tensor(
    [[2, 0], [1, 2], [2, 1], [-1, -2], [-2, -1], [1, -1]], dtype=torch.float64
)  # of chapter 4
GIVEN = torch.tensor([1, 1, 0, 0, 0, 1], dtype=torch.float64)
RIGHT = torch.tensor([1, 1, 1, 0, 0, 1], dtype=torch.float64)
CLEAN = torch.tensor([1, 1], dtype=torch.float64)


@pytest.fixture(scope="module")
def maths(root, browser, tmp_path_factory):
    """A function that calls one of play_maths.js by name; Infinity goes in as the text "inf"."""
    page = tmp_path_factory.mktemp("play") / "maths.html"
    source = (root / "book/_static/play_maths.js").read_text("utf-8")
    page.write_text(f"<!doctype html><script>{source}</script>")
    open_page(browser, page, 390, "light")
    assert page_errors(browser) == []

    def call(name, *arguments):
        given = json.dumps(arguments)
        script = f"const given = {given}.map(v => v === 'inf' ? Infinity : v);"
        return browser.execute_script(f"{script} return window.nlmetaMaths.{name}(...given);")

    return call


def close(got, want, digits=1e-12):
    want = want.detach() if torch.is_tensor(want) else torch.tensor(want, dtype=torch.float64)
    torch.testing.assert_close(
        torch.tensor(got, dtype=torch.float64), want.double(), rtol=digits, atol=digits
    )


def one_step(weights, lr, labels):
    """The step from zero by autograd: theta, clean loss, its gradient by the weights, losses."""
    theta = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    each = F.binary_cross_entropy_with_logits(POINTS @ theta, labels, reduction="none")
    (slope,) = torch.autograd.grad(weights @ each, theta, create_graph=True)
    after = theta - lr * slope
    clean = F.softplus(-(CLEAN @ after))
    (gradient,) = torch.autograd.grad(clean, weights)
    there = F.binary_cross_entropy_with_logits(POINTS @ after, labels, reduction="none")
    return after, clean, gradient, there


@pytest.mark.parametrize("labels", [GIVEN, RIGHT], ids=["given", "right"])
@pytest.mark.parametrize("lr", [0.0, 0.3, 1.5, 7.0])
def test_a_step_and_its_hypergradient(lr, labels, maths):
    """Figures of chapters 1 and 4, with unequal weights; (4.1), (4.2) and the takeaway there."""
    weights = torch.tensor([0.1, 0.2, 0.4, 0.0, 0.2, 0.1], dtype=torch.float64, requires_grad=True)
    after, clean, gradient, there = one_step(weights, lr, labels)
    got = maths("step", weights.tolist(), lr, labels.tolist())
    close(got["theta"], after)
    close(got["clean"], clean)
    close(got["gradient"], gradient)
    close(got["losses"], there)
    close(got["training"], there.mean())
    close(torch.tensor(got["arrows"]).sum(0).tolist(), after, 1e-6)


def test_without_labels_the_step_takes_the_given_ones(maths):
    assert maths("step", [1 / 6] * 6, 1.5) == maths("step", [1 / 6] * 6, 1.5, GIVEN.tolist())


def test_the_best_step_is_where_the_training_loss_is_smallest(maths):
    equal = torch.full((6,), 1 / 6, dtype=torch.float64, requires_grad=True)
    found = minimize_scalar(
        lambda lr: one_step(equal, lr, GIVEN)[3].mean().item(), bounds=(0, 12), method="bounded"
    )
    best = maths("bestStep", GIVEN.tolist(), 12)
    assert best == pytest.approx(found.x, abs=1e-4)
    assert 0 < best < 12
    # with the label put right every sample but the sixth gains by any step
    assert maths("bestStep", RIGHT.tolist(), 12) > best + 1


@pytest.mark.parametrize(("belief", "label", "a", "b"), [(0.9, 1, 0.3, 0.1), (0.2, 0, 0.5, 0.25)])
def test_a_label_behind_t(belief, label, a, b, maths):
    """Chapter 8, (8.1): the pull is minus the gradient of the package's loss by the logits."""
    T = torch.tensor([[1 - a, a], [b, 1 - b]], dtype=torch.float64)
    z = torch.tensor([[belief, 1 - belief]], dtype=torch.float64).log().requires_grad_()
    loss = losses.transition_cross_entropy(z, torch.tensor([label]), T)
    (slope,) = torch.autograd.grad(loss, z)
    got = maths("corrected", belief, label, a, b)
    close(got["loss"], loss, 1e-6)  # the package adds a little inside of the logarithm
    close(got["pull"], -slope[0], 1e-6)
    assert sum(got["r"]) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(("given", "likeness", "k"), [(1, 0.8, 5.0), (2, -0.4, 2.0)])
def test_a_moving_label(given, likeness, k, maths):
    """Chapter 9, (9.2) to (9.5), by a double backward through the virtual step, 12 times."""
    x = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    clean = torch.tensor([[likeness, (1 - likeness**2) ** 0.5]], dtype=torch.float64)
    u = torch.zeros(1, 3, dtype=torch.float64)
    u[0, given] = k
    rows = [u.softmax(1)[0]]
    for _ in range(12):
        u = u.detach().requires_grad_()
        W = torch.zeros(3, 2, dtype=torch.float64, requires_grad=True)
        log_p = (x @ W.t()).log_softmax(1)
        inner = (log_p.exp() * (log_p - u.log_softmax(1))).sum()
        (slope,) = torch.autograd.grad(inner, W, create_graph=True)
        meta = F.cross_entropy(clean @ (W - 0.7 * slope).t(), torch.tensor([0]))
        (gradient,) = torch.autograd.grad(meta, u)
        u = u - 4.0 * gradient
        rows.append(u.softmax(1)[0])
    options = {"k": k, "alpha": 0.7, "beta": 4.0, "steps": 12}
    got = maths("labelRow", given, likeness, options)
    close(got["rows"], torch.stack(rows), 1e-10)
    close([sum(logits) for logits in got["logits"]], [k] * 13, 1e-10)  # rows keep their sum
    assert (rows[-1] - rows[0]).abs().max() > 1e-2


def test_a_label_without_likeness_stays(maths):
    rows = maths("labelRow", 1, 0)["rows"]
    assert len(rows) == 61
    close(rows[-1], rows[0])


PROBLEM = {"curvatures": [1.0, 0.05], "d": [1.0, 4.0], "c": [0.5, 3.0], "lr": 0.9}


@pytest.mark.parametrize("steps", [1, 5, 50, "inf"])
@pytest.mark.parametrize("phi", [0.3, 1.0])
def test_inner_steps(steps, phi, maths):
    """By autograd through every step; 2,000 of them are as good as infinitely many here."""
    A, d, c = (
        torch.tensor(PROBLEM[name], dtype=torch.float64) for name in ("curvatures", "d", "c")
    )
    turned = torch.tensor(phi, dtype=torch.float64, requires_grad=True)
    theta = torch.zeros(2, dtype=torch.float64)
    for _ in range(2000 if steps == "inf" else steps):
        theta = theta - PROBLEM["lr"] * A * (theta - turned * d)
    outer = (theta - c).square().sum() / 2
    (gradient,) = torch.autograd.grad(outer, turned, retain_graph=True)
    arrow = [torch.autograd.grad(part, turned, retain_graph=True)[0] for part in theta]
    got = maths("innerSteps", steps, phi, PROBLEM)
    close(got["theta"], theta, 1e-11)
    close(got["arrow"], torch.stack(arrow), 1e-11)
    close(got["outer"], outer, 1e-10)
    close(got["gradient"], gradient, 1e-10)


def test_one_step_can_have_the_wrong_sign(maths):
    """What the figure of chapter 7 shows first."""
    one, end = (maths("innerSteps", K, 1.0, PROBLEM)["gradient"] for K in (1, "inf"))
    assert one < -0.1
    assert end > 1


def test_verdicts_are_counted(maths):
    assert maths("verdicts", [True, False, True, False], [1, 2, 3, 4], [0, 2, 3, 5]) == 2


def test_large_numbers_stay_finite(maths):
    assert maths("softplus", 800) == 800
    assert maths("softplus", -800) == 0
    assert maths("softmax", [800, 0, -800]) == [1, 0, 0]


PLACE = re.compile(r'<div class="nlmeta-play" data-play="(\w+)">\n<p>(.*?)</p>\n</div>', re.DOTALL)
LINK = re.compile(r'<a href="([^"]*)">')


def test_without_a_script_a_sentence_leads_to_the_page(root):
    """On Colab nothing else is seen of the figures. Each figure that there is has its place."""
    found = {}
    for path in chapters.notebooks(root):
        for cell in chapters.read(path).cells:
            if "nlmeta-play" not in cell.source or cell.cell_type != "markdown":
                continue
            (place,) = PLACE.findall(cell.source)
            name, sentence = place
            assert LINK.findall(sentence)[0].endswith(f"/nlmeta/book/{path.stem}.html")
            assert len(re.sub("<[^>]*>", "", sentence)) > 60
            found[name] = path.stem
    script = (root / "book/_static/play.js").read_text("utf-8")
    defined = set(re.findall(r"^  figures\.(\w+) = ", script, re.MULTILINE))
    assert defined - {"sixteen"} == set(found)
    assert len(found) >= 6


def test_scripts_ask_the_network_for_nothing(root):
    for name in ("play.js", "play_maths.js", "choose.js"):
        script = (root / "book/_static" / name).read_text("utf-8")
        assert re.findall(r"https?://[^\s\"]+", script) in ([], ["http://www.w3.org/2000/svg"])
        assert not re.search(r"\b(fetch|XMLHttpRequest|import|eval)\b", script)
    assert moving.STORED.exists()


@pytest.fixture
def tree(root, browser, tmp_path):
    """The decision tree as chapter 17 has stored it, on a page with the script and nothing else."""
    notebook = chapters.read(root / "book/which_method.ipynb")
    outputs = [o for c in notebook.cells for o in c.get("outputs", [])]
    found = [o.get("data", {}).get("text/html", "") for o in outputs]
    (stored,) = (html for html in found if "nlmeta-choose" in html)
    script = (root / "book/_static/choose.js").read_text("utf-8")
    page = tmp_path / "tree.html"
    page.write_text(f"<!doctype html>{stored}<script>{script}</script>", "utf-8")
    open_page(browser, page, 390, "light")
    assert page_errors(browser) == []
    place = browser.find_element(By.CSS_SELECTOR, ".nlmeta-choose")
    return place, json.loads(place.get_dom_attribute("data-tree")), stored


def leaves(node):
    if "take" in node:
        return [node]
    return [leaf for answer in node["answers"] for leaf in leaves(answer["then"])]


def test_the_tree_leads_by_the_keyboard_to_the_leaf_that_was_computed(tree):
    """The last answer to each question, then another first answer, which forgets the path."""
    place, node, _ = tree
    depth = 0
    while "take" not in node:
        groups = place.find_elements(By.TAG_NAME, "fieldset")
        assert len(groups) == depth + 1
        radios = groups[depth].find_elements(By.TAG_NAME, "input")
        names = [radio.accessible_name.strip() for radio in radios]
        assert names == [answer["says"] for answer in node["answers"]]
        radios[0].send_keys(Keys.ARROW_UP)  # from the first to the last
        node, depth = node["answers"][-1]["then"], depth + 1
    assert depth >= 2
    said = place.find_element(By.CSS_SELECTOR, ".nlmeta-result")
    assert said.text.startswith(f"Take {node['take']}. {node['why']}")
    said.find_element(By.TAG_NAME, "summary").send_keys(Keys.ENTER)
    rows = said.find_elements(By.TAG_NAME, "li")
    assert [row.text for row in rows] == [
        f"{row['where']}: {row['text']}. {row['verdict']}" for row in node["rows"]
    ]
    first = place.find_elements(By.TAG_NAME, "fieldset")[0]
    first.find_elements(By.TAG_NAME, "input")[-1].send_keys(Keys.ARROW_UP)
    assert len(place.find_elements(By.TAG_NAME, "fieldset")) == 2
    assert said.text == ""


def test_without_a_script_the_tree_is_a_list_of_all_its_leaves(tree):
    _, node, stored = tree
    still = re.findall(r"<li>(.*?)</li>", stored)
    assert len(still) >= len(leaves(node)) > 10
    for leaf in leaves(node):
        assert any(f"<b>{leaf['take']}</b>. {leaf['why']}" in line for line in still)
