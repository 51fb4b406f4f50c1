"""Several files as one configuration: what is included, what a candidate policy takes over, and where problems stand."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from proxy.config.parse import INCLUDES_MAX, parse
from proxy.config.problems import ConfigError
from proxy.config.store import digest_of, load, load_document, load_shadow
from proxy.exchange import Target

MAIN = "providers: {near: {base_url: 'http://h/v1', keys: none}}\n"
ALL = "routes: [{name: all, match: {}, to: [near]}]\n"


def team(name: str, model: str, to: str = "near") -> str:
    """A file with one route."""
    return f"routes:\n- {{name: {name}, match: {{model: {model}}}, to: [{to}]}}\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, which is the current one, so that paths in problems are short."""
    monkeypatch.chdir(tmp_path)
    return Path()


def write(folder: Path, **files: str) -> None:
    """NAME="text" becomes NAME.yaml."""
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)


def problems(path: Path) -> list[str]:
    """The lines of the report."""
    with pytest.raises(ConfigError) as caught:
        load(path)
    return str(caught.value).split("\n")


def test_routes_come_in_the_order_of_include(folder: Path) -> None:
    """Those of the main file first, then file by file; providers and models of all files are there for all."""
    far = "providers: {far: {base_url: 'http://f/v1', keys: none}}\nmodels: {near/x: {context: 9}}\n"
    write(folder, main=f"include: [b.yaml, a.yaml]\n{MAIN}{team('one', 'x', 'far')}", a=team("two", "y"))
    write(folder, b=far + team("three", "z", "near/x"))
    config = load(folder / "main.yaml")
    assert [route.name for route in config.routes] == ["one", "three", "two"]
    assert list(config.providers) == ["near", "far"] and config.providers["far"].auth == "bearer"
    assert config.models["near/x"].context == 9


def test_the_main_file_may_leave_all_to_the_others(folder: Path) -> None:
    """Neither providers nor routes are missing when an included file has them; when none has, they are."""
    write(folder, main="include: all.yaml\n", all=MAIN + ALL)
    assert load(folder / "main.yaml").routes[0].to[0].choices == ((Target("near"), 1.0),)
    write(folder, all="models: {}\n")
    assert [line.split(": ")[1:3] for line in problems(folder / "main.yaml")] == [
        ["providers", 'no provider is declared. Write for example "providers'],
        ["routes", 'no route is written. Write for example "routes'],
    ]


def test_paths_are_as_seen_from_the_including_file(folder: Path) -> None:
    """Also from another folder, and up."""
    (folder / "etc" / "teams").mkdir(parents=True)
    write(folder / "etc", main=f"include: [teams/a.yaml, ../b.yaml]\n{MAIN}routes: []\n")
    write(folder / "etc" / "teams", a=team("one", "x"))
    write(folder, b=team("two", "y"))
    document = load_document(folder / "etc" / "main.yaml")
    assert [str(file) for file in document.files] == ["etc/main.yaml", "etc/teams/a.yaml", "etc/../b.yaml"]


def test_problems_name_their_file_and_count_from_its_beginning(folder: Path) -> None:
    """Main file first, then the others in order; routes are numbered as in the file in which they stand."""
    write(folder, main=f"include: [a.yaml, b.yaml]\ndrain: 5\n{MAIN}{team('one', 'x')}")
    write(folder, a=team("two", "x", "nobody"), b=team("one", "z") + "listen: 1\n")
    lines = problems(folder / "main.yaml")
    assert [line.split(" ")[:2] for line in lines] == [
        ["main.yaml:2:8:", "drain:"],
        ["a.yaml:2:15:", "routes[0].match:"],
        ["a.yaml:2:39:", "routes[0].to[0]:"],
        ["b.yaml:2:10:", "routes[0].name:"],
        ["b.yaml:3:1:", "listen:"],
    ]
    assert "the route in line 5 of main.yaml is called 'one' too" in lines[3]
    assert "route 'one' in line 5 of main.yaml takes every request" in lines[1]


@pytest.mark.parametrize(
    ("kind", "again"),
    [("provider", "providers: {near: {keys: none}}\n"), ("model", "models: {near/m: {context: 2}}\n")],
)
def test_a_name_declared_in_two_files_is_refused(kind: str, again: str, folder: Path) -> None:
    """Both places are named."""
    write(folder, main=f"include: a.yaml\n{MAIN}models: {{near/m: {{context: 1}}}}\n{ALL}", a=again)
    (line,) = problems(folder / "main.yaml")
    number = 2 if kind == "provider" else 3
    assert line.startswith("a.yaml:1:") and f"is declared in line {number} of main.yaml already" in line


def test_what_cannot_be_included(folder: Path) -> None:
    """Each with its reason, at its entry in the main file."""
    (folder / "folder").mkdir()
    (folder / "latin.yaml").write_bytes(b"routes: \xe9")
    os.mkfifo(folder / "pipe")
    names = "[absent.yaml, folder, latin.yaml, pipe]"
    write(folder, main=f"include: {names}\n{MAIN}{ALL}")
    lines = problems(folder / "main.yaml")
    assert [line.split(": ")[1] for line in lines] == [f"include[{index}]" for index in range(4)]
    told = (
        "cannot be read: No such file",
        "folder is not a file",
        "latin.yaml, line 1: the file is not UTF-8",
        "pipe is not",
    )
    assert all(reason in line for line, reason in zip(lines, told, strict=True)), lines


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "a.yaml:1:1: the file is empty"),
        ("- x\n", "a.yaml:1:1: a mapping is wanted here, not a list"),
        ("routes: [\n", "a.yaml:2:1: a value is missing"),
        ("include: b.yaml\n", "a.yaml:1:1: include: unknown key. An included file includes no other"),
        ("log: {}\n", "a.yaml:1:1: log: unknown key. An included file holds providers, models and routes"),
    ],
)
def test_what_an_included_file_cannot_hold(text: str, told: str, folder: Path) -> None:
    """One level, three keys, and not nothing."""
    write(folder, main=f"include: a.yaml\n{MAIN}{ALL}", a=text)
    assert problems(folder / "main.yaml")[0].startswith(told)


def test_the_number_of_files_is_bounded(folder: Path) -> None:
    """Sixteen are fine, one more is not, and one twice is not."""
    names = [f"f{number}" for number in range(INCLUDES_MAX + 1)]
    write(folder, **{name: team(name, name) for name in names})
    listed = [f"{name}.yaml" for name in names]
    write(folder, main=f"include: [{', '.join(listed[:-1])}]\n{MAIN}")
    assert len(load(folder / "main.yaml").routes) == INCLUDES_MAX
    write(folder, main=f"include: [{', '.join(listed)}]\n{MAIN}")
    assert "17 files, where at most 16" in problems(folder / "main.yaml")[0]
    write(folder, main=f"include: [f0.yaml, f0.yaml]\n{MAIN}")
    assert "'f0.yaml' is included twice" in problems(folder / "main.yaml")[0]


def test_a_text_that_comes_from_no_file_includes_none() -> None:
    """As in tests, and wherever a text alone is parsed."""
    with pytest.raises(ConfigError, match="files cannot be included here"):
        parse(f"include: a.yaml\n{MAIN}{ALL}")


def test_anchors_work_across_routes() -> None:
    """A value is written once and used in several; a merge takes over what a route does not write itself."""
    config = parse(
        MAIN + "routes:\n"
        "- &base {name: one, match: {header: &head {a: b}, stream: true}, to: &chain [near/a, near], timeouts: {total: 9s}}\n"
        "- {<<: *base, name: two, match: &big {model: [x, y]}}\n"
        "- {name: three, match: {<<: *big, model: z, header: *head}, to: *chain}\n"
    )
    one, two, three = config.routes
    assert one.to == two.to == three.to and two.timeouts == one.timeouts and two.match.header == {}
    assert three.match.model == ("z",) and three.match.header == one.match.header == {"a": ("b",)}


# Files and digest.


def test_the_digest_is_that_of_the_content(folder: Path) -> None:
    """Of one file it is the file's SHA-256; any change of any file changes it, and `digest_of` finds the same."""
    write(folder, main=MAIN + ALL)
    path = folder / "main.yaml"
    assert load_document(path).digest == hashlib.sha256(path.read_bytes()).hexdigest()
    write(folder, main=f"include: a.yaml\n{MAIN}routes: []\n", a=ALL)
    first = load_document(path)
    assert first.files == (path, folder / "a.yaml") and digest_of(first.files) == first.digest
    write(folder, a=ALL + "\n")
    assert digest_of(first.files) == load_document(path).digest != first.digest


def test_an_error_tells_the_files_too(folder: Path) -> None:
    """So that a watcher sees when an included file, or one that was absent, has been mended."""
    write(folder, main=f"include: a.yaml\n{MAIN}{team('one', 'x')}")
    path = folder / "main.yaml"
    with pytest.raises(ConfigError) as caught:
        load_document(path)
    error = caught.value
    assert error.files == (path, folder / "a.yaml") and digest_of(error.files) == error.digest
    write(folder, a=team("two", "y"))
    assert digest_of(error.files) != error.digest
    assert load_document(path).files == error.files


# The candidate.


def test_a_candidate_takes_over_what_it_leaves_out(folder: Path) -> None:
    """Providers, models and complexity; its files are among the document's."""
    settings = "models: {near/x: {context: 7}}\ncomplexity: {simple_below: 0.1}\n"
    write(folder, main=f"shadow: new.yaml\n{settings}{MAIN}routes: [{{name: all, match: {{}}, to: [near/x]}}]\n")
    write(folder, new=f"include: more.yaml\n{team('one', 'x')}", more=ALL)
    document = load_document(folder / "main.yaml")
    candidate = load_shadow(document)
    assert candidate is not None and [route.name for route in candidate.routes] == ["one", "all"]
    for name in ("providers", "models", "complexity"):
        assert getattr(candidate, name) == getattr(document.config, name)
    assert document.files == (folder / "main.yaml", folder / "new.yaml", folder / "more.yaml")
    write(folder, new=f"{MAIN.replace('near', 'far')}models: {{}}\nroutes: [{{name: r, match: {{}}, to: [far]}}]\n")
    candidate = load_shadow(load_document(folder / "main.yaml"))
    assert candidate is not None and list(candidate.providers) == ["far"] and candidate.models == {}


def test_no_candidate(folder: Path) -> None:
    """A file that names none has none."""
    write(folder, main=MAIN + ALL)
    assert load_shadow(load_document(folder / "main.yaml")) is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "main.yaml:1:9: shadow: the file new.yaml cannot be read"),
        ("routes: 5\n", "new.yaml:1:9: routes: a list is wanted"),
        (f"shadow: other.yaml\n{ALL}", "new.yaml:1:9: shadow: a candidate policy names a candidate of its own"),
        ("include: more.yaml\n", "new.yaml:1:10: include: the file more.yaml cannot be read"),
    ],
)
def test_a_bad_candidate_leaves_the_policy_alone(text: str | None, told: str, folder: Path) -> None:
    """The document is there; only the candidate is refused, with its own file's name."""
    write(folder, main=f"shadow: new.yaml\n{MAIN}{ALL}")
    if text is not None:
        write(folder, new=text)
    document = load_document(folder / "main.yaml")
    assert document.config.routes[0].name == "all" and folder / "new.yaml" in document.files
    with pytest.raises(ConfigError) as caught:
        load_shadow(document)
    assert str(caught.value).startswith(told)
    assert digest_of(document.files) == document.digest
