import json
import pathlib
import re
from typing import Any

import pytest

from star_jax.tasks import custom

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "own_questions.md"
# The page's example, to the letter.
(EXAMPLE,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
WHOLE = "\n".join(
    ["class {name}:", *(f"    {member} = None" for member in custom.MEMBERS), "    own = 1\n"]
)


def write(folder: pathlib.Path, text: str, name: str = "my_task.py") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def test_the_example_of_the_page(tmp_path: pathlib.Path):
    colours = {"question": "Which colours has the flag?", "answer": "Red, white, red."}
    (tmp_path / "qa.jsonl").write_text(json.dumps(colours) + "\n")
    make: Any = custom.load(write(tmp_path, EXAMPLE))
    task = make(data=str(tmp_path / "qa.jsonl"), dev=0.0)
    (problem,) = task.train(seed=0, round=1, count=0)
    assert problem.answer == "red, white"
    assert task.prompt(problem, hint=True) == "Q: Which colours has the flag? (red, white)\nA:"
    assert task.answer(" It is Austria's.\n#### white, RED") == problem.answer
    assert task.answer(" It is Japan's.\n#### white, red, blue") != problem.answer
    assert task.flexible(problem, " It is Austria's.\nWhite, red.") == problem.answer
    assert task.byte_rule() is None  # a device would not know that the order is free


def test_its_file_may_lie_at_home(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch):
    write(tmp_path, EXAMPLE)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert custom.load("~/my_task.py").__name__ == "Lists"


def test_its_settings_are_found_by_name(tmp_path: pathlib.Path):
    text = (
        "from __future__ import annotations\nfrom dataclasses import dataclass\n"
        "from star_jax.tasks.jsonl import Jsonl\n\n"
        "@dataclass(frozen=True)\nclass Mine(Jsonl):\n    answer_field: str = 'solution'\n"
    )
    make: Any = custom.load(write(tmp_path, text))
    assert make(data="x").answer_field == "solution"


def test_a_module_is_found_by_its_dotted_name(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "a_package_of_tasks").mkdir()
    write(tmp_path / "a_package_of_tasks", WHOLE.format(name="One"), "one.py")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert custom.load("a_package_of_tasks.one").__name__ == "One"


def test_a_task_need_not_say_how_a_device_grades_it(tmp_path: pathlib.Path):
    make: Any = custom.load(write(tmp_path, WHOLE.format(name="One")))
    assert make().byte_rule() is None and make().steps(None, "2 + 3 = 5") is None
    own = WHOLE.format(name="Two") + "    def byte_rule(self):\n        return 'own'\n"
    make = custom.load(write(tmp_path, own))
    assert make().byte_rule() == "own"


def test_members_are_those_of_the_protocol():
    assert {"name", "unit", "separator", "train", "few_shot", "leaks", "corpus"} <= set(
        custom.MEMBERS
    )
    assert len(custom.MEMBERS) == 20
    assert all(member.isidentifier() for member in custom.MEMBERS)


def test_helpers_may_stand_beside_the_task(tmp_path: pathlib.Path):
    helpers = "import pathlib\nfrom star_jax.tasks.jsonl import Jsonl\n\nclass Helper: pass\n"
    assert custom.load(write(tmp_path, helpers + WHOLE.format(name="One"))).__name__ == "One"


@pytest.mark.parametrize("member", ["name", "answer", "leaks"])
def test_what_is_missing_is_named(tmp_path: pathlib.Path, member: str):
    text = WHOLE.format(name="One").replace(f"    {member} = None\n", "")
    with pytest.raises(ValueError, match=rf"my_task\.py: class One has no {member}; write them as"):
        custom.load(write(tmp_path, text))


def test_what_the_protocol_itself_has_is_missing_still(tmp_path: pathlib.Path):
    text = (
        "from star_jax.tasks.task import Task\n\nclass Mine(Task):\n"
        "    def train(self, seed, round, count):\n        return []\n"
    )
    with pytest.raises(ValueError, match="class Mine has no name, markup, unit, separator, eval"):
        custom.load(write(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\n", "my_task.py: defines no class; write one with the members of"),
        ("from star_jax.tasks.jsonl import Jsonl\n", "my_task.py: defines no class"),
        (WHOLE.format(name="A") + WHOLE.format(name="B"), "A and B are tasks; leave one"),
        ("x = 1\ny = (\n", "my_task.py line 2: SyntaxError: '(' was never closed"),
        ("def f():\n    return {}['a']\n\nf()\n", "my_task.py line 2: KeyError: 'a'"),
        ("x = 1\nimport no_such_package\n", "my_task.py line 2: ModuleNotFoundError: No module"),
        ("open('/no/such/file')\n", "my_task.py line 1: FileNotFoundError"),
    ],
)
def test_a_file_without_a_task_is_refused(tmp_path: pathlib.Path, text: str, message: str):
    with pytest.raises(ValueError, match=re.escape(message)):
        custom.load(write(tmp_path, text))


@pytest.mark.parametrize(
    ("module", "message"),
    [
        ("no/such/my_task.py", "no/such/my_task.py: no such file; give the path"),
        ("my_task.py", "my_task.py: no such file"),
        ("a_package_nobody_has.my_task", "a_package_nobody_has.my_task: no such module; install"),
        ("star_jax.tasks.no_such_task", "no such module"),
        ("star_jax.storage.files", "star_jax.storage.files: defines no class"),
    ],
)
def test_what_is_not_there_is_refused(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, module: str, message: str
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=re.escape(message)):
        custom.load(module)


def test_a_folder_or_another_kind_of_file_is_refused(tmp_path: pathlib.Path):
    with pytest.raises(ValueError, match="no such file"):
        custom.load(f"{tmp_path}/")
    with pytest.raises(ValueError, match=r"my_task\.txt: ImportError: the name of a Python file"):
        custom.load(write(tmp_path, "", "my_task.txt"))
