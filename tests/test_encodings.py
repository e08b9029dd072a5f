"""Text is UTF-8 wherever it is read or written, whatever the locale. PLW1514 sees only what it knows as a Path."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("peers", "policies", "ragbench", "scripts", "servers")


def without_encoding(source: str) -> list[str]:
    """The calls in a program that read or write text in the locale's encoding."""
    return [ast.unparse(node) for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call) and _depends(node)]


def _depends(call: ast.Call) -> bool:
    named = {keyword.arg: keyword.value for keyword in call.keywords}
    if "encoding" in named:
        return False
    if isinstance(call.func, ast.Attribute):
        name, mode_at = call.func.attr, 0
    else:
        name, mode_at = getattr(call.func, "id", ""), 1
    if name in ("read_text", "write_text"):
        return isinstance(call.func, ast.Attribute)
    if name == "open":
        mode = named.get("mode", call.args[mode_at] if len(call.args) > mode_at else None)
        if mode is None:
            return isinstance(call.func, ast.Name)
        return isinstance(mode, ast.Constant) and isinstance(mode.value, str) and "b" not in mode.value
    return any(
        isinstance(named.get(word), ast.Constant) and named[word].value is True
        for word in ("text", "universal_newlines")
    )


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_program_reads_or_writes_in_the_encoding_of_the_locale(folder):
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    found = {str(path.relative_to(ROOT)): without_encoding(path.read_text(encoding="utf-8")) for path in files}
    assert {path: calls for path, calls in found.items() if calls} == {}


def test_what_depends_on_the_locale_is_seen():
    seen = ["p.read_text()", "p.write_text(x)", "open(p)", "open(p, 'w')", "p.open('a')", "run(x, text=True)"]
    assert without_encoding("\n".join(seen)) == seen
    fine = ["p.read_text(encoding='utf-8')", "read_text(p)", "open(p, 'rb')", "p.open('ab')", "self.door.open(x)"]
    assert without_encoding("\n".join(fine)) == []
