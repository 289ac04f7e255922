"""The process in which one submission runs: cells come in, one at a time, and verdicts go out.

The grading process starts it with ``python -m nlmeta.course.worker``. It is told its limits first,
then a cell in each line, as JSON. A cell is only known to this process once it is its turn, and a
verdict repeats the random word that came with the cell, so what a submission prints is no verdict.

Before each test, what the test relies on is put back: functions of PyTorch, NumPy and Python, names
that the assignment itself defined, and Python's hooks. A submission that patches them is caught.
"""

import ast
import builtins
import contextlib
import json
import os
import sys
from types import ModuleType
from typing import Any

from nlmeta.course.secret import SECRET

__all__ = ["Guard", "main"]

# Modules whose functions tests rely on; those of the package come on top.
TRUSTED = {"builtins", "copy", "functools", "itertools", "math", "operator", "random", "numpy"}
TRUSTED |= {"numpy.linalg", "numpy.random", "numpy.testing", "torch", "torch.autograd"}
TRUSTED |= {"torch.func", "torch.linalg", "torch.nn", "torch.nn.functional", "torch.testing"}
MOST_CHARACTERS = 600  # of a message


class Guard:
    """What tests rely on, remembered before the student's code runs and put back before a test.

    Parameters
    ----------
    names : dict
        The names that the notebook's cells share.
    """

    def __init__(self, names: dict[str, Any]) -> None:
        self.names = names
        self.given: dict[str, Any] = {}
        self.modules: dict[str, ModuleType] = {}
        self.attributes: list[tuple[Any, str, Any]] = []

    def learn(self, before: dict[str, Any]) -> None:
        """Remember the functions, classes and modules that a cell of the assignment has defined."""
        for name, value in self.names.items():
            if not name.startswith("_") and before.get(name) is not value and _is_tool(value):
                self.given[name] = value

    def remember(self) -> None:
        """Remember the functions of trusted modules. The first call counts."""
        if self.modules:
            return
        self.modules = {
            name: module
            for name, module in sys.modules.items()
            if (name in TRUSTED or name.partition(".")[0] == "nlmeta") and module is not None
        }
        holders: list[Any] = list(self.modules.values())
        if "torch" in self.modules:
            holders.append(self.modules["torch"].Tensor)
        for holder in holders:
            for name, value in list(vars(holder).items()):
                if _is_tool(value):
                    self.attributes.append((holder, name, value))

    def restore(self) -> list[str]:
        """Put everything back; the names of what had been changed."""
        sys.settrace(None)
        sys.setprofile(None)
        self.names["__builtins__"] = builtins
        changed = [name for name, value in self.given.items() if self.names.get(name) is not value]
        self.names.update(self.given)
        for holder, name, value in self.attributes:
            found = vars(holder).get(name)
            if found is not value:
                setattr(holder, name, value)
                if not _of_library(found, holder):
                    changed.append(f"{holder.__name__}.{name}")
        for name, module in self.modules.items():
            if sys.modules.get(name) is not module:
                sys.modules[name] = module
                changed.append(name)
        return changed


def _is_tool(value: Any) -> bool:
    return callable(value) or isinstance(value, ModuleType)


def _of_library(value: Any, holder: Any) -> bool:
    """Whether a library has replaced its own function, as PyTorch does when it first compiles."""
    library = sys.modules.get(getattr(holder, "__module__", holder.__name__).partition(".")[0])
    home = os.path.dirname(getattr(library, "__file__", None) or "")
    file = getattr(getattr(value, "__code__", None), "co_filename", "")
    return bool(home) and file.startswith(home + os.sep)


def main() -> None:
    """Run cells until no more come."""
    requests = os.fdopen(os.dup(0), "r", encoding="utf-8")
    verdicts = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)  # what a submission prints goes where it is counted
    _limit(json.loads(requests.readline()))
    shell = _shell()
    guard = Guard(shell.user_ns)
    dumps = json.dumps
    for line in requests:
        cell = json.loads(line)
        verdict = {"word": cell["word"], **_run(shell, guard, cell)}
        verdicts.write(dumps(verdict) + "\n")
        verdicts.flush()


def _limit(limits: dict[str, int]) -> None:
    """Set the limits that the system knows, for this process and all that it starts."""
    try:
        import resource
    except ImportError:  # Windows has none
        return
    for name, most in limits.items():
        kind = getattr(resource, name, None)
        if kind is not None:
            hard = resource.getrlimit(kind)[1]
            most = most if hard == resource.RLIM_INFINITY else min(most, hard)
            resource.setrlimit(kind, (most, most))


def _shell() -> Any:
    """An IPython shell without a history, so that cells may have magics."""
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    settings = Config()
    settings.HistoryManager.enabled = False
    shell: Any = InteractiveShell.instance(config=settings)
    # Verdicts tell the errors; a traceback would only be counted as output.
    shell.showtraceback = shell.showsyntaxerror = lambda *_, **__: None
    return shell


def _run(shell: Any, guard: Guard, cell: dict[str, Any]) -> dict[str, Any]:
    if cell["kind"] == "given":
        before = dict(shell.user_ns)
        error = _execute(shell, cell["source"])
        guard.learn(before)
        return {"error": error}
    guard.remember()
    if cell["kind"] == "answer":
        return {"error": _execute(shell, cell["source"])}
    changed = guard.restore()
    os.environ[SECRET] = cell["secret"]
    printed = _Printed(sys.stdout)
    try:
        with contextlib.redirect_stdout(printed):
            score, error = _test(cell["source"], cell["name"], shell.user_ns), None
    except BaseException as raised:  # also sys.exit
        score, error = None, _said(raised)
    finally:
        os.environ.pop(SECRET, None)
    return {"error": error, "score": score, "changed": changed, "printed": printed.kept}


class _Printed:
    """What a test prints, which tells why a score is partial: passed on, and its beginning kept."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.kept = ""

    def write(self, text: str) -> int:
        self.kept = (self.kept + text)[:MOST_CHARACTERS]
        return self.stream.write(text)

    def flush(self) -> None:
        self.stream.flush()


def _execute(shell: Any, source: str) -> str | None:
    result = shell.run_cell(source, store_history=False)
    raised = result.error_before_exec or result.error_in_exec
    return None if raised is None else _said(raised)


def _test(source: str, name: str, names: dict[str, Any]) -> float | None:
    """Run a test as plain Python, past all hooks of the shell; the last line's value is a score."""
    tree = ast.parse(source)
    last = tree.body[-1] if tree.body else None
    if not isinstance(last, ast.Expr):
        exec(compile(tree, f"<{name}>", "exec"), names)
        return None
    tree.body.pop()
    exec(compile(tree, f"<{name}>", "exec"), names)
    value = eval(compile(ast.Expression(last.value), f"<{name}>", "eval"), names)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if number else None


def _said(raised: BaseException) -> str:
    """An error in words; its own text may fail, or have no end."""
    try:
        text = str(raised)
    except Exception:
        text = "an error without a text"
    name = type(raised).__name__
    return f"{name}: {text}"[:MOST_CHARACTERS] if text else name


if __name__ == "__main__":
    main()
