"""The shape of the package: imports run one way, pure rooms stay pure, rooms stay small (DESIGN.md section 5)."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "proxy"

ORDER = [
    ["errors", "exchange"],
    ["config"],
    ["wire"],
    ["policy"],
    ["observe"],
    ["upstream"],
    ["attempt"],
    ["serve"],
    ["admin"],
    ["kube"],
    ["dev"],
    ["app"],
    ["commands"],
    ["cli"],
    ["__main__"],
]
"""Rooms from the bottom to the top; a room imports only from its own level and below."""

LEVEL = {name: level for level, names in enumerate(ORDER) for name in names}

LATE = {("commands", "app"), ("app", "dev")}
"""Imports inside a function that are meant: start-up time is saved by not paying for what is not used."""

PURE = [
    "errors.py",
    "exchange.py",
    "config/diff.py",
    "config/schema.py",
    "config/parse.py",
    "config/presets.py",
    "wire",
    "policy",
    "attempt/bodies.py",
    "attempt/circuit.py",
    "attempt/classify.py",
    "attempt/inside.py",
    "attempt/outcomes.py",
    "attempt/waits.py",
    "attempt/window.py",
    "serve/reply.py",
    "kube/annotations.py",
    "kube/environment.py",
    "kube/manifests.py",
    "kube/names.py",
    "kube/patch.py",
    "kube/pods.py",
    "kube/pointer.py",
    "kube/quantity.py",
    "kube/review.py",
    "kube/selectors.py",
    "kube/settings.py",
    "kube/sidecar.py",
    "kube/webhooks.py",
    "kube/why.py",
    "kube/workloads.py",
]
"""Values in, values out: no I/O, clock, randomness or logging of their own."""

IMPURE = {
    "asyncio",
    "os",
    "socket",
    "time",
    "random",
    "logging",
    "structlog",
    "aiohttp",
    "uvloop",
    "threading",
    "subprocess",
}

FILES = sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    """The room a file belongs to: its folder in the package, or its own name at the top."""
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else path.stem


def imports(path: Path) -> list[tuple[int, str]]:
    """Line and dotted name of every import in a file, those inside functions too."""
    found: list[tuple[int, str]] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.extend((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative imports hide the direction"
            module = node.module or ""
            found.extend((node.lineno, f"{module}.{alias.name}") for alias in node.names)
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_one_way(path: Path) -> None:
    """A room imports only rooms that stand above it in DESIGN.md section 5."""
    own = room_of(path)
    if own == "__init__":
        return
    for line, name in imports(path):
        parts = name.split(".")
        if parts[0] != "proxy" or parts[1] == "__version__":
            continue
        room = parts[1]
        assert LEVEL[room] <= LEVEL[own], f"{path}:{line}: {own} imports {room}, which stands later"
        if room != own:
            assert own not in LEVEL or LEVEL[room] < LEVEL[own] or {room, own} == {"errors", "exchange"}, (
                f"{path}:{line}"
            )


def test_rooms_without_cycles() -> None:
    """Two files that need each other want a third one below both."""
    graph: dict[str, set[str]] = {}
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in FILES}
    for name, path in names.items():
        graph[name] = set()
        for _, imported in imports(path):
            for candidate in (imported, imported.rpartition(".")[0]):
                if candidate in names and candidate != name:
                    graph[name].add(candidate)
    done: set[str] = set()

    def visit(name: str, way: list[str]) -> None:
        assert name not in way, f"a cycle of imports: {' → '.join([*way[way.index(name) :], name])}"
        if name in done:
            return
        for following in graph[name]:
            visit(following, [*way, name])
        done.add(name)

    for name in graph:
        visit(name, [])


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_opens_with_what_it_is(path: Path) -> None:
    """Every file begins with a sentence; an `__init__` holds nothing else (the top one also the version)."""
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), f"{path} has no docstring"
    if path.name == "__init__.py":
        rest = tree.body[1:]
        assert len(rest) <= (1 if path.parent == PACKAGE else 0)


def pure_files() -> list[Path]:
    """The files that DESIGN.md marks P."""
    return sorted(
        file
        for entry in PURE
        for file in ([PACKAGE / entry] if entry.endswith(".py") else (PACKAGE / entry).glob("*.py"))
    )


@pytest.mark.parametrize("path", pure_files(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_pure_rooms_do_no_io(path: Path) -> None:
    """A pure room imports nothing that could do I/O, tell the time, draw lots or log."""
    for line, name in imports(path):
        assert name.split(".")[0] not in IMPURE, f"{path}:{line}: {name} in a pure room"


def test_pybreaker_is_imported_in_one_room_at_most() -> None:
    """Foreign exceptions are translated in the one file that calls the library."""
    assert len([path for path in FILES if any(name.startswith("pybreaker") for _, name in imports(path))]) <= 1


def test_rooms_stay_small() -> None:
    """A room above 400 lines holds two ideas."""
    sizes = {str(path.relative_to(PACKAGE)): len(path.read_text().splitlines()) for path in FILES}
    assert {name: size for name, size in sizes.items() if size > 430} == {}


def test_functions_stay_small() -> None:
    """A function above 60 lines holds two ideas."""
    long = {}
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (node.end_lineno or 0) - node.lineno > 60:
                long[f"{path.name}:{node.name}"] = (node.end_lineno or 0) - node.lineno
    assert long == {}
