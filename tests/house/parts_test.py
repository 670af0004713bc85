"""The plugin that runs a part of the suite, on a suite that is made up."""

import os
import pathlib
import platform
import subprocess
import sys
from importlib import metadata

import pytest

import fakes
import parts

TESTS = fakes.ROOT / "tests"
SUITE = {
    "text_test.py": "def test_a(): pass\ndef test_b(): pass\n",
    "device_test.py": "import jax\nimport pytest\ndef test_c(): pass\n"
    "@pytest.mark.torch\ndef test_d(): import no_such_torch\n",
    "process_test.py": "import subprocess\ndef test_e(): pass\n",
    "bench_toy_test.py": "import jax\ndef test_f(): pass\n",
    "tests/evaluate_test.py": "import jax\ndef test_h(): pass\n",
    "runtime/sharding_test.py": "import star_jax.runtime.sharding\ndef test_g(): pass\n",
}


def run(folder: pathlib.Path, *arguments: str) -> tuple[set[str], str]:
    """The tests of the made-up suite that passed or failed, and the last line."""
    for name, text in SUITE.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    command = [sys.executable, "-m", "pytest", "-vv", "-p", "no:cacheprovider"]
    command += [f"--rootdir={folder}", "-c", str(fakes.ROOT / "pyproject.toml"), str(folder)]
    path = os.pathsep.join(map(str, (parts.SUPPORT, fakes.ROOT)))
    done = subprocess.run(
        [*command, *arguments],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": path},
    )
    words = done.stdout.split()
    ran = {w.rpartition("::test_")[2] for w in words if "::test_" in w}
    return ran, done.stdout


@pytest.mark.parametrize("processes", ["0", "2"])
@pytest.mark.parametrize(
    ("part", "ran", "left_out"),
    [
        (
            "jax",
            set("ceg"),
            "1 files are of benchmarks, 1 need torch, 2 never meet jax, 1 take long",
        ),
        ("quick", set("abg"), "5 may compile"),
    ],
)
def test_a_part_is_run_and_the_rest_is_counted(
    tmp_path: pathlib.Path, processes: str, part: str, ran: set[str], left_out: str
):
    found, text = run(tmp_path, "-p", "parts", f"--part={part}", "-n", processes)
    assert found == ran
    versions = f"Python {platform.python_version()}, jax {metadata.version('jax')}"
    assert f"{versions}; tests left out: {left_out}\n" in text


def test_without_it_nothing_is_left_out(tmp_path: pathlib.Path):
    found, text = run(tmp_path)
    assert found == set("abcdefgh")
    assert "1 failed, 7 passed" in text and "left out" not in text


@pytest.mark.parametrize(
    ("name", "compiles"),
    [
        ("inference/decode", True),
        ("main", True),
        ("star/resume", True),
        ("tasks/number_text", False),
        ("storage/versions", False),
    ],
)
def test_what_meets_jax_is_known_by_what_is_imported(name: str, compiles: bool):
    assert parts.compiles(TESTS / f"{name}_test.py") == compiles
