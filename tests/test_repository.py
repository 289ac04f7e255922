"""The files agree with each other, and every stored chapter is as CONTRIBUTING.md says."""

import ast
import base64
import importlib
import inspect
import io
import itertools
import json
import pkgutil
import re
import subprocess
import sys
import tomllib

import address
import chapters
import checks
import execute
import nbformat
import pytest
import yaml
from PIL import Image

import nlmeta
from nlmeta.experiments import RECORDS, Record

ADDRESS = address.parse("https://github.com/SOMEBODY/elsewhere", "main")
CHAPTERS = [
    pytest.param(part, file, id=file.removeprefix("book/"))
    for part, file in chapters.entries()
    if not (chapters.ROOT / f"{file}.md").exists()
]
MODULES = ["nlmeta"] + [
    module.name
    for module in pkgutil.walk_packages(nlmeta.__path__, "nlmeta.")
    if not module.name.rpartition(".")[2].startswith("_")
]
# Who sets up with conda finds these by name too, beside what the package imports.
FOR_CHAPTERS = ("jupyter-book", "ipywidgets", "nbval")
# What the package may import: itself, its dependencies, what those bring (PIL by matplotlib,
# scipy and joblib by scikit-learn), and what a notebook has, where it is used.
ON_COLAB = {"torch", "torchvision", "numpy", "pandas", "matplotlib", "seaborn", "sklearn", "tqdm"}
ON_COLAB |= {"nlmeta", "PIL", "scipy", "joblib", "IPython", "ipywidgets"}
ON_COLAB |= {"filelock"}  # PyTorch itself needs it
ON_COLAB |= {"traitlets"}  # IPython itself needs it
NOT_ON_IMPORT = ["IPython", "ipykernel", "ipywidgets", "jupyter_book", "nbclient", "nbformat"]
NOT_ON_IMPORT += ["nbval", "pytest", "selenium", "sphinx", "yaml"]


def pixel():
    """The smallest figure that can be stored, in base64."""
    picture = io.BytesIO()
    Image.new("RGB", (1, 1), "white").save(picture, "PNG")
    return base64.b64encode(picture.getvalue()).decode()


def sound_chapter(name: str = "sound") -> nbformat.NotebookNode:
    """A smallest chapter that passes every check; the negative tests each break one thing in it."""
    v4 = nbformat.v4
    shown = v4.new_output("display_data", {"image/png": pixel(), "text/plain": "<Figure>"})
    printed = [v4.new_output("stream", name="stdout", text=f"{k} of 3\n") for k in (1, 2, 3)]
    caption = {"image": {"alt": "A line that rises from one."}, "figure": {"caption": "A line."}}
    figure = v4.new_code_cell("plt.show()", metadata={"mystnb": caption}, outputs=[shown])
    folded = {"tags": ["claims", "hide-cell"], "mystnb": {"code_prompt_show": "Claims"}}
    claims = v4.new_code_cell("# @title Claims\nassert True\nprint('3 of 3')", metadata=folded)
    claims.outputs = [printed[2]]
    text = "$$a\\tag{1.1}$$\n\n## Summary\n\n## How this differs from the paper\n\n"
    text += "## Exercises\n\n<details>\n\n"
    notebook = v4.new_notebook(
        cells=[
            v4.new_markdown_cell("# 1. Title\n\n" + "\n\n".join(checks.FIRST_CELL)),
            v4.new_code_cell("print('1 of 3')", outputs=[printed[0]]),
            v4.new_code_cell("print('2 of 3')", outputs=[printed[1]]),
            figure,
            v4.new_markdown_cell(f"{checks.GOALS}\n>\n> - to draw a line"),
            v4.new_markdown_cell(text + "</details>\n\n## References"),
            claims,
        ]
    )
    text = address.in_chapter(nbformat.writes(notebook), name, ADDRESS, ADDRESS)
    notebook = nbformat.reads(text, as_version=4)
    execute.clean(notebook, name)
    return notebook


def every_check(
    notebook: nbformat.NotebookNode, *, number: int, method: bool, setup: str
) -> list[str]:
    """All complaints about a chapter."""
    found = checks.stored_outputs(notebook) + checks.numbering(notebook, number)
    whole = (checks.counts, checks.compared, checks.metadata, checks.figures, checks.folds)
    for check in whole:
        found += check(notebook)
    return found + checks.spine(notebook, method=method) + checks.setup_cell(notebook, setup)


@pytest.mark.parametrize(("part", "file"), CHAPTERS)
def test_chapter_is_stored_as_it_should_be(part, file, root):
    """Outputs, metadata, figures, headings, set-up cell and claims, as CONTRIBUTING.md says."""
    path = chapters.page_path(file)
    assert path.stat().st_size < checks.MOST_BYTES
    setup, number = address.configured(root).setup, chapters.numbers(root)[path.stem]
    method = part == "Methods"
    complaints = every_check(chapters.read(path), number=number, method=method, setup=setup)
    assert not complaints, "\n".join(complaints)


def test_no_line_of_text_begins_with_a_percent_sign(root):
    """There MyST begins a comment, and half a sentence is gone."""
    texts = {page.name: page.read_text("utf-8") for page in (root / "book").glob("*.md")}
    for chapter in chapters.notebooks(root):
        cells = (cell for cell in chapters.read(chapter).cells if cell.cell_type == "markdown")
        texts[chapter.name] = "\n".join(cell.source for cell in cells)
    lost = {
        name: [line for line in text.split("\n") if line.lstrip().startswith("%")]
        for name, text in texts.items()
    }
    assert len(lost) > 10
    assert not any(lost.values()), lost


def test_contents_list_every_page_and_nothing_else(root):
    """`_toc.yml` and the files of `book/` name the same pages."""
    listed = {chapters.page_path(file).relative_to(root) for _, file in chapters.entries()}
    there = {
        path.relative_to(root)
        for suffix in ("ipynb", "md")
        for path in (root / "book").glob(f"*.{suffix}")
    }
    assert listed == there


@pytest.mark.parametrize(
    ("page", "folder", "first"), [("README.md", "book/", 1), ("book/welcome.ipynb", "", 2)]
)
def test_tables_of_the_chapters_number_them_as_the_contents_do(page, folder, first, root):
    """A line for each chapter, in order: | 3. [Injecting noise](noise.ipynb) | ... |"""
    path = root / page
    text = path.read_text("utf-8") if path.suffix == ".md" else checks.markdown(chapters.read(path))
    lines = re.findall(rf"^\| (\d+)\. \[[^\]]+\]\({folder}(\w+)\.ipynb\) \|", text, re.MULTILINE)
    wanted = [(n, name) for name, n in chapters.numbers(root).items() if n >= first]
    assert [(int(n), name) for n, name in lines] == wanted


READERS = r"experiments\.(?:read|rows|histories|regrets)\(\s*\"(\w+)\""


def test_each_table_of_a_chapter_has_runs_in_a_record_of_the_package(root):
    found = {
        name
        for path in chapters.notebooks(root)
        for cell in checks.code_cells(chapters.read(path))
        for name in re.findall(READERS, cell.source)
    }
    assert len(found) > 2
    for name in found:
        assert Record(RECORDS / f"{name}.jsonl").runs, f"there is no record of {name}"


def texts(root) -> dict[str, str]:
    """What each file says to a reader: pages, chapters, and the comments of package and tests."""
    pages = [root / "README.md", root / "CONTRIBUTING.md", *(root / "book").glob("*.md")]
    found = {path.name: path.read_text("utf-8") for path in pages}
    for path in [*(root / "nlmeta").rglob("*.py"), *(root / "tests").glob("*.py")]:
        found[str(path.relative_to(root))] = checks.words_of(path.read_text("utf-8"))
    for path in chapters.notebooks(root):
        notebook = chapters.read(path)
        code = "\n".join(cell.source for cell in checks.code_cells(notebook))
        comments = "\n".join(re.findall("#.*", code))
        found[path.name] = f"{checks.markdown(notebook)}\n{comments}"
    return found


def test_cited_chapters_and_equations_exist(root):
    """Each "chapter n" is in the contents, each "(n.m)" is a tag of chapter n."""
    numbers = chapters.numbers(root)
    tags = {
        tag
        for path in chapters.notebooks(root)
        for tag in checks.equation_tags(chapters.read(path))
    }
    found = texts(root)
    cited = {name: checks.cited_chapters(text) for name, text in found.items()}
    equations = {name: checks.cited_equations(text) for name, text in found.items()}
    assert sum(map(bool, cited.values())) > 20
    assert sum(map(bool, equations.values())) > 20
    lost = {name: there - set(numbers.values()) for name, there in cited.items()}
    assert not any(lost.values()), {name: n for name, n in lost.items() if n}
    lost = {name: there - tags for name, there in equations.items()}
    assert not any(lost.values()), {name: n for name, n in lost.items() if n}


def test_linked_chapters_have_the_number_that_the_link_says(root):
    """[chapter 4](bilevel.ipynb) leads to the fourth."""
    numbers = chapters.numbers(root)
    links = [link for text in texts(root).values() for link in checks.LINKED_CHAPTER.findall(text)]
    assert len(links) > 5
    assert [link for link in links if int(link[0]) != numbers[link[1]]] == []


def test_citations_are_found():
    """In lists, across lines, in comments and before links; not in formulas, nor fractions."""
    said = "Chapters 2 (noise), 3 and\n    # 5; [chapter\n7](x.ipynb), chapter # 11: 4 chapters"
    assert checks.cited_chapters(said) == {2, 3, 5, 7, 11}
    assert checks.LINKED_CHAPTER.findall(said) == [("7", "x")]
    said = r"(4.1), (5.2-5.4), (8.1, 8.2) but $f(1.5)$, $$a \tag{9.9} (9.8)$$, `f(2.5)` and (0.5)"
    assert checks.cited_equations(said) == {"4.1", "5.2", "5.4", "8.1", "8.2"}
    assert checks.words_of('x = f(2.5)  # (4.1)\n"(4.2)"\n') == '# (4.1)\n"(4.2)"'


def test_sound_chapter_passes_every_check():
    """Otherwise the refusals below would prove nothing."""
    assert every_check(sound_chapter(), number=1, method=True, setup=ADDRESS.setup) == []


def strip(notebook):
    for cell in checks.code_cells(notebook):
        cell.outputs, cell.execution_count = [], None


def run_out_of_order(notebook):
    checks.code_cells(notebook)[2].execution_count = 7


def compare_nothing(notebook):
    for cell in checks.code_cells(notebook):
        cell.metadata["tags"] = [*cell.metadata.get("tags", []), "nbval-ignore-output"]


def store_error(notebook):
    output = nbformat.v4.new_output("error", ename="ValueError", evalue="no", traceback=["no"])
    checks.code_cells(notebook)[1].outputs = [output]


def store_progress_bar(notebook):
    checks.code_cells(notebook)[1].outputs[0].text = "epoch:  40%|████      | 4/10\n"


def store_stderr(notebook):
    checks.code_cells(notebook)[1].outputs[0].name = "stderr"


def store_widget(notebook):
    data = {f"{checks.WIDGETS}-view+json": {}, "text/plain": "IntSlider(value=0)"}
    checks.code_cells(notebook)[1].outputs = [nbformat.v4.new_output("display_data", data)]


def store_widget_state(notebook):
    notebook.metadata["widgets"] = {}


def print_home(notebook):
    checks.code_cells(notebook)[1].outputs[0].text = "read /" + "home/somebody/digits.csv\n"


def print_repository(notebook):
    checks.code_cells(notebook)[1].outputs[0].text = f"read {chapters.ROOT}/digits.csv\n"


def name_author(notebook):
    notebook.metadata["authors"] = [{"name": "Somebody"}]


def keep_timing(notebook):
    checks.code_cells(notebook)[1].metadata["execution"] = {"iopub.status.busy": "2026"}


def keep_version(notebook):
    notebook.metadata.language_info["version"] = "3.11.7"


def share_id(notebook):
    notebook.cells[2]["id"] = notebook.cells[3]["id"]


def drop_alt_text(notebook):
    del checks.code_cells(notebook)[3].metadata["mystnb"]["image"]


def drop_caption(notebook):
    del checks.code_cells(notebook)[3].metadata["mystnb"]["figure"]


def show_html_image(notebook):
    output = nbformat.v4.new_output("display_data", {"text/html": '<img src="x">'})
    checks.code_cells(notebook)[1].outputs.append(output)


def drop_number(notebook):
    notebook.cells[0].source = notebook.cells[0].source.replace("# 1. ", "# ")


def take_another_number(notebook):
    notebook.cells[0].source = notebook.cells[0].source.replace("# 1. ", "# 2. ")


def take_equation_of_another_chapter(notebook):
    notebook.cells[-2].source = notebook.cells[-2].source.replace("1.1", "2.1")


def skip_an_equation(notebook):
    notebook.cells[-2].source = notebook.cells[-2].source.replace("1.1", "1.2")


def drop_time(notebook):
    notebook.cells[0].source = notebook.cells[0].source.replace("Time and hardware", "")


def drop_goals(notebook):
    notebook.cells = [cell for cell in notebook.cells if not cell.source.startswith(checks.GOALS)]


def repeat_goals(notebook):
    notebook.cells[-2].source = f"{checks.GOALS}\n\n{notebook.cells[-2].source}"


def say_goals_first(notebook):
    goals = next(cell for cell in notebook.cells if cell.source.startswith(checks.GOALS))
    notebook.cells.remove(goals)
    notebook.cells.insert(2, goals)


def drop_summary(notebook):
    notebook.cells[-2].source = notebook.cells[-2].source.replace("## Summary", "Summary")


def drop_difference(notebook):
    notebook.cells[-2].source = notebook.cells[-2].source.replace("## How", "How")


def unfold_solution(notebook):
    notebook.cells[-2].source = notebook.cells[-2].source.replace("<details>", "")


def claim_nothing(notebook):
    notebook.cells[-1].source = "print('3 of 3')"


def change_setup(notebook):
    checks.code_cells(notebook)[0].source += "\nimport nlmeta"


def untag_setup(notebook):
    checks.code_cells(notebook)[0].metadata["tags"] = ["setup"]


def unfold_claims(notebook):
    notebook.cells[-1].metadata["tags"] = ["claims"]


def drop_title_of_fold(notebook):
    del notebook.cells[-1].metadata["mystnb"]


def drop_title_on_colab(notebook):
    notebook.cells[-1].source = notebook.cells[-1].source.replace("# @title Claims\n", "")


def leave_imports_open(notebook):
    cell = checks.code_cells(notebook)[1]
    cell.source, cell.outputs = "import math\n\nimport torch", []


def draw_in_the_open(notebook):
    checks.code_cells(notebook)[3].source = "ax.plot(x, y)\n" * 6 + "plt.show()"


@pytest.mark.parametrize(
    ("fault", "complaint"),
    [
        (unfold_claims, "is not folded"),
        (drop_title_of_fold, "folded without a title"),
        (drop_title_on_colab, "no '# @title'"),
        (leave_imports_open, "(import math) is not folded"),
        (draw_in_the_open, "(ax.plot(x, y)) is not folded"),
        (strip, "stripped"),
        (run_out_of_order, "not numbered 1 to 5"),
        (compare_nothing, "0 cells have a compared output"),
        (store_error, "stores an error: ValueError"),
        (store_progress_bar, "progress bar"),
        (store_stderr, "stores stderr"),
        (store_widget, "stores a widget"),
        (store_widget_state, "widget state"),
        (print_home, "path of a machine"),
        (print_repository, "path of a machine"),
        (name_author, "'authors'"),
        (keep_timing, "'execution'"),
        (keep_version, "Python version"),
        (share_id, "share one"),
        (drop_alt_text, "without an alt text"),
        (drop_caption, "without a caption"),
        (show_html_image, "HTML image without alt"),
        (drop_number, "the title is '# Title'; the chapter's number is 1"),
        (take_another_number, "the title is '# 2. Title'; the chapter's number is 1"),
        (take_equation_of_another_chapter, "equations are tagged ['2.1']"),
        (skip_an_equation, "equations are tagged ['1.2']"),
        (drop_time, "'**Time and hardware**'"),
        (drop_goals, "0 texts, 0 of them cells"),
        (repeat_goals, "2 texts, 2 of them cells"),
        (say_goals_first, "the goals stand above the first figure"),
        (drop_summary, "'## Summary'"),
        (drop_difference, "'## How this differs from the paper'"),
        (unfold_solution, "folded solution"),
        (claim_nothing, "asserts nothing"),
        (change_setup, "not the set-up cell"),
        (untag_setup, "lacks the tags"),
    ],
)
def test_checks_refuse(fault, complaint):
    """Each check can fail: a sound chapter with one fault is refused for that fault."""
    notebook = sound_chapter()
    fault(notebook)
    complaints = every_check(notebook, number=1, method=True, setup=ADDRESS.setup)
    assert any(complaint in text for text in complaints), complaints


def test_execute_stores_a_clean_chapter_and_refuses_a_faulty_one(tmp_path):
    """A run fills outputs and drops what names the machine; an error leaves the file as it was."""
    path = tmp_path / "short.ipynb"
    notebook = sound_chapter("short")
    notebook.cells[4].source, notebook.cells[4].metadata = "2 * 21", {}
    notebook.metadata["authors"] = [{"name": "Somebody"}]
    strip(notebook)
    nbformat.write(notebook, path)
    complaints, _ = execute.execute(path)
    assert complaints == []
    stored = chapters.read(path)
    assert stored.cells[4].outputs[0].data["text/plain"] == "42"
    assert checks.counts(stored) == checks.metadata(stored) == []
    first = path.read_bytes()
    assert execute.execute(path)[0] == []
    assert path.read_bytes() == first  # a second run changes nothing

    for source in ("1 / 0", "import os\nprint(os.getcwd())", "print('40%|####      |')"):
        stored.cells[4].source = source
        nbformat.write(stored, path)
        before = path.read_bytes()
        assert execute.execute(path)[0] != []
        assert path.read_bytes() == before


def test_environment_and_project_ask_for_the_same(root):
    """environment.yml repeats the bounds of pyproject.toml under conda's names."""
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    tools = [name for name in extras["book"] + extras["test"] if name.startswith(FOR_CHAPTERS)]
    wanted = {f"python{project['requires-python']}", "pip"}
    wanted |= {re.sub(r"^torch(?=>)", "pytorch", name) for name in project["dependencies"] + tools}
    environment = yaml.safe_load((root / "environment.yml").read_text("utf-8"))["dependencies"]
    conda = {entry for entry in environment if isinstance(entry, str)}
    pip = [line for entry in environment if isinstance(entry, dict) for line in entry["pip"]]
    assert conda == wanted
    assert pip == ["-e .[book,test]"]
    names = {re.match(r"[\w-]+", entry)[0] for entry in conda}
    assert names >= {"pytorch", "torchvision", "matplotlib", "seaborn", *FOR_CHAPTERS}


def test_dependencies_have_lower_bounds_only(root):
    """A pin would make Colab change what it has; Jupyter Book 2 is another program."""
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    extras = [name for names in project["optional-dependencies"].values() for name in names]
    for requirement in project["dependencies"] + extras:
        assert re.fullmatch(r"[\w.-]+>=[\d.]+", requirement) or requirement.startswith(
            "jupyter-book>="
        ), requirement


def test_import_needs_only_what_colab_has():
    """In a fresh interpreter, all but the figures loads no notebook, widget or test tool."""
    code = """
import sys, json, nlmeta
for name in set(nlmeta.__all__) - {"plots", "widgets"}:
    getattr(nlmeta, name)
print(json.dumps(sorted(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert "torch" in loaded  # the list is not empty
    assert not loaded & set(NOT_ON_IMPORT)


def imported(source: str) -> set[str]:
    """The top-level modules that a source file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").partition(".")[0])
    return found


def test_package_imports_only_what_it_declares(root):
    """Every import in the package is its own, Python's, or one that Colab has."""
    allowed = ON_COLAB | sys.stdlib_module_names
    for path in (root / "nlmeta").rglob("*.py"):
        assert imported(path.read_text("utf-8")) <= allowed, path.name
    assert not imported("def f():\n    from yaml.a import b") <= allowed


def test_import_leaves_the_random_state_alone():
    """Importing the package draws no number and sets no seed."""
    code = """
import random, numpy, torch
def state():
    return random.getstate(), numpy.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
before = state()
import nlmeta
for name in nlmeta.__all__:
    getattr(nlmeta, name)
assert state() == before
torch.rand(1)
assert state() != before  # the comparison can fail
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", MODULES)
def test_public_names_exist_and_are_documented(name):
    """Each module has a docstring and a written `__all__`; its names exist and are explained."""
    module = importlib.import_module(name)
    assert module.__doc__
    assert len(set(module.__all__)) == len(module.__all__) > 0
    for public in module.__all__:
        thing = getattr(module, public)
        if inspect.isclass(thing) or inspect.isroutine(thing):  # not constants and type aliases
            assert thing.__doc__, f"{name}.{public} has no docstring"


def test_api_page_documents_every_module(root):
    """A module that is added appears on the API page."""
    page = (root / "book/api.md").read_text("utf-8")
    documented = set(re.findall(r"automodule:: (nlmeta\.\w+)", page))
    there = {
        f"nlmeta.{module.name}"
        for module in pkgutil.iter_modules(nlmeta.__path__)
        if not module.name.startswith("_")
    }
    assert documented == there


SECTION = re.compile(r"^(\w+( \w+)?)\n-{3,}\n", re.MULTILINE)
DESCRIBING = {"Parameters", "Attributes", "Returns", "Yields", "Raises", "Warns"}
# Words with which the text of a parameter would hang on its name, as "Of how many one is drawn".
HANGING = {"As", "At", "By", "For", "From", "How", "In", "Like", "Not", "Of", "On", "Over", "See"}
HANGING |= {"Than", "To", "What", "Where", "Which", "Who", "Whom", "Whose", "With", "Without"}


def described(docstring: str) -> list[tuple[str, str]]:
    """The names that a docstring in NumPy's style describes, each with the text below it."""
    found = []
    begins = [*SECTION.finditer(docstring), None]
    for this, following in itertools.pairwise(begins):
        body = docstring[this.end() : following.start() if following else None]
        if this[1] in DESCRIBING:
            entries = re.findall(r"^(\S.*)\n((?: {4}.*\n?|\n)+)", body, re.MULTILINE)
            found += [(name.partition(" :")[0], text.strip()) for name, text in entries]
    return found


def hanging(source: str) -> set[str]:
    """Texts of a source file that begin with one of the words, as "Class.function: name"."""
    found = set()

    def visit(node: ast.AST, inside: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef | ast.FunctionDef):
                for name, text in described(ast.get_docstring(child) or ""):
                    if re.split(r"\W", text)[0] in HANGING:
                        found.add(f"{inside}{child.name}: {name}")
                visit(child, f"{inside}{child.name}.")

    visit(ast.parse(source), "")
    return found


def test_a_text_that_hangs_on_its_name_is_found():
    """Under each heading, in methods too; not in prose, nor below the first line of a text."""
    docstring = """Words.

    As they are.

    Parameters
    ----------
    k : int
        Of how many one is drawn.
    x, y : Tensor, shape (n,)
        Inputs.
        See elsewhere.

    rate : float
        In [0, 1].

    Returns
    -------
    Tensor
        Asked for.

    Raises
    ------
    ValueError
        See `f`.

    Notes
    -----
    By
        Of course.
    """
    source = f'class A:\n    def f(self):\n        """{docstring}"""\n'
    assert hanging(source) == {"A.f: k", "A.f: rate", "A.f: ValueError"}
    names = ["k", "x, y", "rate", "Tensor", "ValueError"]
    assert [name for name, _ in described(inspect.cleandoc(docstring))] == names


def test_texts_of_parameters_do_not_hang_on_their_names(root):
    """CONTRIBUTING.md, Words: a noun phrase, or a sentence with a subject."""
    sources = {
        path.relative_to(root): path.read_text("utf-8") for path in (root / "nlmeta").rglob("*.py")
    }
    texts = [
        entry
        for source in sources.values()
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ClassDef | ast.FunctionDef)
        for entry in described(ast.get_docstring(node) or "")
    ]
    assert len(texts) > 1000  # the parser reads them
    for path, source in sources.items():
        assert hanging(source) == set(), path
