"""The import rules of the package, read from the sources."""

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PACKAGE = "vigorl_jax"
# A layer may import itself and what stands on lines above; two on one line do not import each other.
LAYERS = (
    ("array_typing", "buckets", "host_memory"),
    ("qwen25vl", "processing"),
    ("tasks",),
    ("datasets",),
    ("reasoning",),
    ("sampling",),
    ("rollout",),
    ("training",),
    ("search",),
    ("evaluation",),
    ("report",),
    ("runs",),
    ("testing",),
)
RANKS = {name: rank for rank, names in enumerate(LAYERS) for name in names}
JAX_FREE = ("tasks", "datasets")
LAZY = (
    "torch",
    "tensorflow_datasets",
    "array_record",
    "grain",
    "matplotlib",
    "playwright",
    "tensorflow",
    "transformers",
)


def _modules() -> list[pathlib.Path]:
    return sorted((ROOT / PACKAGE).rglob("*.py"))


def _imports(path: pathlib.Path, *, anywhere: bool) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = set()
    for node in ast.walk(tree) if anywhere else tree.body:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def _layer(module: str) -> str:
    return module.split(".")[1]


@pytest.mark.parametrize("path", _modules(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_module_imports_only_lower_layers(path):
    parts = path.relative_to(ROOT / PACKAGE).with_suffix("").parts
    if parts == ("__init__",):
        assert not _imports(path, anywhere=True)
        return
    assert parts[0] in RANKS, f"{parts[0]} has no place in LAYERS"
    for name in _imports(path, anywhere=True):
        assert not name.startswith("experiments"), f"{name}: nothing imports experiments"
        if name.startswith(PACKAGE + "."):
            other = _layer(name)
            allowed = other == parts[0] or RANKS[other] < RANKS[parts[0]]
            assert allowed, f"imports {name}, which is not below it"


@pytest.mark.parametrize("path", _modules(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_heavy_packages_are_imported_inside_functions(path):
    top_level = {name.split(".")[0] for name in _imports(path, anywhere=False)}
    assert not top_level & set(LAZY)


@pytest.mark.parametrize("layer", JAX_FREE)
def test_tasks_and_datasets_load_without_jax(layer):
    modules = [path for path in _modules() if path.relative_to(ROOT / PACKAGE).parts[0] == layer]
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in modules
    ]
    code = f"import sys, {', '.join(names)}; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_only_experiments_read_flags():
    for path in _modules():
        assert not any(
            name.startswith("absl.flags") or name == "absl.app" for name in _imports(path, anywhere=True)
        )
