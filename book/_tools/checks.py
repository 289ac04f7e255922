"""What a stored chapter must look like. Each check returns its complaints, best read one by one.

`execute.py` refuses to store a chapter that fails the checks of its outputs; the tests run all of
them over the repository, and feed each a chapter that it has to refuse.
"""

import io
import re
import tempfile
import tokenize
from pathlib import Path

import address
from chapters import ROOT, tags
from nbformat import NotebookNode

MOST_BYTES = 500_000
# These are not run by the tools; they keep the outputs of the machine that did run them.
SKIP_TAGS = {"skip-execution", "nbval-skip"}
WIDGETS = "application/vnd.jupyter.widget"
PROGRESS = re.compile(r"\r|\d+%\|[█▏▎▍▌▋▊▉ #]*\||\d(?:it/s|s/it)\b")
# A path from the root of somebody's machine, not preceded by what base64 or an address ends in.
MACHINE_PATH = re.compile(
    r"(?<![\w+/.:=-])/(?:home|Users|root|tmp|work|opt|mnt|srv|content|private|var/folders)/[\w.-]"
    r"|\b[A-Z]:\\\\?Users\\"
)
FIRST_CELL = ("**Prerequisites**", "**Time and hardware**")
GOALS = "> **You will learn**"
HEADINGS = ("Summary", "Exercises", "References")
METHOD_HEADINGS = ("How this differs from the paper",)
# "chapter 5", "chapters 2 (noise), 3 and 5", also across lines, in a comment and before a link.
CHAPTERS = re.compile(
    r"\bchapters?[\s#]+(\d+(?:(?:\s*\([^()]*\))?(?:,|\s+and|\s+to)[\s#]+\d+)*)", re.IGNORECASE
)
LINKED_CHAPTER = re.compile(r"\[chapter\s+(\d+)\]\((\w+)\.ipynb\)", re.IGNORECASE)
# "(5.4)", "(6.2-6.4)", "(8.1, 8.2)"; chapter 0 is a decimal fraction.
EQUATIONS = re.compile(r"(?<!\w)\((\d+\.\d+(?:(?:[-–]|, )\d+\.\d+)*)\)")
TAG = re.compile(r"\\tag\{([^}]*)\}")
METADATA = {"kernelspec", "language_info"}
IMPORT = re.compile(r"(?:import|from) ")
SHORT = 5  # lines of a drawing that need no fold


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """The code cells of a notebook."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _where(cell: NotebookNode) -> str:
    first = cell.source.strip().splitlines()[:1] or ["(empty)"]
    return f"cell {cell.get('id', '?')} ({first[0][:50]})"


def output_texts(output: NotebookNode) -> list[str]:
    """Every text in an output: streams, reprs, HTML and tracebacks; images are left out."""
    if output.output_type == "stream":
        return [output.text]
    if output.output_type == "error":
        return ["\n".join(output.traceback)]
    data = output.get("data", {})
    return [str(text) for kind, text in data.items() if not kind.startswith("image/")]


def errors(notebook: NotebookNode) -> list[str]:
    """No stored error, unless the cell is tagged `raises-exception`."""
    return [
        f"{_where(cell)} stores an error: {output.ename}: {output.evalue}"
        for cell in code_cells(notebook)
        for output in cell.outputs
        if output.output_type == "error" and "raises-exception" not in tags(cell)
    ]


def leftovers(notebook: NotebookNode) -> list[str]:
    """No widget state, no progress bars, nothing on stderr: they are dead or noise on a page."""
    found = ["the metadata stores widget state"] if "widgets" in notebook.metadata else []
    for cell in code_cells(notebook):
        for output in cell.outputs:
            if any(kind.startswith(WIDGETS) for kind in output.get("data", {})):
                found.append(f"{_where(cell)} stores a widget, which is dead in the page")
            if any(PROGRESS.search(text) for text in output_texts(output)):
                found.append(f"{_where(cell)} stores a progress bar; switch it off in the cell")
            elif output.output_type == "stream" and output.name == "stderr":
                found.append(f"{_where(cell)} stores stderr: {output.text.strip()[:80]}")
    return found


def machine_paths(notebook: NotebookNode, root: Path = ROOT) -> list[str]:
    """No path of the machine that ran the chapter, in sources or in outputs."""
    here = [str(root), str(Path.home()), tempfile.gettempdir()]
    local = re.compile("|".join(rf"(?<![\w+/.:=-]){re.escape(path)}(?![\w-])" for path in here))
    found = []
    for cell in notebook.cells:
        texts = [cell.source]
        for output in cell.get("outputs", []):
            texts += output_texts(output)
        for text in texts:
            hit = local.search(text) or MACHINE_PATH.search(text)
            if hit:
                found.append(
                    f"{_where(cell)} holds a path of a machine: {text[hit.start() :][:40]}"
                )
    return found


def counts(notebook: NotebookNode) -> list[str]:
    """Every code cell was run, once, in order. (nbval compares nothing in a cell that was not.)"""
    run = [cell for cell in code_cells(notebook) if not SKIP_TAGS & tags(cell)]
    found = [f"{_where(cell)} is empty" for cell in run if not cell.source.strip()]
    numbers = [cell.execution_count for cell in run]
    if numbers != list(range(1, len(run) + 1)):
        found.append(f"the cells are not numbered 1 to {len(run)} as one run does: {numbers}")
    if not any(cell.outputs for cell in run):
        found.append("no cell stores an output: the notebook is stripped")
    return found


def compared(notebook: NotebookNode, least: int = 3) -> list[str]:
    """At least `least` cells have an output that nbval compares, so that a run proves something."""
    number = sum(
        any(output.get("data", {}).get("text/plain") or output.get("text") for output in c.outputs)
        for c in code_cells(notebook)
        if not (SKIP_TAGS | {"nbval-ignore-output"}) & tags(c)
    )
    return [] if number >= least else [f"{number} cells have a compared output, not {least}"]


def metadata(notebook: NotebookNode) -> list[str]:
    """The metadata name a Python 3 kernel and nothing and nobody else; cells carry no timings."""
    found = [f"metadata holds {name!r}" for name in notebook.metadata if name not in METADATA]
    kernel = notebook.metadata.get("kernelspec", {})
    if kernel != {"display_name": "Python 3", "language": "python", "name": "python3"}:
        found.append(f"the kernel is not plain Python 3: {dict(kernel)}")
    if "version" in notebook.metadata.get("language_info", {}):
        found.append("language_info holds the Python version of the machine that ran the chapter")
    for cell in notebook.cells:
        extra = set(cell.metadata) - {"tags", "mystnb", "cellView"}
        found += [f"{_where(cell)} has metadata {name!r}" for name in sorted(extra)]
    ids = [cell.get("id") for cell in notebook.cells]
    if None in ids or len(set(ids)) != len(ids):
        found.append("cells lack an id or share one")
    return found


def figures(notebook: NotebookNode) -> list[str]:
    """Each cell that shows an image has a caption and says what is to be seen (alt text)."""
    found = []
    for cell in code_cells(notebook):
        kinds = [kind for output in cell.outputs for kind in output.get("data", {})]
        html = "".join(str(output.get("data", {}).get("text/html", "")) for output in cell.outputs)
        for image in re.findall(r"<img\b[^>]*>", html):
            if not re.search(r"""\balt=(["']).+?\1""", image, re.DOTALL):
                found.append(f"{_where(cell)} shows an HTML image without alt text")
        if not any(kind.startswith("image/") for kind in kinds) or "nlmeta-frames" in html:
            continue  # a slider carries its own alt texts
        mystnb = cell.metadata.get("mystnb", {})
        if len(mystnb.get("image", {}).get("alt", "")) < 20:
            found.append(f"{_where(cell)} shows a figure without an alt text of a sentence")
        if not mystnb.get("figure", {}).get("caption"):
            found.append(f"{_where(cell)} shows a figure without a caption")
    return found


def folds(notebook: NotebookNode) -> list[str]:
    """What is not the lesson is folded and says what it is: imports, drawings, claims.

    On Colab a cell with `cellView` and a ``# @title`` folds. There a figure's code stays open.
    """
    found = []
    for cell in code_cells(notebook):
        lines = [line for line in cell.source.splitlines() if line and not line.startswith("#")]
        imports = bool(lines) and bool(IMPORT.match(lines[0])) and not cell.outputs
        draws = len(lines) > SHORT and any(
            kind.startswith("image/") for output in cell.outputs for kind in output.get("data", {})
        )
        if "setup" in tags(cell) or not (imports or draws or "claims" in tags(cell)):
            continue
        if not {"hide-cell", "hide-input"} & tags(cell):
            found.append(f"{_where(cell)} is not folded (hide-cell or hide-input)")
        if "mystnb" not in cell.metadata or "code_prompt_show" not in cell.metadata["mystnb"]:
            found.append(f"{_where(cell)} is folded without a title (mystnb.code_prompt_show)")
        if not draws and not cell.source.startswith("# @title "):
            found.append(f"{_where(cell)} has no '# @title' by which Colab folds it")
    return found


def shows_a_picture(cell: NotebookNode) -> bool:
    """Whether a reader sees a figure here, or something to play with."""
    texts = [text for output in cell.get("outputs", []) for text in output_texts(output)]
    played = any("nlmeta-frames" in text or "nlmeta-play" in text for text in texts)
    return played or "image" in cell.metadata.get("mystnb", {})


def spine(notebook: NotebookNode, *, method: bool) -> list[str]:
    """The parts that every chapter has, in their places."""
    cells = notebook.cells
    if not cells or cells[0].cell_type != "markdown" or not cells[0].source.startswith("# "):
        return ["the first cell is not Markdown that opens with the title"]
    found = [f"the first cell lacks '{part}'" for part in FIRST_CELL if part not in cells[0].source]
    text = markdown(notebook)
    goals = [place for place, cell in enumerate(cells) if cell.source.startswith(GOALS)]
    if len(goals) != 1 or text.count(GOALS) != 1:
        found.append(f"{text.count(GOALS)} texts, {len(goals)} of them cells, open with '{GOALS}'")
    elif not any(shows_a_picture(cell) for cell in cells[: goals[0]]):
        found.append("the goals stand above the first figure: a chapter opens with a picture")
    for heading in HEADINGS + (METHOD_HEADINGS if method else ()):
        if not re.search(rf"^## {re.escape(heading)}", text, re.MULTILINE):
            found.append(f"there is no section '## {heading}'")
    if "<details>" not in text:
        found.append("no exercise has a folded solution (<details>)")
    code = code_cells(notebook)
    if not code or "claims" not in tags(code[-1]) or "assert " not in code[-1].source:
        found.append("the last code cell is not tagged `claims`, or asserts nothing")
    return found


def markdown(notebook: NotebookNode) -> str:
    """The text of a notebook: its Markdown cells."""
    return "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def equation_tags(notebook: NotebookNode) -> list[str]:
    """The numbers of a chapter's equations, in the order of the text."""
    return TAG.findall(markdown(notebook))


def numbering(notebook: NotebookNode, number: int) -> list[str]:
    """The title opens with the chapter's number, and equations are n.1, n.2, ... in order."""
    found = []
    title = notebook.cells[0].source.partition("\n")[0]
    if not re.match(rf"# {number}\. \S", title):
        found.append(f"the title is {title!r}; the chapter's number is {number}: '# {number}. ...'")
    there = equation_tags(notebook)
    wanted = [f"{number}.{place}" for place in range(1, len(there) + 1)]
    if there != wanted:
        found.append(f"equations are tagged {there}; chapter {number} has {wanted}")
    return found


def cited_chapters(text: str) -> set[int]:
    """The numbers n of each "chapter n" in a text."""
    lists = [re.sub(r"\([^()]*\)", "", match) for match in CHAPTERS.findall(text)]
    return {int(number) for found in lists for number in re.findall(r"\d+", found)}


def cited_equations(text: str) -> set[str]:
    """The numbers n.m of each "(n.m)" in a text, mathematics and code left out."""
    text = re.sub(r"\$\$.*?\$\$|\$[^$]*\$|`[^`\n]*`", " ", text, flags=re.DOTALL)
    lists = EQUATIONS.findall(text)
    found = {number for match in lists for number in re.findall(r"\d+\.\d+", match)}
    return {number for number in found if not number.startswith("0.")}


def words_of(source: str) -> str:
    """What a Python file says to its readers: comments and texts, without the code."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return "\n".join(t.string for t in tokens if t.type in (tokenize.COMMENT, tokenize.STRING))


def setup_cell(notebook: NotebookNode, setup: str) -> list[str]:
    """The first code cell is the set-up cell, word for word, with its tags."""
    code = code_cells(notebook)
    if not code or code[0].source != setup:
        return ["the first code cell is not the set-up cell (`make address` writes it)"]
    missing = set(address.SETUP_TAGS) - tags(code[0])
    return [f"the set-up cell lacks the tags {sorted(missing)}"] if missing else []


def stored_outputs(notebook: NotebookNode) -> list[str]:
    """What `make execute` must never store."""
    return errors(notebook) + leftovers(notebook) + machine_paths(notebook)
