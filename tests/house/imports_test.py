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

# The law: a folder of star_jax imports those before it, and none of those beside it in its row.
LAW = (
    ("config",),
    ("runtime",),
    ("storage",),
    ("tasks",),
    ("data",),
    ("grading",),
    ("models",),
    ("conversion", "inference", "training"),
    ("reporting",),
    ("star",),
)
RANKS = {folder: rank for rank, row in enumerate(LAW) for folder in row}
COMMANDS = {
    "main",
    "evaluate",
    "export",
    "inspect_model",
    "star_step",
    "verifier",
}  # above all folders
# What knows strings and numpy, and never jax, not even by way of another module.
TEXT_SIDE = {"config", "data", "tasks"}
TEXT_MODULES = {
    *("grading.auc", "grading.evaluation", "grading.grade", "grading.leak_scores"),
    *("grading.ledger", "grading.statistics", "grading.summary"),
    *("reporting.console", "reporting.metrics", "reporting.plot"),
    *("reporting.result", "storage.files", "storage.gguf_header", "storage.hub"),
    *("storage.run_dir", "storage.versions"),
}
DEVICE_LIBRARIES = {"jax", "jaxlib", "flax", "optax", "orbax", "tensorstore"}
# Programs are compiled in the first alone; inside of them the second traces alike layers once.
JITS = {ROOT / "star_jax/runtime/compile.py", ROOT / "star_jax/models/stacking.py"}
MAX_LINES = {f"star_jax/{name}.py": 60 for name in COMMANDS} | {
    "star_jax/evaluate.py": 100,
    "star_jax/verifier.py": 100,
}


def module_of(path: pathlib.Path) -> str:
    """'star_jax/models/kv_cache.py' -> 'models.kv_cache'; a folder's __init__ -> the folder."""
    parts = path.relative_to(ROOT / "star_jax").with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def folder_of(module: str) -> str:
    return module.partition(".")[0]


def imported(tree: ast.AST) -> Iterator[str]:
    """Dotted names of all that is imported; 'from a import b' gives 'a.b'."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            dots = "." * node.level
            yield from (f"{dots}{node.module or ''}.{alias.name}" for alias in node.names)


def own(tree: ast.AST) -> set[str]:
    """The names of star_jax that are imported, without 'star_jax.'."""
    prefix = "star_jax."
    return {name.removeprefix(prefix) for name in imported(tree) if name.startswith(prefix)}


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
    ours = {"sharding.make_mesh", "sharding_lib.make_mesh"}
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


MODULES = {module_of(path): path for path in PACKAGE}


def graph() -> dict[str, set[str]]:
    """The modules of star_jax that each of them imports, folders' __init__ files among them."""
    edges: dict[str, set[str]] = {module: set() for module in MODULES}
    for module, path in MODULES.items():
        for name in own(read(path)):
            parts = name.split(".")
            prefixes = {".".join(parts[:end]) for end in range(1, len(parts) + 1)}
            edges[module] |= prefixes & MODULES.keys()
        edges[module] -= {module}
    return edges


def name_of(path: pathlib.Path) -> str:
    return str(path.relative_to(ROOT))


def test_folders_import_what_the_law_lets_them():
    for module, targets in graph().items():
        folder = folder_of(module)
        if folder in COMMANDS or not folder:
            continue
        others = {folder_of(target) for target in targets} - {folder}
        against = {other for other in others if RANKS.get(other, 99) >= RANKS[folder]}
        assert not against, f"{module} imports {against}"


def test_every_folder_and_command_has_a_place_in_the_law():
    assert {folder_of(module) for module in MODULES if module} == RANKS.keys() | COMMANDS
    assert len([path for path in (ROOT / "star_jax").glob("*.py")]) <= 8


def test_modules_do_not_import_each_other_in_circles():
    edges = {
        module: {target for target in targets if not module.startswith(f"{target}.")}
        for module, targets in graph().items()
    }
    assert tuple(graphlib.TopologicalSorter(edges).static_order())


def test_nothing_imports_a_command():
    for module, targets in graph().items():
        assert not {folder_of(target) for target in targets} & COMMANDS, module


def test_the_text_side_never_meets_jax():
    edges = graph()
    libraries = {module: foreign(read(path)) & DEVICE_LIBRARIES for module, path in MODULES.items()}
    text_side = {module for module in MODULES if folder_of(module) in TEXT_SIDE} | TEXT_MODULES
    for module in text_side:
        reached, waiting = set(), [module]
        while waiting:
            if (current := waiting.pop()) not in reached:
                reached.add(current)
                waiting += edges[current]
        met = {through: libraries[through] for through in reached if libraries[through]}
        assert not met, f"{module} reaches {met}"


@pytest.mark.parametrize("path", FILES, ids=name_of)
class TestFile:
    def test_compiles_only_in_compile(self, path: pathlib.Path):
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
    mirrored = path.relative_to(ROOT / "star_jax").with_name(f"{path.stem}_test.py")
    assert (ROOT / "tests" / mirrored).exists()


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("*.py")), ids=name_of)
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
        (meshes, "sharding.make_mesh(2, 2, 2)", set()),
        (meshes, "def f(grid: Mesh): ...", set()),
        (dangers, "import pickle", {"pickle"}),
        (dangers, "eval('1')", {"eval"}),
        (dangers, "model.eval()", set()),
        (dangers, "np.load(f, allow_pickle=True)", {"allow_pickle"}),
        (dangers, "AutoTokenizer.from_pretrained(f, trust_remote_code=False)", set()),
        (long_functions, "def f():\n" + "    1\n" * 60, {"f"}),
        (long_functions, "def f():\n" + "    1\n" * 59, set()),
        (own, "from star_jax.data import packing\nimport jax", {"data.packing"}),
        (foreign, "def f():\n    import jax.numpy as jnp", {"jax"}),
    ],
)
def test_checks(check, code: str, found: set[str]):
    assert check(ast.parse(code)) == found
