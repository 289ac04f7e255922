"""Tests of the house itself: floors, circles, the size of files, and what names what.

The floors are read from the table in CONTRIBUTING.md, so that the two agree.
"""

import ast
import importlib
import io
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "nlmeta"
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
}


def floors():
    """Of each room its floor, by the table; the lowest is 1."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    found = {}
    for floor, rooms in re.findall(r"^\| (\d+) \| (.*?) \|", text, flags=re.M):
        for room in re.findall(r"`(\w+)`", rooms):
            assert room not in found, f"{room} is on two floors"
            found[room] = int(floor)
    return found


def room(module):
    return module.split(".")[1] if "." in module else "nlmeta"


def imports(module, source=None):
    """The modules of the package that a module imports, wherever in the file."""
    tree = ast.parse(FILES[module].read_text() if source is None else source)
    for_types = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for statement in node.body
        for inner in ast.walk(statement)
    }
    found = set()
    for node in ast.walk(tree):
        if node in for_types:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in FILES else node.module for name in names}
    return (found & set(FILES)) - {module}


GRAPH = {module: imports(module) for module in FILES}


def circle(graph):
    """A circle of modules, empty if there is none."""
    done, path = set(), []

    def visit(module):
        if module in path:
            return path[path.index(module) :]
        if module in done:
            return []
        path.append(module)
        for other in sorted(graph[module]):
            if found := visit(other):
                return found
        done.add(path.pop())
        return []

    for module in graph:
        if found := visit(module):
            return found
    return []


def test_every_room_is_on_a_floor():
    there = {room(module) for module in FILES} - {"nlmeta"}
    assert set(floors()) == there


def test_a_room_imports_only_from_floors_below():
    floor = floors()
    upward = [
        f"{module} (floor {floor[room(module)]}) imports {other} (floor {floor[room(other)]})"
        for module, others in GRAPH.items()
        for other in others
        if module != "nlmeta" and room(other) not in ("nlmeta", room(module))
        if floor[room(other)] >= floor[room(module)]
    ]
    assert not upward


def test_no_module_imports_the_package_itself():
    """Its names come when they are asked for, so nothing below can need them."""
    assert [module for module, others in GRAPH.items() if "nlmeta" in others] == []


def test_there_is_no_circle_within_a_room_either():
    assert circle(GRAPH) == []


def test_a_circle_would_be_found():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == ["b", "c"]
    assert "nlmeta.training" in imports(
        "nlmeta.noise", "def f():\n    from nlmeta.training import fit"
    )


@pytest.mark.parametrize("module", sorted(FILES))
def test_a_file_is_one_sitting(module):
    lines = len(FILES[module].read_text().splitlines())
    most = 250 if room(module) == "methods" else 500
    assert lines <= most, f"{FILES[module].relative_to(ROOT)} has {lines} lines; cut it, or shorten"


def code(source):
    """Lines of code: neither docstrings nor comments, nor lines that are empty."""
    tree = ast.parse(source)
    docstrings = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(
            node
        ):
            docstrings |= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    skipped = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
    return {
        line
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type not in (*skipped, tokenize.ENDMARKER)
        for line in range(token.start[0], token.end[0] + 1)
    } - docstrings


def test_lines_of_code_are_counted_without_words():
    source = '"""Doc."""\n\n# why\nx = [\n    1,\n]\n\n\ndef f():\n    """Doc\n\n    more."""\n'
    source += "    return 1\n"
    assert code(source) == {4, 5, 6, 9, 13}


EXPERIMENTS = PACKAGE / "experiments"
# A longer table is no more to read.
NAMES = ("cifar10", "cifar10n", "digits", "fashion_mnist", "label_heads", "mnist", "papers")
NAMES += ("carry_over", "pixels", "shortlist", "twitter")
DATA = {EXPERIMENTS / f"{name}.py" for name in NAMES}
MADE = ("Entry", "Problem", "tuple[Entry, ...]", "tuple[Problem, ...]")


def settings(source):
    """Lines of code that are settings: constants, and functions that return entries or problems."""
    lines = set()
    for node in ast.parse(source).body:
        made = isinstance(node, ast.FunctionDef) and ast.unparse(node.returns or node)
        if isinstance(node, ast.Assign) or made in MADE:
            lines |= set(range(node.lineno, node.end_lineno + 1))
    return lines & code(source)


@pytest.mark.parametrize("path", sorted(DATA), ids=lambda path: path.name)
def test_the_data_of_the_experiments_are_data(path):
    """So that nothing else escapes the count: nine lines of ten are settings."""
    source = path.read_text()
    imported = {
        line
        for node in ast.parse(source).body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for line in range(node.lineno, node.end_lineno + 1)
    }
    assert len(settings(source)) > 0.9 * len(code(source) - imported)


def test_a_file_with_work_in_it_is_no_data():
    source = (EXPERIMENTS / "builders.py").read_text()
    assert 0 < len(settings(source)) < 0.1 * len(code(source))


def test_the_experiments_take_at_most_3460_lines_of_code():
    """But for their data. 2,000 for one mechanism, and what it has learned since: features, closed
    forms, some of the samples, scores of every epoch, clocks for whole epochs, figures of others,
    steps at full size, steps that act first or in half precision, label heads, histories of runs,
    epochs that noisy labels choose; 560 for auditions of a reader's own data, and for what
    their choices are worth; and 110 for what four chapters on reproductions have in common: what
    was run of a paper, rivals with intervals, bars between two numbers, plans tried in seconds.
    """
    counted = set(EXPERIMENTS.rglob("*.py")) - DATA
    assert 500 < sum(len(code(path.read_text())) for path in counted) <= 3460


def test_no_file_of_the_mechanism_names_an_experiment():
    """But for the list of all; each is data in a file of its own."""
    names = list(importlib.import_module("nlmeta.experiments").EXPERIMENTS)
    word = re.compile(rf"\b({'|'.join([*names, *map(str.upper, names)])})\b")
    for path in EXPERIMENTS.rglob("*.py"):
        own = path.relative_to(EXPERIMENTS).parts[0].removesuffix(".py")
        if own in names or path == EXPERIMENTS / "__init__.py":
            continue
        lines = path.read_text().splitlines()
        for number in sorted(code(path.read_text())):
            assert not word.search(lines[number - 1]), f"{path.name}:{number} {lines[number - 1]}"
