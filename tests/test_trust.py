"""Nothing in the packages runs what it reads: no pickles of any kind, no remote code, no eval. By syntax tree."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("peers", "policies", "ragbench", "servers")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
MODULES = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "jsonpickle", "marshal", "shelve"}
CALLS = {"eval", "exec", "compile", "__import__", "torch.load", "pd.read_pickle", "pandas.read_pickle", "yaml.load"}
TRUSTING = {"trust_remote_code", "allow_pickle"}
CAREFUL = {"weights_only"}
LOADS = {"np.load", "numpy.load"}


def faults(source: str) -> list[str]:
    """What the rule forbids, with its line."""
    found = []
    for node in ast.walk(ast.parse(source)):
        found += [f"{getattr(node, 'lineno', 0)}: {fault}" for fault in _imports(node) + _calls(node)]
    return found


def _imports(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        names = [node.module or ""]
    else:
        return []
    return [name for name in names if name.split(".")[0] in MODULES]


def _calls(node: ast.AST) -> list[str]:
    if not isinstance(node, ast.Call):
        return []
    name = ast.unparse(node.func)
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
    found = [name] if name in CALLS else []
    found += [f"{key}={given[key]}" for key in TRUSTING & given.keys() if given[key] != "False"]
    found += [f"{key}={given[key]}" for key in CAREFUL & given.keys() if given[key] != "True"]
    return found + ([name] if name in LOADS and "allow_pickle" not in given else [])


def test_no_file_of_the_packages_runs_what_it_reads() -> None:
    assert len(FILES) > 100
    found = {str(path.relative_to(ROOT)): faults(path.read_text()) for path in FILES}
    assert {path: fault for path, fault in found.items() if fault} == {}


def test_the_shipped_models_are_safetensors() -> None:
    weights = {path.suffix for path in (ROOT / "servers" / "rag" / "tiny").rglob("*") if path.stat().st_size > 500_000}
    assert weights == {".safetensors"}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import os, marshal",
        "from pickle import loads",
        "import cloudpickle.cloudpickle",
        "eval(x)",
        "exec('x')",
        "torch.load(path)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "f(allow_pickle=setting)",
        "AutoModel.from_pretrained(x, trust_remote_code=True)",
        "f(weights_only=False)",
    ],
)
def test_the_rule_sees_what_it_forbids(source: str) -> None:
    assert faults(source) != []


def test_the_rule_allows_what_is_well() -> None:
    assert (
        faults("model.eval()\nnp.load(p, allow_pickle=False)\nasyncio.create_subprocess_exec(x)\nre.compile(y)") == []
    )
