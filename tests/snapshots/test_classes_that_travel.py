# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""Classes of scripts that travel, code that knows its file, and structures of which both sides have the same."""

from __future__ import annotations

import enum
import functools
import linecache
import os
import pickle
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, NamedTuple, NewType, ParamSpec, TypedDict, TypeVar

import cloudpickle
import msgspec
import pytest
from helpers import ROOT

from parman import ConcurrentRunner, ResultError, StructureError, resolve, task, workflow
from parman.annotations.checkers import fits_class
from parman.annotations.compat import can_fit
from parman.annotations.evaluate import stringized_fields
from parman.annotations.signature import Schema
from parman.annotations.spec import LeafSpec, ResultSpec, TupleSpec
from parman.assets import TaskSpec
from parman.snapshots.code import ScriptPickler, Source, dumps, file_sources, learn_sources
from parman.snapshots.take import pickled, take_snapshot

T = TypeVar("T")


def through(value: Any) -> Any:
    """Send a value to another process, which is this one."""
    return take_snapshot(value, pickled).load()


def in_worker(function: Callable[..., Any], *args: Any) -> Any:
    """Run a function in a process of its own."""
    with workflow("processes:1"):
        return resolve(task(function)(*args))


def elsewhere(value: object, text: str) -> str:
    """Load a value in another interpreter as `x`, and return what an expression is there."""
    code = f"import pickle, sys; x = pickle.load(sys.stdin.buffer).load(); print(repr(({text})), end='')"
    content = pickle.dumps(take_snapshot(value, pickled))
    paths = os.pathsep.join([str(ROOT), str(Path(__file__).parent), str(ROOT / "tests")])
    run = subprocess.run(
        [sys.executable, "-c", code], input=content, capture_output=True, check=False, env={"PYTHONPATH": paths}
    )
    assert not run.stderr, run.stderr.decode()
    return run.stdout.decode()


# --- classes ---


def test_a_slotted_class_has_its_slots_elsewhere() -> None:
    """An instance of a slotted class is one without `__dict__` in a worker, private names and all."""

    class Slotted:
        __slots__ = ("__hidden", "seen")

        def __init__(self) -> None:
            self.__hidden = 1
            self.seen = 2

        def both(self) -> tuple[int, int]:
            return self.__hidden, self.seen

    assert elsewhere(Slotted(), "hasattr(x, '__dict__'), x.both(), sorted(x.__slots__)") == (
        "(False, (1, 2), ['__hidden', 'seen'])"
    )


def test_slots_in_an_iterator_are_found() -> None:
    """The slots of a class whose `__slots__` is an iterator, which is used up, are still its slots."""

    class Slotted:
        __slots__ = iter(("a", "b"))

    assert elsewhere(Slotted, "'__dict__' in vars(x), sorted(x.__slots__)") == "(False, ['a', 'b'])"


def test_a_class_of_here_is_not_made_again_and_not_changed() -> None:
    """What comes back brings no second class, calls no hook, and does not set a class back to what it was."""
    calls: list[str] = []

    class Base:
        def __init_subclass__(cls, /, key: str) -> None:
            calls.append(key)

    class Child(Base, key="child"):
        count = 0

    snapshot = take_snapshot(Child(), pickled)
    Child.count = 7
    came = snapshot.load()
    assert type(came) is Child
    assert (Child.count, calls, Base.__subclasses__()) == (7, ["child"], [Child])


def test_a_class_elsewhere_follows_its_home() -> None:
    """A class attribute that the script changes between calls is changed in a worker that knows the class already."""

    class Settings:
        tolerance = 1

    with workflow("processes:1"):
        read = task(lambda settings: settings.tolerance)
        assert resolve(read(Settings)) == 1
        Settings.tolerance = 2
        assert resolve(read(Settings)) == 2


def test_hooks_of_the_script_do_not_run_in_a_worker() -> None:
    """Metaclasses and `__init_subclass__` that want keywords do not keep a class from travelling, nor run once more."""

    class Meta(type):
        made: list[str] = []

        def __new__(cls, name: str, bases: Any, namespace: Any, *, key: str) -> Any:
            cls.made.append(key)
            return super().__new__(cls, name, bases, namespace)

        def __init__(cls, name: str, bases: Any, namespace: Any, *, key: str) -> None:
            super().__init__(name, bases, namespace)

    class Plugin:
        registry: dict[str, Any] = {}

        def __init_subclass__(cls, /, key: str) -> None:
            Plugin.registry[key] = cls

    class Made(metaclass=Meta, key="k"):
        pass

    class First(Plugin, key="one"):
        pass

    assert elsewhere(Made(), "type(x).__name__, type(type(x)).made") == "('Made', ['k'])"
    assert elsewhere(First(), "list(x.registry) == ['one'] and x.registry['one'] is type(x)") == "True"


def test_members_of_enumerations_have_attributes_and_aliases() -> None:
    """Members keep what their `__init__` has set; aliases and composed flags are there."""

    class Planet(enum.Enum):
        EARTH = (1.0, 2.0)
        HOME = (1.0, 2.0)  # noqa: PIE796 (an alias)

        def __init__(self, mass: float, radius: float) -> None:
            self.mass = mass

    class Permission(enum.Flag):
        READ = 1
        WRITE = 2
        BOTH = 3

    assert elsewhere(Planet.EARTH, "x.mass, type(x).HOME is x") == "(1.0, True)"
    assert elsewhere(Permission.BOTH, "x.name, type(x).READ | type(x).WRITE is x") == "('BOTH', True)"
    assert through(Planet.HOME) is Planet.EARTH


def test_a_class_for_parameters_is_the_one_of_here() -> None:
    """A class that a generic class makes in a worker comes back as the class that is here for the same parameters."""
    made: dict[type, type] = {}

    class Box:
        def __class_getitem__(cls, item: type) -> Any:
            if item not in made:
                made[item] = type(f"{cls.__qualname__}[{item.__name__}]", (cls,), {})
            return made[item]

    here = Box[float]  # type: ignore[misc]

    def make(again: Any, box: Any) -> Any:
        return type(box.__qualname__, (again,), {})()

    assert type(in_worker(make, Box, here)) is here


def test_structs_are_made_by_msgspec_again() -> None:
    """A struct of a script has its options and defaults elsewhere, and its `__post_init__` is not called again."""

    class Tagged(msgspec.Struct, frozen=True, tag="t", kw_only=True, rename="camel"):
        some_a: int
        other_b: list[int] = []

    class Counted(msgspec.Struct):
        a: int = 0

        def __post_init__(self) -> None:
            self.a += 1

    assert elsewhere(Tagged(some_a=1), "__import__('msgspec').json.encode(x)") == repr(
        b'{"type":"t","someA":1,"otherB":[]}'
    )
    counted = Counted()
    assert through(counted).a == counted.a == 1
    assert elsewhere(counted, "x.a, type(x)().a") == "(1, 1)"


def test_types_that_are_no_classes_travel() -> None:
    """`NewType`, `ParamSpec` and the generic named tuple of a script are the same objects when they come back."""
    number = NewType("number", int)
    parameters = ParamSpec("parameters")

    class Row(NamedTuple, Generic[T]):
        value: T

    assert through(number) is number
    assert through(parameters) is parameters
    assert through(Row(1)) == Row(1)
    assert elsewhere((number, parameters, Row(1)), "x[0].__supertype__, x[2]") == "(<class 'int'>, Row(value=1))"


# --- classes that were defined once more ---


def defined(text: str) -> Any:
    """Run a notebook cell that makes a class, and return the class."""
    names: dict[str, Any] = {"__name__": "__main__", "dataclass": dataclass}
    exec(text, names)
    return names["Point"]


CELL = "@dataclass\nclass Point:\n    x: float\n"


def test_instances_of_an_earlier_definition_are_accepted() -> None:
    """After a cell with a class was run again, instances of before are passed on, returned, and taken for it."""
    earlier, later = defined(CELL), defined(CELL)
    assert fits_class(earlier, later)
    assert can_fit(earlier, later)

    def shifted(point):  # type: ignore[no-untyped-def]
        return point

    shifted.__annotations__ = {"point": later, "return": later}
    with workflow("serial"):
        assert resolve(task(shifted)(earlier(1.0))) == earlier(1.0)
    with workflow("processes:1"):
        assert type(resolve(task(shifted)(earlier(1.0)))) is earlier


def test_an_earlier_definition_with_other_fields_is_named() -> None:
    """Where an instance of before lacks a field that the new class promises, the error says what has happened."""
    earlier, later = defined(CELL), defined(CELL + "    y: float\n")

    def make(): ...  # type: ignore[no-untyped-def]

    make.__annotations__ = {"return": later}
    with pytest.raises(StructureError, match="an earlier definition of that class: run the cells that make it again"):
        Schema(make).result_spec({}).flatten(earlier(1.0))


# --- structures ---


def digest_of(annotation: Any) -> str:
    """Return the digest of the structure that an annotation promises."""

    def function(): ...  # type: ignore[no-untyped-def]

    function.__annotations__ = {"return": annotation}
    structure = Schema(function).fixed_spec()
    assert structure is not None
    return structure.digest


def test_a_digest_tells_structures_apart() -> None:
    """Order, number, nesting and classes all show in the digest; the types declared for leaves do not."""
    inner = TypedDict("inner", {"c": int})  # noqa: UP013
    kinds = [
        tuple[int, int],
        tuple[int, int, int],
        tuple[tuple[int, int], int],
        tuple[int, tuple[int, int]],
        TypedDict("one", {"a": int, "b": int}),
        TypedDict("one", {"b": int, "a": int}),
        TypedDict("one", {"a": int, "b": inner}),
        NamedTuple("one", [("a", int), ("b", int)]),
        NamedTuple("two", [("a", int), ("b", int)]),
        int,
    ]
    digests = [digest_of(kind) for kind in kinds]
    assert len(set(digests)) == len(kinds)
    assert digest_of(tuple[str, float]) == digests[0]


def test_a_digest_is_the_same_in_each_process() -> None:
    """The digest does not depend on the hash seed of a process."""
    text = (
        "from parman.annotations.signature import Schema\n"
        "def f(): ...\n"
        "f.__annotations__ = {'return': tuple[int, tuple[str, float]]}\n"
        "print(Schema(f).fixed_spec().digest, end='')"
    )
    found = {
        subprocess.check_output([sys.executable, "-c", text], cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": seed})
        for seed in ("1", "2")
    }
    assert found == {digest_of(tuple[int, tuple[str, float]]).encode()}


@task
def pair() -> tuple[int, int]:
    return 1, 2


def test_a_worker_refuses_another_structure() -> None:
    """A worker that understands an annotation in another way than the driver says so, with the task's name."""
    spec = pickle.loads(dumps(TaskSpec.about(pair)))
    assert spec.structure_of(digest_of(tuple[int, int])).num_leaves == 2
    with pytest.raises(StructureError, match=r"pair\(\) has a return annotation that means tuple\(.*in the worker"):
        spec.structure_of(digest_of(tuple[int, tuple[int, int]]))


class Tampering(Executor):
    """Runs calls in place and changes the number of values that they answer with."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        reply = pickle.loads(fn(*args, **kwargs))
        values = getattr(reply, "values", None)
        future: Future[Any] = Future()
        future.set_result(reply if values is None else pickle.dumps(reply._replace(values=[*values, 3])))
        return future


def test_another_number_of_values_is_an_error_that_says_so() -> None:
    """An answer with more values than there are leaves fails its call, and the error names task and cause."""
    with workflow(ConcurrentRunner(Tampering())), pytest.raises(ResultError, match=r"pair\(\) came back .* 3 values"):
        resolve(pair())


def test_a_structure_that_cannot_travel_goes_without_its_types() -> None:
    """Where a declared type cannot be pickled, the places of the leaves travel all the same."""

    def function(): ...  # type: ignore[no-untyped-def]

    function.__annotations__ = {"return": tuple[int, list[Annotated[str, threading.Lock()]]]}
    spec = TaskSpec.about(task(function))
    assert spec.structure is not None
    assert spec.structure == ResultSpec(TupleSpec((LeafSpec(), LeafSpec())), "function")


def test_the_fields_of_classes_with_text_are_told() -> None:
    """The evaluated fields of all classes below an annotation are found, those of types that hold themselves too."""

    class Node(NamedTuple):
        value: int
        below: Any

    Node.__annotations__["below"] = "list[int]"
    assert stringized_fields([dict[str, tuple[Node, ...]]]) == {Node: {"value": int, "below": list[int]}}


# --- code ---


def compiled(name: str, text: str, called: str = "f") -> Any:
    """Compile a function from the lines of what has the name of a file."""
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(text, name, "exec"), names)
    return names[called]


def test_code_keeps_the_name_of_its_file() -> None:
    """Functions, and functions in functions, come back with the file of the script, whatever cloudpickle does."""
    function = compiled("/no/such/script.py", "def f():\n    return lambda: 1\n")
    came = through(function)
    assert came.__code__ == function.__code__
    assert came.__code__.co_filename == came().__code__.co_filename == "/no/such/script.py"


def test_code_is_shared_as_before() -> None:
    """A function and the one that made it have the same code object between them, after the journey too."""
    function = compiled("<cell>", "def f():\n    def inner(): pass\n    return inner\n")
    came, made = through((function, function()))
    assert made.__code__ in came.__code__.co_consts
    assert any(constant is made.__code__ for constant in came.__code__.co_consts)


@pytest.fixture
def cell_name() -> Any:
    """Give a name under which lines may be kept, for the time of a test."""
    name = "<cell of a test>"
    yield name
    linecache.cache.pop(name, None)


def test_lines_of_cells_travel_with_their_code(cell_name: str) -> None:
    """The lines of what is no file, form feeds and all, are known where the code arrives."""
    text = "def f():\n    '''\x0c\u2028'''\n    return 1 / 0  # here\n"
    linecache.cache[cell_name] = (len(text), None, [line + "\n" for line in text.split("\n")[:-1]], cell_name)
    function = compiled(cell_name, text)
    line = f"__import__('linecache').getline({cell_name!r}, 3)"
    assert elsewhere(function, line) == repr("    return 1 / 0  # here\n")


def test_lines_of_a_file_are_those_that_the_driver_knows(tmp_path: Path) -> None:
    """A task shows the lines that its script had when it was sent, after the script was edited and in a worker."""
    script = tmp_path / "edited.py"
    script.write_text("def f():\n    raise ValueError('x')  # as it was\n")
    function = compiled(str(script), script.read_text())
    (source,) = file_sources(function)
    script.write_text("\n\n\n\n\n")
    with workflow("processes:1"), pytest.raises(ValueError, match="x") as caught:
        resolve(task(function)())
    assert "raise ValueError('x')  # as it was" in "".join(caught.value.__notes__)
    assert source.name == str(script)


def test_lines_that_are_known_here_stay(cell_name: str) -> None:
    """Lines that come from elsewhere do not replace those of a cell here; newer ones replace those that came before."""

    def sent(text: str, is_file: bool = False) -> Source:
        return Source(cell_name, zlib.compress(text.encode()), is_file, os.getpid() + 1)

    learn_sources([sent("first\n")])
    learn_sources([sent("second\n")])
    assert linecache.getlines(cell_name) == ["second\n"]
    linecache.cache[cell_name] = (3, None, ["own\n"], cell_name)
    learn_sources([sent("third\n")])
    assert linecache.getlines(cell_name) == ["own\n"]
    learn_sources([sent("of a file\n", is_file=True)])
    assert linecache.getlines(cell_name) == ["of a file\n"]


def test_the_library_has_one_pickler() -> None:
    """No module beside `code` pickles by cloudpickle's own pickler, which would lose what that one keeps."""
    texts = {path.name: path.read_text() for path in (ROOT / "parman").rglob("*.py")}
    assert [name for name, text in texts.items() if "cloudpickle.dumps" in text or "cloudpickle.Pickler" in text] == [
        "code.py"
    ]
    assert issubclass(ScriptPickler, cloudpickle.Pickler)


def test_lines_of_wrapped_functions_travel(tmp_path: Path) -> None:
    """The files of a decorated function are those of the decorator and of what is in it."""
    found = []
    for name in ("inner", "outer"):
        (tmp_path / f"{name}.py").write_text("def f(*args):\n    return args\n")
        found.append(compiled(str(tmp_path / f"{name}.py"), (tmp_path / f"{name}.py").read_text()))
    inner, outer = found
    functools.update_wrapper(outer, functools.partial(inner, 1))
    assert [Path(source.name).name for source in file_sources(outer)] == ["outer.py", "inner.py"]
