"""The table of paths: nothing spells one besides it, and nothing is served that is not in it."""

import ast
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.routing import Route

import servers
from servers import baseline, batched, scaled
from servers.http import app as http_app
from servers.http.endpoints import ENDPOINTS, RAG, TASKS
from servers.http.state import State

FOLDER = Path(servers.__file__).parent
FILES = [path for folder in (FOLDER, FOLDER.with_name("peers")) for path in sorted(folder.rglob("*.py"))]


def spelt(path: Path) -> list[str]:
    """Strings of a module, its docstrings aside, that end like a path of the table."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    words = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    docstrings = {node.value.value for node in ast.walk(tree) if isinstance(node, ast.Expr) and _is_text(node.value)}  # type: ignore[attr-defined]
    return sorted(word for word in words - docstrings if word.endswith(tuple(ENDPOINTS)) and " " not in word)


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def test_no_path_is_spelt_twice() -> None:
    found = {str(path.relative_to(FOLDER.parent)): spelt(path) for path in FILES if spelt(path)}
    assert found == {"servers/http/endpoints.py": sorted(ENDPOINTS)}


@pytest.mark.parametrize("design", [baseline, batched, scaled], ids=lambda design: design.__name__)
def test_what_a_design_serves_is_in_the_table(design: object, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[FastAPI] = []
    monkeypatch.setattr(http_app, "FastAPI", lambda **given: made.append(FastAPI(**given)) or made[-1])
    settings = design.SETTINGS(profile="stub")  # type: ignore[attr-defined]
    http_app.create_app("it", settings, design.create(settings), State())  # type: ignore[attr-defined]
    served = {
        (route.path, method)
        for route in made[0].routes
        if isinstance(route, Route) and not route.path.startswith(("/docs", "/openapi"))
        for method in (route.methods or set()) - {"HEAD"}
    }
    assert served <= {(one.path, one.method) for one in ENDPOINTS.values()}
    assert (RAG.path, RAG.method) in served
    assert set(made[0].openapi()["paths"]) == {path for path, _ in served}


def test_a_task_has_its_bodies() -> None:
    assert TASKS == (RAG,)
    assert all(one.question is not None and one.answer is not None for one in TASKS)
