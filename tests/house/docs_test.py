"""The pages for readers: what they link to and name exists, and they are short."""

import ast
import pathlib
import re
from collections.abc import Iterator

import pytest

from star_jax.config import validation

ROOT = pathlib.Path(__file__).parents[2]
TOP = ("README.md", "BUILD.md", "CONTRIBUTING.md")
PAGES = sorted(
    [*(ROOT / name for name in TOP if (ROOT / name).exists()), *(ROOT / "docs").rglob("*.md")]
)
INDEX = ROOT / "docs/README.md"
MOST_WORDS = {"README.md": 1150, "BUILD.md": 700, "docs": 800, "docs/design": 800}

FOLDERS = "star_jax|configs|experiments|tests|docs|findings|examples"
LINK = re.compile(r"\]\(([^)\s]+)\)")
PATH = re.compile(rf"(?<![\w./-])(?:{FOLDERS})/[\w./-]*\w/?(?![\w*<{{])")
MODULE = re.compile(r"-m ((?:star_jax|experiments)[\w.]*)(?!\S*\$)")  # not bench.$1
CODE = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SETTING = re.compile(r"--(?:no)?config\.([a-z_0-9.]*[a-z_0-9])")


def name_of(path: pathlib.Path) -> str:
    return str(path.relative_to(ROOT))


def prose(text: str) -> str:
    """A page without its tables and code."""
    lines = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE).splitlines()
    return "\n".join(line for line in lines if not line.startswith(("|", "    ")))


def anchors(text: str) -> set[str]:
    """The anchors that headings have on GitHub."""
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def dead_links(page: pathlib.Path, text: str) -> Iterator[str]:
    """Relative links to files, or to headings in pages, that are not there."""
    for link in LINK.findall(text):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (
            anchor and anchor not in anchors(target.read_text() if name else text)
        ):
            yield link


def missing_paths(text: str) -> Iterator[str]:
    """Paths from the repository's root that are not there."""
    for path in PATH.findall(LINK.sub("", text)):
        if not (ROOT / path).exists():
            yield path


def missing_modules(text: str) -> Iterator[str]:
    """Modules that a command runs and that are not there."""
    for module in MODULE.findall(text):
        path = ROOT.joinpath(*module.rstrip(".").split("."))
        if not path.with_suffix(".py").exists() and not (path / "__main__.py").exists():
            yield module


def unknown_settings(text: str) -> Iterator[str]:
    """Settings in commands that no run has; a section alone is one."""
    for name in SETTING.findall(text):
        if name not in validation.SETTINGS and name not in validation.SECTIONS:
            yield name


def missing_names(code: str) -> Iterator[str]:
    """Names that Python code imports from star_jax and that are not there."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith("star_jax."):
            path = ROOT.joinpath(*str(node.module).split("."))
            file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
            text = file.read_text() if file.exists() else ""
            for alias in node.names:
                inside = path / alias.name
                name = alias.name  # defined, or in __all__
                defined = re.search(rf'^(def |class |)?{name}\b|"{name}"', text, re.MULTILINE)
                if not (defined or inside.is_dir() or inside.with_suffix(".py").exists()):
                    yield f"{node.module}.{alias.name}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
class TestPage:
    def test_links_to_what_is_there(self, page: pathlib.Path):
        assert list(dead_links(page, page.read_text())) == []

    def test_names_files_that_are_there(self, page: pathlib.Path):
        assert list(missing_paths(page.read_text())) == []

    def test_runs_modules_that_are_there(self, page: pathlib.Path):
        assert list(missing_modules(page.read_text())) == []

    def test_sets_settings_that_exist(self, page: pathlib.Path):
        assert list(unknown_settings(page.read_text())) == []

    def test_imports_what_is_there(self, page: pathlib.Path):
        blocks = CODE.findall(page.read_text())
        assert [name for code in blocks for name in missing_names(code)] == []

    def test_is_short(self, page: pathlib.Path):
        folder = name_of(page.parent)
        most = MOST_WORDS.get(name_of(page)) or MOST_WORDS.get(folder)
        text = page.read_text()
        words = text if page.parent == ROOT else prose(text)
        assert most is None or len(words.split()) <= most


def test_every_page_is_in_the_index():
    listed = {(INDEX.parent / link).resolve() for link in LINK.findall(INDEX.read_text())}
    pages = {page for page in PAGES if page.is_relative_to(INDEX.parent)} - {INDEX}
    assert not sorted(map(name_of, pages - listed))


# The checks themselves: what they must find in a line of text.
@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[a](no_such.md)", ["no_such.md"]),
        ("[a](README.md#use) [b](https://x.org/y) [c](#here)\n# Here", []),
        ("[a](README.md#no-such-heading)", ["README.md#no-such-heading"]),
    ],
)
def test_dead_links(text: str, found: list[str]):
    assert list(dead_links(INDEX, text)) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("`star_jax/main.py` and star_jax/no_such.py.", ["star_jax/no_such.py"]),
        ("--config=configs/gsm8k.py:smollm2, docs/design/", []),
        ("configs/no_such.py:x (tests/house)", ["configs/no_such.py"]),
        ("runs/tests/x.py, `tests/<module>_test.py`, experiments/*/study.py", []),
    ],
)
def test_missing_paths(text: str, found: list[str]):
    assert [path for path in missing_paths(text) if path != "docs/design/"] == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("python -m star_jax.main --config.train.clip=2 --noconfig.rationalize.enabled", []),
        ("--config.train.clips=2 --config.seed=1 --config.sead=1", ["train.clips", "sead"]),
    ],
)
def test_unknown_settings(text: str, found: list[str]):
    assert list(unknown_settings(text)) == found


def test_missing_names():
    code = (
        "from star_jax.evaluate import evaluate, evolve\nfrom star_jax.star import rounds, founds\n"
    )
    assert list(missing_names(code)) == ["star_jax.evaluate.evolve", "star_jax.star.founds"]


def test_missing_modules():
    there = "-m star_jax.main; python -m experiments.tpu_compile. python -m experiments.bench.$1 x"
    assert list(missing_modules(f"{there}; python -m star_jax.mane")) == ["star_jax.mane"]
