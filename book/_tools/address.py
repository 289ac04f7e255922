"""Write the repository's address, and one tag or branch of it, into every place that needs them.

    python book/_tools/address.py                                       # what _config.yml says
    python book/_tools/address.py https://github.com/OWNER/NAME         # another address
    python book/_tools/address.py https://github.com/OWNER/NAME --ref v0.1.0

`_config.yml` holds both once. The badges and set-up cells of the chapters, the README, the citation
file and the package's metadata follow it; a test asks that nothing is left to follow. A badge opens
a chapter at the tag or branch from which its set-up cell installs the package, so that the two
always fit together. What is not given stays as it is.

Runs on any plain Python, Windows too, so it imports the standard library alone.
"""

import argparse
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
UNDECIDED = "ADDRESS-NOT-DECIDED"  # the owner, until there is one
REPOSITORY = re.compile(
    r"https://github\.com/([\w-]+)/((?!\.git/?$)[\w.-]*?[\w-])(?:\.git)?/?", re.ASCII
)
REF = re.compile(r"\w[\w.-]*(?:/\w[\w.-]*)*", re.ASCII)
# Where each link to a repository ends, so that `nlmeta` is not found in `nlmeta-data`.
END = r"(?![\w-]|\.(?!git\b)\w)"
BADGE = "https://colab.research.google.com/assets/colab-badge.svg"
COLAB = "https://colab.research.google.com/github"
FILES = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "CITATION.cff", "pyproject.toml"]
# It prints nothing that could be compared, and in the book it is folded away.
SETUP_TAGS = ["setup", "nbval-ignore-output", "hide-cell"]
SETUP_PROMPTS = {"code_prompt_hide": "Hide", "code_prompt_show": "Set-up on Colab"}
SETUP = """\
try:
    import google.colab  # noqa: F401  (only there is anything installed)
except ImportError:
    pass
else:
    import os

{spec}
    %pip install -q --no-deps {{spec}}"""
PINNED = """\
    spec = os.environ.get("NLMETA_SPEC", "{spec}")"""
NOT_PINNED = """\
    spec = os.environ.get("NLMETA_SPEC")
    if not spec:
        raise RuntimeError(
            "This copy of the book does not say where its package is.\\n"
            "Name the repository that it came from: run, in a new cell above,\\n"
            "    %env NLMETA_SPEC=git+https://github.com/OWNER/NAME\\n"
            "and then this cell again. To mend all chapters, run in the repository\\n"
            "    make address URL=https://github.com/OWNER/NAME"
        )"""


@dataclass(frozen=True)
class Address:
    """A repository on GitHub, which is where Colab finds chapters, at one tag or branch."""

    owner: str
    name: str
    ref: str

    @property
    def url(self) -> str:
        """The repository's page."""
        return f"https://github.com/{self.owner}/{self.name}"

    @property
    def pages(self) -> str:
        """Where GitHub shows the built book."""
        return f"https://{self.owner}.github.io/{self.name}"

    @property
    def spec(self) -> str:
        """What pip installs."""
        return f"git+{self.url}@{self.ref}"

    @property
    def chapters(self) -> str:
        """The folder of chapters on Colab, where a slash inside a branch's name is written %2F."""
        return f"{COLAB}/{self.owner}/{self.name}/blob/{self.ref.replace('/', '%2F')}/book/"

    @property
    def setup(self) -> str:
        """The set-up cell, the same in every chapter."""
        undecided = self.owner == UNDECIDED
        return SETUP.format(spec=NOT_PINNED if undecided else PINNED.format(spec=self.spec))

    def badge(self, chapter: str) -> str:
        """The line that opens a chapter on Colab."""
        return f"[![Open in Colab]({BADGE})]({self.chapters}{chapter}.ipynb)"


def parse(url: str, ref: str) -> Address:
    """The address that the two arguments of the command mean."""
    if re.match(r"[^/]*//[^/]*@", url):  # it is not repeated, since it may be a secret
        raise ValueError(
            "`URL` has a user name or a password in it; give https://github.com/OWNER/NAME alone"
        )
    repository = REPOSITORY.fullmatch(url)
    if not repository:
        raise ValueError(f"`URL` is {url!r}; it must look like https://github.com/OWNER/NAME")
    parts = ref.split("/")
    if not REF.fullmatch(ref) or ".." in ref or any(p.endswith((".", ".lock")) for p in parts):
        raise ValueError(
            f"`REF` is {ref!r}; it must be the name of a tag or a branch, such as v0.1.0 or colab: "
            "letters, digits, '.', '_', '-' and '/', beginning with a letter or a digit"
        )
    return Address(repository[1], repository[2], ref)


def read(path: Path) -> str:
    """A file's text, with its own ends of lines."""
    return path.read_bytes().decode("utf-8")


def configured(root: Path = ROOT) -> Address:
    """The address that `_config.yml` holds."""
    section = re.search(r"^repository:\n(?:  .*\n)+", read(root / "_config.yml"), re.MULTILINE)
    keys = ("url", "branch")
    found = [re.search(rf"^  {key}: *(\S+)", section[0], re.M) for key in keys] if section else []
    if not found or None in found:
        raise ValueError("_config.yml lacks `repository.url` or `repository.branch`")
    return parse(*(match[1] for match in found))


def in_config(text: str, new: Address, former: Address) -> str:
    """`_config.yml` with the new address."""
    text = in_text(text, new, former)
    branch = re.compile(r"(^repository:\n(?:  .*\n)*?  branch: *)\S+", re.MULTILINE)
    return branch.sub(lambda match: match[1] + new.ref, text)


def in_text(text: str, new: Address, former: Address) -> str:
    """`text` with every link to the former repository, or to an undecided one, brought to `new`."""
    both = {(former.owner, former.name), (UNDECIDED, former.name), (UNDECIDED, "nlmeta")}
    here = "|".join(re.escape(f"{owner}/{name}") for owner, name in sorted(both))
    links = {
        rf"{re.escape(COLAB)}/(?:{here})/blob/[^\s)]*/book/(?=\w+\.ipynb)": new.chapters,
        rf"git\+https://github\.com/(?:{here})(?:@[\w./-]*\w|{END})": new.spec,
        rf"https://github\.com/(?:{here}){END}": new.url,
    }
    for owner, name in sorted(both):
        links[rf"https://{re.escape(owner)}\.github\.io/{re.escape(name)}{END}"] = new.pages
    pattern = re.compile("|".join(f"({link})" for link in links))
    written = list(links.values())
    return pattern.sub(lambda match: written[match.lastindex - 1], text)


def in_chapter(text: str, chapter: str, new: Address, former: Address) -> str:
    """The text of a notebook with badge and set-up cell; other links follow as in any text."""
    notebook = json.loads(text)
    cells = notebook["cells"]
    for cell in cells:
        if cell["cell_type"] == "markdown":
            cell["source"] = lines(in_text("".join(cell["source"]), new, former))
    first = "".join(cells[0]["source"])
    badge, line = new.badge(chapter), re.compile(r"^\[!\[Open in Colab\].*$", re.MULTILINE)
    if line.search(first):
        first = line.sub(lambda _: badge, first, count=1)
    else:
        title, _, rest = first.partition("\n")
        first = f"{title}\n\n{badge}\n\n{rest.lstrip()}".rstrip()
    cells[0]["source"] = lines(first)
    code = next((cell for cell in cells if cell["cell_type"] == "code"), None)
    if code is None or "setup" not in code["metadata"].get("tags", []):
        code = {"cell_type": "code", "execution_count": None, "id": f"{chapter}-setup"}
        code |= {"metadata": {}, "outputs": []}
        cells.insert(1, code)
    code["metadata"] |= {"mystnb": SETUP_PROMPTS, "tags": SETUP_TAGS}
    code["source"] = lines(new.setup)
    if notebook == json.loads(text):
        return text
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def lines(source: str) -> list[str]:
    """A cell's source as notebooks store it."""
    return source.splitlines(keepends=True)


def rewritten(new: Address, root: Path = ROOT) -> dict[Path, str]:
    """The files that do not yet agree with `new`, with the text they should have."""
    former = configured(root)
    texts = [*(root / name for name in FILES), *sorted((root / "book").glob("*.md"))]
    changes = {path: in_text(read(path), new, former) for path in texts if path.exists()}
    for path in sorted((root / "book").glob("*.ipynb")):
        changes[path] = in_chapter(read(path), path.stem, new, former)
    # It comes last: after an interruption it still holds the former address.
    changes[root / "_config.yml"] = in_config(read(root / "_config.yml"), new, former)
    return {path: text for path, text in changes.items() if text != read(path)}


def main(arguments: list[str], root: Path = ROOT) -> None:
    former = configured(root)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url", nargs="?", metavar="URL", help=f"default: {former.url}")
    parser.add_argument("--ref", help=f"tag or branch (default: {former.ref})")
    given = parser.parse_args(arguments)
    url = former.url if given.url is None else given.url
    new = parse(url, former.ref if given.ref is None else given.ref)
    changes = rewritten(new, root)
    for path, text in changes.items():
        path.write_bytes(text.encode("utf-8"))
        print(f"changed {path.relative_to(root).as_posix()}")
    print(f"{len(changes)} files changed; the address is {new.url}, at {new.ref}")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except ValueError as error:
        sys.exit(str(error))
