"""What stands beside the package, and is run by hand, still finds what it takes from it."""

import ast
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    "path",
    [path for folder in ("benchmarks", "scripts") for path in sorted((ROOT / folder).glob("*.py"))],
    ids=lambda path: path.name,
)
def test_names_that_scripts_and_benchmarks_import_are_there(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "kirik":
            module = importlib.import_module(node.module)
            for name in (one.name for one in node.names):
                if not hasattr(module, name):
                    importlib.import_module(f"{node.module}.{name}")
