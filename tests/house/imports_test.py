"""The shape of the house: who imports whom, what is called where, how long things are."""

import ast
import graphlib
import pathlib
from collections.abc import Iterator

import pytest

ROOT = pathlib.Path(__file__).parents[2]
FILES = sorted(
    path
    for folder in ("star_jax", "configs", "experiments")
    for path in (ROOT / folder).rglob("*.py")
)
PACKAGE = [path for path in FILES if path.is_relative_to(ROOT / "star_jax")]

# mesh <- model <- state <- {sampler, train} <- byte_grader <- star_step: each may import those
# before it.
LAYERS = {
    **{"mesh": 0, "model": 1, "state": 2, "sampler": 3, "train": 3},
    **{"byte_grader": 4, "star_step": 5},
}
# What knows strings and numpy, and never jax, not even by way of another module.
TEXT_SIDE = {
    *("allowed", "chats", "command_line", "files", "folder", "grading", "packing", "prompts"),
    *("rationales", "settings", "special_tokens", "tasks", "tokenizer", "versions"),
}
DEVICE_LIBRARIES = {"jax", "jaxlib", "flax", "optax", "orbax", "tensorstore"}
# Programs are compiled in the first alone; inside of them the second traces alike layers once.
JITS = {ROOT / "star_jax/star/programs.py", ROOT / "star_jax/models/stacking.py"}
MAX_LINES = {"star_jax/main.py": 60}


def parts(path: pathlib.Path) -> str:
    """'star_jax/models/kv_cache.py' -> 'model'; the package's own __init__ -> ''."""
    relative = path.relative_to(ROOT / "star_jax")
    return relative.parts[0].removesuffix(".py").removesuffix("__init__")


def imported(tree: ast.AST) -> Iterator[str]:
    """Dotted names of all that is imported; 'from a import b' gives 'a.b'."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            dots = "." * node.level
            yield from (f"{dots}{node.module or ''}.{alias.name}" for alias in node.names)


def own(tree: ast.AST) -> set[str]:
    """The parts of star_jax that are imported."""
    return {name.split(".")[1] for name in imported(tree) if name.startswith("star_jax.")}


def foreign(tree: ast.AST) -> set[str]:
    return {name.split(".")[0] for name in imported(tree)} - {"star_jax"}


def mentions(tree: ast.AST) -> Iterator[str]:
    """Every dotted name that is used, such as 'jax.jit', and every name imported."""
    yield from imported(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield ast.unparse(node)
        elif isinstance(node, ast.Name):
            yield node.id


def compiles(tree: ast.AST) -> set[str]:
    """Ways to compile a program: jax.jit, nnx.jit, pmap and their like."""
    names = {"jit", "pmap", "pjit"}
    return {name for name in mentions(tree) if "." in name and name.split(".")[-1] in names}


def shardings(tree: ast.AST) -> set[str]:
    names = {"PartitionSpec", "NamedSharding", "GSPMDSharding", "PositionalSharding"}
    short = {"jax.P", "jax.sharding.P"}
    return {name for name in mentions(tree) if name.split(".")[-1] in names or name in short}


def meshes(tree: ast.AST) -> set[str]:
    """Ways to make a mesh that leave the types of its axes to jax, whose default has changed."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    called = {ast.unparse(call.func) for call in calls if call.args or call.keywords}
    names = {"Mesh", "AbstractMesh", "make_mesh"}
    ours = {"mesh.make_mesh", "mesh_lib.make_mesh"}
    return {name for name in called if name.split(".")[-1] in names} - ours


def dangers(tree: ast.AST) -> set[str]:
    """What could run code that comes with data."""
    found = foreign(tree) & {"pickle", "cloudpickle", "dill", "marshal", "shelve"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name) and node.func.id in {"eval", "exec", "__import__"}:
                found.add(node.func.id)
            for keyword in node.keywords:
                safe = isinstance(keyword.value, ast.Constant) and keyword.value.value is False
                if keyword.arg in {"allow_pickle", "trust_remote_code"} and not safe:
                    found.add(keyword.arg)
    return found


def long_functions(tree: ast.AST, most: int = 60) -> set[str]:
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [node for node in ast.walk(tree) if isinstance(node, functions)]
    return {node.name for node in nodes if (node.end_lineno or 0) - node.lineno + 1 > most}


def read(path: pathlib.Path) -> ast.Module:
    return ast.parse(path.read_text(), filename=str(path))


def graph() -> dict[str, set[str]]:
    """What each part of star_jax imports of star_jax."""
    edges: dict[str, set[str]] = {}
    for path in PACKAGE:
        edges.setdefault(parts(path), set()).update(own(read(path)) - {parts(path), "__version__"})
    return edges


def name_of(path: pathlib.Path) -> str:
    return str(path.relative_to(ROOT))


def test_the_parts_do_not_import_each_other_in_circles():
    assert tuple(graphlib.TopologicalSorter(graph()).static_order())


def test_only_commands_import_rounds_and_nothing_imports_main():
    importers = {
        target: {part for part, own in graph().items() if target in own}
        for target in ("rounds", "main")
    }
    assert importers["rounds"] <= {"main", "evaluate"}
    assert not importers["main"]


def test_layers_import_downwards():
    for part, targets in graph().items():
        if part in LAYERS:
            upwards = {target for target in targets if LAYERS.get(target, -1) >= LAYERS[part]}
            assert not upwards, f"{part} imports {upwards}"


def test_the_text_side_never_meets_jax():
    libraries: dict[str, set[str]] = {}
    for path in PACKAGE:
        libraries.setdefault(parts(path), set()).update(foreign(read(path)) & DEVICE_LIBRARIES)
    edges = graph()
    for part in TEXT_SIDE & edges.keys():
        reached, waiting = set(), [part]
        while waiting:
            if (current := waiting.pop()) not in reached:
                reached.add(current)
                waiting += edges.get(current, ())
        met = {through: libraries[through] for through in reached if libraries.get(through)}
        assert not met, f"{part} reaches {met}"


@pytest.mark.parametrize("path", FILES, ids=name_of)
class TestFile:
    def test_compiles_only_in_programs(self, path: pathlib.Path):
        assert path in JITS or not compiles(read(path))

    def test_knows_shardings_only_in_mesh(self, path: pathlib.Path):
        assert path == ROOT / "star_jax/runtime/sharding.py" or not shardings(read(path))

    def test_makes_meshes_only_in_mesh(self, path: pathlib.Path):
        assert path == ROOT / "star_jax/runtime/sharding.py" or not meshes(read(path))

    def test_runs_no_foreign_code(self, path: pathlib.Path):
        assert not dangers(read(path))

    def test_is_short(self, path: pathlib.Path):
        assert len(path.read_text().splitlines()) <= MAX_LINES.get(name_of(path), 350)

    def test_has_short_functions(self, path: pathlib.Path):
        assert not long_functions(read(path))

    def test_imports_by_full_name(self, path: pathlib.Path):
        assert not {name for name in imported(read(path)) if name.startswith(".")}


@pytest.mark.parametrize(
    "path", [path for path in PACKAGE if path.name != "__init__.py"], ids=name_of
)
def test_every_module_has_a_test_file(path: pathlib.Path):
    names = {f"{path.stem}_test.py", f"{path.parent.name}_{path.stem}_test.py"}
    assert names & {test.name for test in (ROOT / "tests").rglob("*_test.py")}


@pytest.mark.parametrize("path", sorted((ROOT / "tests").glob("*.py")), ids=name_of)
def test_tests_make_the_meshes_of_runs(path: pathlib.Path):
    assert not meshes(read(path))


# The checks themselves: what they must find in a line of code.
@pytest.mark.parametrize(
    ("check", "code", "found"),
    [
        (compiles, "f = jax.jit(g)", {"jax.jit"}),
        (compiles, "@functools.partial(nnx.jit, donate_argnames='s')\ndef f(): ...", {"nnx.jit"}),
        (compiles, "from jax import jit", {"jax.jit"}),
        (compiles, "lowered.compile()", set()),
        (shardings, "from jax.sharding import PartitionSpec as P", {"jax.sharding.PartitionSpec"}),
        (shardings, "jax.P('data')", {"jax.P"}),
        (shardings, "B, P = tokens_BxP.shape", set()),
        (meshes, "Mesh(devices, mesh.AXES)", {"Mesh"}),
        (meshes, "jax.make_mesh((8,), ('data',))", {"jax.make_mesh"}),
        (meshes, "mesh.make_mesh(2, 2, 2)", set()),
        (meshes, "def f(grid: Mesh): ...", set()),
        (dangers, "import pickle", {"pickle"}),
        (dangers, "eval('1')", {"eval"}),
        (dangers, "model.eval()", set()),
        (dangers, "np.load(f, allow_pickle=True)", {"allow_pickle"}),
        (dangers, "AutoTokenizer.from_pretrained(f, trust_remote_code=False)", set()),
        (long_functions, "def f():\n" + "    1\n" * 60, {"f"}),
        (long_functions, "def f():\n" + "    1\n" * 59, set()),
        (own, "from star_jax import mesh\nimport star_jax.models.kv_cache", {"mesh", "model"}),
        (foreign, "def f():\n    import jax.numpy as jnp", {"jax"}),
    ],
)
def test_checks(check, code: str, found: set[str]):
    assert check(ast.parse(code)) == found
