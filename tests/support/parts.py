"""A pytest plugin that runs a part of the suite, and says what it has left out.

    PYTHONPATH=tests/support python -m pytest -p parts --part=jax

`make test` runs the suite whole, without this. Then, on another Python, where other versions of jax
are, it runs the part "jax": the tests that may compile a program. Those marked `torch` hold ours
against PyTorch, which is not installed there. `make check` runs the part "quick".
"""

import ast
import collections
import fnmatch
import functools
import pathlib
import platform
from collections.abc import Iterator
from importlib import metadata

import pytest

SUPPORT = pathlib.Path(__file__).parent
ROOT = SUPPORT.parents[1]
DEVICE_LIBRARIES = {"jax", "jaxlib", "flax", "optax", "orbax", "tensorstore"}
SMALL = {
    "runtime/sharding_test.py",
    "models/rope_test.py",
    "inference/sampling_test.py",
    "training/spec_test.py",
}
# What takes minutes and says least of another version: whole runs, and the grader on thousands of
# strings, which the tests of the fused step hold against the host too.
LONG = {
    "star/smollm2_run_test.py",
    "tests/evaluate_test.py",
    "tests/verifier_test.py",
    "star/resume_test.py",
    "star/rounds_test.py",
    "star/fused_round_test.py",
    "star/sampler_test.py",
    "star/bootstrap_test.py",
    "star/ranking_test.py",
    "star/verifier_test.py",
    "star/verifier_run_test.py",
    "runtime/multihost_test.py",
    "grading/device_test.py",
}
OF_TORCH = ("bench_*_test.py", "peers_lm_eval_*_test.py")
_LEFT_OUT = pytest.StashKey[collections.Counter[str]]()


def jax_part(item: pytest.Item) -> str:
    """Why a test is not of the part; "" for one that is."""
    if item.get_closest_marker("torch"):
        return "need torch"
    if _is_one_of(item.path, LONG):
        return "take long"
    return "" if compiles(item.path) else "never meet jax"


def quick_part(item: pytest.Item) -> str:
    """As `jax_part`, of the text side and a few small programs."""
    return "may compile" if compiles(item.path) and not _is_one_of(item.path, SMALL) else ""


PARTS = {"jax": jax_part, "quick": quick_part}


def _is_one_of(path: pathlib.Path, ends: set[str]) -> bool:
    return any(path.as_posix().endswith(f"/{end}") for end in ends)


@functools.cache
def compiles(path: pathlib.Path) -> bool:
    """Whether a test file can reach jax: through what it imports, or in another process."""
    seen, waiting = set(), [path]
    while waiting:
        names = set(_imported(current := waiting.pop()))
        if {name.partition(".")[0] for name in names} & DEVICE_LIBRARIES:
            return True
        if current == path and "subprocess" in names:
            return True
        found = {source for name in names if (source := _source(name))}
        waiting += found - seen
        seen |= found
    return False


def _imported(path: pathlib.Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))


def _source(name: str) -> pathlib.Path | None:
    """The file of a module of ours."""
    for folder in (ROOT, SUPPORT):
        place = folder.joinpath(*name.split("."))
        for path in (place.with_suffix(".py"), place / "__init__.py"):
            if path.exists():
                return path
    return None


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--part", choices=sorted(PARTS), required=True, help="of the suite, to run")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_LEFT_OUT] = collections.Counter()


def pytest_ignore_collect(collection_path: pathlib.Path, config: pytest.Config) -> bool | None:
    """Benchmarks import torch, so in the part "jax" their files are not even opened."""
    name = collection_path.name
    of_torch = any(fnmatch.fnmatch(name, pattern) for pattern in OF_TORCH)
    if config.getoption("part") != "jax" or not of_torch:
        return None
    config.stash[_LEFT_OUT]["files are of benchmarks"] += 1
    return True


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    why = PARTS[str(config.getoption("part"))]
    reasons = {item: why(item) for item in items}
    config.stash[_LEFT_OUT].update(filter(None, reasons.values()))
    config.hook.pytest_deselected(items=[item for item in items if reasons[item]])
    items[:] = [item for item in items if not reasons[item]]


def pytest_sessionfinish(session: pytest.Session) -> None:
    # of pytest-xdist, in a process that prints nothing
    getattr(session.config, "workeroutput", {})["left_out"] = dict(session.config.stash[_LEFT_OUT])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node) -> None:
    left = getattr(node, "workeroutput", {}).get("left_out", {})
    node.config.stash[_LEFT_OUT] = collections.Counter(left)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    left = terminalreporter.config.stash[_LEFT_OUT]
    what = ", ".join(f"{count} {reason}" for reason, count in sorted(left.items())) or "nothing"
    versions = f"Python {platform.python_version()}, jax {metadata.version('jax')}"
    terminalreporter.write_line(f"{versions}; tests left out: {what}")
