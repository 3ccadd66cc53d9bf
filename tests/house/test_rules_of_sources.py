# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The rules of the house, read from the sources: what imports what, what is public, what a wheel holds."""

from __future__ import annotations

import ast
import configparser
import graphlib
import importlib
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import ROOT

import parman

PACKAGE = ROOT / "parman"
SOURCES = sorted(PACKAGE.rglob("*.py"))
MODULES = {path: ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in SOURCES}
COMMANDS = ("constrain", "environment", "lowest.py", "pythons", "run", "slurm")
SCRIPTS = [ROOT / "Makefile", *(ROOT / ".ci" / name for name in COMMANDS)]

# The rooms from the bottom to the top: each may import those above it in this list, and modules of its own.
ROOMS = (
    "errors",
    "lifecycle descriptors",
    "context",
    "trees",
    "snapshots",
    "annotations",
    "futures tasks assets",
    "closures resolving",
    "pool",
    "engine",
    "remote",
    "runners",
    "jobs",
    "workflows executors",
    "slurm",
    "__init__",
)


def name_of(path: Path) -> str:
    """Shorten a path for the name of a test."""
    return str(path.relative_to(ROOT))


def target(module: str, path: Path, node: ast.ImportFrom) -> str:
    """Return the absolute name of the module that a `from ... import` names."""
    if not node.level:
        return node.module or ""
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    base = package[: len(package) - node.level + 1]
    return ".".join([*base, *([node.module] if node.module else [])])


def imports(path: Path, nodes: Iterator[ast.AST] | None = None) -> set[str]:
    """Return the absolute names that a file imports: late in functions, and for type checkers, as well."""
    found: set[str] = set()
    for node in nodes or ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = target(MODULES.get(path, ""), path, node)
            found.update({base} | {f"{base}.{alias.name}" for alias in node.names})
    return found


def rank(module: str) -> int | None:
    """Return the rank of a module of the package; None for one that the list above does not name."""
    first = module.removeprefix("parman").lstrip(".").split(".")[0] or "__init__"
    return next((number for number, names in enumerate(ROOMS) if first in names.split()), None)


def test_imports_have_no_cycles() -> None:
    """No module of the package imports itself by way of others, at any time, nor for its types."""
    graph = {module: imports(path) & set(MODULES.values()) - {module} for path, module in MODULES.items()}
    # A package is imported with any of its modules, which is no cycle as long as it imports nothing of them first.
    graph = {module: {name for name in names if not module.startswith(name + ".")} for module, names in graph.items()}
    tuple(graphlib.TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_imports_go_one_way(path: Path) -> None:
    """Every module has a rank, and imports nothing of a later one, at any time."""
    module = MODULES[path]
    own = rank(module)
    assert module == "parman" or own is not None, f"{module} has no rank"
    for name in imports(path) & set(MODULES.values()) - {"parman"}:
        other = rank(name)
        assert own is None or other is None or other <= own, f"{module} imports {name}"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_only_its_runner_imports_parsl(path: Path) -> None:
    """Parsl is imported in one place."""
    engines = {name.split(".")[0] for name in imports(path)}
    assert "parsl" not in engines or name_of(path) == "parman/runners/parsl.py"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_the_library_does_not_print(path: Path) -> None:
    """What the library has to say goes through the logging module."""
    tree = ast.parse(path.read_text())
    printed = [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == "print"]
    assert not printed


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_exported_names_are_there(path: Path) -> None:
    """Each module says what it exports, without repetition, and has it."""
    module = importlib.import_module(MODULES[path])
    exported = getattr(module, "__all__", None)
    if path.name == "__init__.py" and exported is None:
        return
    assert exported is not None, f"{MODULES[path]} has no __all__"
    assert len(exported) == len(set(exported))
    assert [name for name in exported if not hasattr(module, name)] == []


def test_public_names_are_importable_from_the_top() -> None:
    """What `parman` exports is documented, and `dir()` shows it."""
    assert set(parman.__all__) <= set(dir(parman))
    public = {name: getattr(parman, name) for name in parman.__all__}
    assert [name for name, thing in public.items() if callable(thing) and not thing.__doc__] == []


PUBLIC = (
    "task workflow resolve as_resolved as_future cancel share Length Keys Whole Closure WaitGraph WaitFuture Scheduler "
    "ScheduledFuture SerialRunner DryRunner ConcurrentRunner ParmanError ArgumentError HiddenFutureError "
    "FutureTypeError FutureUseError StructureError TaskError WorkflowError WorkerDied RemoteError Interrupted "
    "WorkflowFailed DryRunErrors MissingExtra"
)


@pytest.mark.parametrize("name", PUBLIC.split())
def test_promised_names_are_public(name: str) -> None:
    """The names that the design promises come from `parman` itself."""
    assert name in parman.__all__


def test_importing_costs_no_optional_dependency() -> None:
    """`import parman` loads neither engines nor numpy, nor the type checker that is needed later."""
    heavy = "numpy parsl loky typeguard ase scipy matplotlib IPython"
    script = f"import sys, parman; print([name for name in {heavy.split()!r} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def tracked() -> list[Path]:
    """Return the project's own Python files."""
    folders = ("parman", "tests", "demos", "benchmarks")
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("path", [*tracked(), *SCRIPTS], ids=name_of)
def test_files_say_their_licence(path: Path) -> None:
    """Each file begins with the two SPDX lines (after the interpreter line of a script)."""
    lines = [line for line in path.read_text().splitlines()[:3] if not line.startswith("#!")]
    assert lines[0].startswith("# SPDX-FileCopyrightText: ")
    assert lines[1] == "# SPDX-License-Identifier: LGPL-3.0-or-later"


def configured() -> configparser.ConfigParser:
    """Read setup.cfg."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def packages() -> set[str]:
    """Return the directories below `parman/` that hold modules, as package names."""
    return {".".join(path.parent.relative_to(ROOT).parts) for path in SOURCES}


def test_every_package_is_named() -> None:
    """setup.cfg names each package of the tree, and none that is not there."""
    assert set(configured()["options"]["packages"].split()) == packages()


def requirements(text: str) -> dict[str, str]:
    """Return the names in lines of requirements, as names are compared, and what the lines say of versions."""
    found = (re.match(r"([\w.-]+)(?:\[.*\])? *([^;]*)", line) for line in text.split("\n") if line and line[0] != "#")
    return {re.sub(r"[-_.]+", "-", one[1]).lower(): one[2].strip() for one in found if one}


@pytest.mark.parametrize("minor", ["3.11", "3.12", "3.13"])
def test_tested_versions_are_complete(minor: str) -> None:
    """For each Python there is one tested version of all that setup.cfg asks for, but for the benchmarks' peers."""
    config = configured()
    extras = {extra: text for extra, text in config["options.extras_require"].items() if extra != "bench"}
    wanted = requirements("\n".join([config["options"]["install_requires"], *extras.values()]))
    tested = requirements((ROOT / ".ci" / "constraints" / f"{minor}.txt").read_text())
    assert set(wanted) <= set(tested)
    assert [name for name, version in tested.items() if not re.fullmatch(r"==[\w.+!]+", version)] == []


def test_lowest_versions_are_those_of_setup_cfg(tmp_path: Path) -> None:
    """The environment of the lowest versions takes what setup.cfg says."""
    setup = tmp_path / "setup.cfg"
    text = "[options]\ninstall_requires =\n    attrs >= 23.1\n[options.extras_require]\nx =\n    a_B[c] >= 2, < 3\n"
    setup.write_text(text)
    command = [sys.executable, str(ROOT / ".ci" / "lowest.py"), str(setup), "x"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["attrs==23.1", "a-b==2"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Build a wheel from a copy of the project, and list its files."""
    copy = tmp_path_factory.mktemp("wheel") / "project"
    rubbish = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist", "results")
    shutil.copytree(ROOT, copy, ignore=rubbish)
    script = "from setuptools import build_meta; print(build_meta.build_wheel('dist'))"
    result = subprocess.run([sys.executable, "-c", script], cwd=copy, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    (built,) = (copy / "dist").glob("*.whl")
    return zipfile.ZipFile(built).namelist()


def test_a_wheel_holds_the_package_and_nothing_else(wheel: list[str]) -> None:
    """A wheel installs `parman`, whole and typed, and nothing beside it."""
    installed = {name for name in wheel if ".dist-info/" not in name}
    assert installed == {name_of(path) for path in SOURCES} | {"parman/py.typed"}


def test_a_wheel_holds_the_licence(wheel: list[str]) -> None:
    """Both licence texts, which the LGPL consists of, travel with the package."""
    names = {Path(name).name for name in wheel if ".dist-info/" in name}
    assert {"COPYING", "COPYING.LESSER"} <= names


DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "demos").rglob("*.md")])


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_links_lead_somewhere(path: Path) -> None:
    """Each link of a document to another file of the project finds it."""
    links = [link.split("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", path.read_text())]
    assert [link for link in links if "://" not in link and not (path.parent / link).exists()] == []


def test_extras_of_the_readme_exist() -> None:
    """Each extra that the README or CONTRIBUTING speaks of can be installed."""
    extras = set(configured()["options.extras_require"])
    text = (ROOT / "README.md").read_text() + (ROOT / "CONTRIBUTING.md").read_text()
    mentioned = {name for group in re.findall(r"[.n]\[([a-z,]+)\]", text) for name in group.split(",")}
    assert mentioned
    assert mentioned <= extras
