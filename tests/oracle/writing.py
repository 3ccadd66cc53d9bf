# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
"""The text of a script, from its plan.

What a script prints is what the judge compares. A line that begins with `[203]` was written by the call of that number;
`203 b[3] = ...` is the value of its result, `203 b[3] ! ...` its failure (without a block all that are allowed, if it
needs several failed calls); a line that begins with `?` may differ from run to run; all others have to be the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from .plans import (
    Array,
    AsTheyCome,
    Block,
    Cancel,
    Change,
    Drop,
    Input,
    Items,
    Kind,
    Plan,
    Record,
    Scalar,
    Settle,
    Step,
    Task,
    Variable,
    Wave,
    records,
)

__all__ = ["script"]

_PREAMBLE = (Path(__file__).parent / "preamble.txt").read_text()
"""What all scripts have in common, in pieces with a title."""


def _pieces() -> dict[str, str]:
    titled = (piece.partition("\n") for piece in _PREAMBLE.split("#### ")[1:])
    return {title.strip(): text.strip("\n") + "\n" for title, _, text in titled}


def script(plan: Plan) -> str:
    """Write a script."""
    pieces = _pieces()
    future = "from __future__ import annotations\n\n" if plan.text == "future" else ""
    chosen = ["field", "digest", "calm", "pools", "left"]
    if plan.failing:
        chosen[2:3] = ["failing", "raising" if plan.failing in ("raised", "fail_fast") else "patient"]
    options = "OPTIONS = {'fail_fast': True}" if plan.failing == "fail_fast" else "OPTIONS = {}"
    # Arrays of a share can't be written, also where a task hands them back.
    options += f"\nSHARES = {any(variable.shared for variable in plan.variables)}"
    head = "\n".join(f"# {word} {text}" for word, text in _header(plan))
    body = "\n".join(line.rstrip() for line in _body(plan))
    middle = "\n\n".join(pieces[title] for title in chosen)
    defined = "" if plan.anew else "\n\n".join(_definitions(plan))
    top = f'{head}\n"""{_DOC[plan.theme]}"""\n\n{future}{pieces["imports"]}{options}'
    return f"{top}\n\n\n{middle}\n\n{defined}\n\n{body}\n"


_DOC = {
    "values": "Values of many kinds go from task to task.",
    "big": "Big arrays, and numbers of them, go from task to task.",
    "many": "Many results of more than a mebibyte are held at once.",
    "swarm": "Many short calls on many threads.",
    "pools": "Classes of the script as results, on one new pool after another.",
    "failures": "Some calls fail.",
    "deaths": "Some calls end the process that they run in.",
    "cancels": "Some calls are cancelled.",
    "mixed": "A little of everything.",
}


def _definitions(plan: Plan) -> list[str]:
    return [*_classes(plan), *(_task(task, plan) for task in plan.tasks)]


def _header(plan: Plan) -> Iterator[tuple[str, str]]:
    yield "RUNNERS", " ".join(plan.runners)
    yield "LIMIT", f"{plan.limit:g}"
    if plan.closed_input:
        yield "INPUT", "closed"
    if plan.descriptors:
        yield "DESCRIPTORS", str(plan.descriptors)
    if plan.theme == "swarm":
        yield "CPU", "threads:16 3 1.0"
    if plan.turns > 2:
        yield "MORE", str(3 * plan.turns)
    if plan.failing == "fail_fast":
        yield "MAY", "cancelled"
    for number in sorted(number for task in plan.tasks for number, _ in task.dies):
        yield "DIES", str(number)
    if any(isinstance(step, Cancel) for step in plan.steps):
        yield from (("NEEDS", " ".join(map(str, needs))) for needs in _needs(plan))


def _needs(plan: Plan) -> Iterator[list[int]]:
    """Give each call with those that it needs."""
    waves = plan.waves
    for wave in waves.values():
        for index, number in enumerate(wave.numbers):
            yield [number, *sorted({need for each in wave.inputs for need in _sources(each, wave, index, waves)})]


def _sources(each: Input, wave: Wave, index: int, waves: dict[str, Wave]) -> list[int]:
    if each.mode in ("variable", "own"):
        return []
    source = waves[each.source]
    if each.mode in ("all", "named"):
        return list(source.numbers)
    if each.mode == "chain" and index:
        return [wave.first + index - 1]
    shift = {"each": index, "next": (index + 1) % source.width}.get(each.mode, 0)
    return [source.first + shift]


# --- kinds ---

_SCALARS = {  # annotation, a value made from {x}, a number made from {v}
    "int": ("int", "{x}", "{v}"),
    "float": ("float", "{x} / 4", "int(4 * {v})"),
    "str": ("str", 'f"run {{{x}}}"', "len({v})"),
    "text": ("str", '"step {{}}\\n".format({x}) * 90_000', "len({v})"),
    "blob": ("bytes", "bytes([{x} % 251]) * 2_000_000", "{v}[-1]"),
    "bytes": ("bytes", "bytes([{x} % 251])", "{v}[0]"),
    "complex": ("complex", "complex({x}, 1)", "int({v}.real)"),
    "bool": ("bool", "({x}) % 2 == 0", "int({v})"),
    "date": ("date", "date(2026, 1, 1 + ({x}) % 28)", "{v}.day"),
    "Decimal": ("Decimal", "Decimal({x})", "int({v})"),
    "Fraction": ("Fraction", "Fraction({x}, 7)", "{v}.numerator"),
    "Path": ("Path", 'Path(f"run-{{{x}}}")', "len({v}.name)"),
    "Phase": ("Phase", "Phase(({x}) % 2)", "{v}.value"),
    "any": ("Any", "{x}", "{v}"),
    "optional": ("int | None", "{x}", "{v}"),
}

_HEADS = {
    "dataclass": "@dataclass\nclass {name}:",
    "frozen": "@dataclass(frozen=True)\nclass {name}:",
    "slots": "@dataclass(slots=True)\nclass {name}:",
    "NamedTuple": "class {name}(NamedTuple):",
    "TypedDict": "class {name}(TypedDict):",
    "attrs": "@attrs.define\nclass {name}:",
    "attrs frozen": "@attrs.frozen\nclass {name}:",
    "attrs dict": "@attrs.define(slots=False)\nclass {name}:",
    "class": "class {name}:",
    "slotted class": "class {name}:",
    "generic": "class {name}(Generic[T]):",
}


def _annotation(kind: Kind) -> str:
    if isinstance(kind, Scalar):
        return _SCALARS[kind.name][0]
    if isinstance(kind, Array):
        return "np.ndarray"
    if isinstance(kind, Record):
        return f"{kind.name}[{_annotation(kind.fields[0][1])}]" if kind.style == "generic" else kind.name
    of = _annotation(kind.of)
    if kind.container == "tuple":
        return f"tuple[{', '.join([of] * kind.count)}]" if kind.count else "tuple[()]"
    inner = f"dict[str, {of}]" if kind.container == "dict" else f"{kind.container}[{of}]"
    return f"Annotated[{inner}, Length({kind.count})]" if kind.fixed else inner


def _made(kind: Kind, x: str, depth: int = 0) -> str:
    """Write the expression of a value that depends on the number `x`."""
    if isinstance(kind, Scalar):
        return _SCALARS[kind.name][1].format(x=x if x.isidentifier() or x.isdigit() else f"({x})")
    if isinstance(kind, Array):
        how = "" if (kind.dtype, kind.layout) == ("float64", "flat") else f', "{kind.dtype}", "{kind.layout}"'
        return f"field({kind.count:_}, {x}{how})"
    if isinstance(kind, Record):
        fields = (
            f"{name}={_made(inner, f'{x} + {i}' if i else x, depth)}" for i, (name, inner) in enumerate(kind.fields)
        )
        return f"{kind.name}({', '.join(fields)})"
    k = "kmnpqr"[depth]
    item, loop = _made(kind.of, f"{x} + {k}", depth + 1), f"for {k} in range({kind.count})"
    if kind.container == "dict":
        return f'{{f"k{{{k}}}": {item} {loop}}}'
    return f"[{item} {loop}]" if kind.container == "list" else f"{kind.container}({item} {loop})"


def _weight(kind: Kind, v: str, depth: int = 0) -> str:
    """Write the expression of a whole number that depends on a value."""
    if isinstance(kind, Scalar):
        return _SCALARS[kind.name][2].format(v=v)
    if isinstance(kind, Array):
        return f"int({v}.sum(dtype=float))"
    if isinstance(kind, Record):
        places = (f'{v}["{name}"]' if kind.style == "TypedDict" else f"{v}.{name}" for name, _ in kind.fields)
        return " + ".join(_weight(inner, place, depth) for place, (_, inner) in zip(places, kind.fields, strict=True))
    item = ("item", "inner", "inmost", "last")[depth]
    values = f"{v}.values()" if kind.container == "dict" else v
    return f"sum({_weight(kind.of, item, depth + 1)} for {item} in {values})"


def _classes(plan: Plan) -> Iterator[str]:
    """Write the classes of the script, each after those that it needs."""
    yield "class Phase(Enum):\n    SOLID = 0\n    LIQUID = 1\n"
    kinds = [kind for task in plan.tasks for kind in (*task.params, task.result)]
    kinds += [variable.kind for variable in plan.variables]
    yield from dict.fromkeys(_class(record, plan) for kind in kinds for record in records(kind))


def _class(record: Record, plan: Plan) -> str:
    head = _HEADS[record.style].format(name=record.name)
    quote = '"' if plan.text == "quoted" else ""
    if record.style not in ("class", "slotted class", "generic"):
        return "\n".join(
            [head, *(f"    {name}: {quote}{_annotation(kind)}{quote}" for name, kind in record.fields), ""]
        )
    names = [name for name, _ in record.fields]
    lines = [head]
    if record.style == "slotted class":
        lines += [f"    __slots__ = ({', '.join(map(repr, names))},)", ""]
    lines.append(f"    def __init__(self, {', '.join(names)}):")
    lines += [f"        self.{name} = {name}" for name in names]
    return "\n".join([*lines, ""])


# --- tasks ---

_FAILURES = {
    "ValueError": 'raise ValueError(f"run {number} does not converge", x)',
    "KeyError": "return {}[number]",
    "OSError": 'return open(f"missing-{number}")',
    "Diverged": "raise Diverged(number, x / 2)",
    "group": 'raise ExceptionGroup("two things", [ValueError(number), KeyError("x")])',
    "chained": 'raise RuntimeError(f"run {number}") from Diverged(number, x / 2)',
    "array": "raise ValueError(field(200_000, x))",
    "exit": "sys.exit(number)",
    "timeout": 'raise TimeoutError(f"run {number} is too slow")',
}

_ENDS = {
    "kill": "os.kill(os.getpid(), signal.SIGKILL)",
    "exit": "os._exit(3)",
    "segfault": "os.kill(os.getpid(), signal.SIGSEGV)",
}


def _task(task: Task, plan: Plan) -> str:
    names = list("abcdef"[: len(task.params)])
    quote = '"' if plan.text == "quoted" else ""
    if task.annotated:
        typed = (f"{name}: {quote}{_annotation(kind)}{quote}" for name, kind in zip(names, task.params, strict=True))
        head = f"def {task.name}({', '.join([*typed, 'number: int'])}) -> {quote}{_annotation(task.result)}{quote}:"
    else:
        head = f"def {task.name}({', '.join([*names, 'number'])}):"
    weights = [_weight(kind, name) for name, kind in zip(names, task.params, strict=True)]
    lines = ["@task", head]
    if any(task.pauses):
        pauses = [pause / 1000 for pause in task.pauses]
        lines.append(
            f"    time.sleep({pauses}[number % {len(pauses)}])" if len(pauses) > 1 else f"    time.sleep({pauses[0]})"
        )
    lines.append(f"    x = ({' + '.join(['number', *weights])}) % 9973")
    lines += [f'    print(f"[{{number}}] line {i} of {task.name}, x is {{x}}\\n", end="")' for i in range(task.prints)]
    for kind, how in ((kind, _FAILURES[kind]) for kind in dict.fromkeys(kind for _, kind in task.fails)):
        lines += [f"    if number in {_numbers(task.fails, kind)}:", f"        {how}"]
    for kind, how in ((kind, _ENDS[kind]) for kind in dict.fromkeys(kind for _, kind in task.dies)):
        lines += [f"    if number in {_numbers(task.dies, kind)}:", "        if os.getpid() == DRIVER:"]
        lines += ['            raise WorkerDied("this would end the script")', f"        {how}"]
    if task.scribbles and names:
        lines.append(f"    {_change(task.params[-1], names[-1])}")
    lines.append(f"    return {_returned(task, names)}")
    return "\n".join([*lines, ""])


def _numbers(cases: tuple[tuple[int, str], ...], kind: str) -> str:
    return f"({', '.join(str(number) for number, each in cases if each == kind)},)"


def _returned(task: Task, names: list[str]) -> str:
    if task.returns == "first":
        return names[0]
    return f"{names[0]}[1:]" if task.returns == "view" else _made(task.result, "x")


def _change(kind: Kind, name: str) -> str:
    """Write the statement that changes a value in place."""
    if isinstance(kind, Array):
        return f"{name} += 1"
    if isinstance(kind, Items) and kind.container == "list":
        return f"{name}.reverse()"
    if isinstance(kind, Items) and kind.container == "dict":
        return f'{name}["more"] = {name}["k0"]' if kind.count else f"{name}.clear()"
    return "pass"


# --- what the script does ---


def _body(plan: Plan) -> Iterator[str]:
    variables = [f"{each.name} = {_made(each.kind, str(each.number))}" for each in plan.variables]
    if not plan.anew:
        yield from variables
    yield "BEFORE = resources()"
    if plan.turns > 1:
        yield f"for _turn in range({plan.turns}):"
    indent = "    " * (plan.turns > 1)
    if plan.anew:
        yield from (indent + line for text in [*_definitions(plan), *variables] for line in text.splitlines())
    waves = plan.waves
    for number, block in enumerate(plan.blocks):
        for line in _block(block, plan, waves, is_last=number == len(plan.blocks) - 1):
            yield indent + line
    dropped = {step.wave for step in plan.steps if isinstance(step, Drop)}
    for wave in waves.values():
        if wave.name not in dropped and plan.failing != "seen":
            yield indent + _show(wave)
    shared = [f"{variable.name}_once" for variable in plan.variables if variable.shared]
    if plan.turns > 1:  # lest the classes of the next turn hold them: attrs copies the globals
        yield f"{indent}{' = '.join([*waves, *shared, 'opened'])} = None"
    yield 'print(f"? held {held()}", flush=True)'
    names = [name for name in waves if name not in dropped]
    yield f"{' = '.join([*names, *shared, 'opened', 'value'])} = None"
    yield 'print("left:", left_behind(BEFORE))'


def _block(block: Block, plan: Plan, waves: dict[str, Wave], is_last: bool) -> Iterator[str]:
    inner = [*_shares(plan), *(line for step in block.steps for line in _step(step, plan, waves))]
    if plan.failing == "seen" and is_last:
        inner += [_show(wave) for wave in waves.values()]
    inner = inner or ["pass"]
    if plan.failing in ("raised", "fail_fast"):
        yield "try:"
        yield from (f"    {line}" for line in _in_block(block, inner))
        yield "except ExceptionGroup as failed:"
        yield '    print("the block failed:", "  &  ".join(sorted(described(error) for error in failed.exceptions)))'
    else:
        yield from _in_block(block, inner)


def _in_block(block: Block, inner: list[str]) -> Iterator[str]:
    if block.style == "open":
        yield "opened = opened_block()"
        yield from inner
        yield "opened.close()"
    else:
        yield "with block():"
        yield from (f"    {line}" for line in inner)


def _shares(plan: Plan) -> list[str]:
    return [f"{variable.name}_once = share({variable.name})" for variable in plan.variables if variable.shared]


def _step(step: Step, plan: Plan, waves: dict[str, Wave]) -> Iterator[str]:
    if isinstance(step, Wave):
        if step.nested:
            yield "with inner_block():"
            yield from (f"    {line}" for line in _wave(step, plan))
        else:
            yield from _wave(step, plan)
    elif isinstance(step, Settle):
        yield f"{step.wave} = resolve({step.wave})"
    elif isinstance(step, AsTheyCome):
        yield from _as_they_come(step.wave, plan)
    elif isinstance(step, Cancel):
        yield f"for i in {step.items}:"
        yield f'    print(f"? cancel {{{waves[step.wave].first} + i}} {{cancel({step.wave}[i])}}")'
    elif isinstance(step, Change):
        variable = _variable(plan, step.variable)
        yield _change(variable.kind, variable.name)
    else:
        yield _show(waves[step.wave])
        yield f"{step.wave} = None"


def _variable(plan: Plan, name: str) -> Variable:
    return next(variable for variable in plan.variables if variable.name == name)


def _wave(wave: Wave, plan: Plan) -> Iterator[str]:
    if any(each.mode == "chain" for each in wave.inputs):
        yield f"{wave.name} = []"
        yield f"for i in range({wave.width}):"
        yield f"    {wave.name}.append({_call(wave, plan)})"
    else:
        yield f"{wave.name} = [{_call(wave, plan)} for i in range({wave.width})]"


def _call(wave: Wave, plan: Plan) -> str:
    task = plan.task(wave.task)
    written = [_input(each, wave, kind, plan) for each, kind in zip(wave.inputs, task.params, strict=True)]
    return _called(wave.task, [*written, f"{wave.first} + i"], plan)


def _called(task: str, arguments: list[str], plan: Plan) -> str:
    return f"call({task}, {', '.join(arguments)})" if plan.failing else f"{task}({', '.join(arguments)})"


def _input(each: Input, wave: Wave, kind: Kind, plan: Plan) -> str:
    if each.mode == "variable":
        return f"{each.source}_once" if _variable(plan, each.source).shared else each.source
    if each.mode == "own":
        return _made(kind, f"{wave.first} + i")
    if each.mode == "named":
        return f'{{f"k{{k}}": one for k, one in enumerate({each.source})}}'
    width = plan.waves[each.source].width
    item = {"each": "[i]", "next": f"[(i + 1) % {width}]", "one": "[0]", "chain": "[0]", "all": ""}[each.mode]
    if each.mode == "chain":
        return f"({wave.name}[-1] if {wave.name} else {each.source}[0])"
    return f"{each.source}{item}{each.part}"


def _as_they_come(wave: Wave, plan: Plan) -> Iterator[str]:
    """Call a task with each value of a wave as soon as it is there."""
    first, *others = wave.inputs
    task = plan.task(wave.task)
    written = [_input(each, wave, kind, plan) for each, kind in zip(others, task.params[1:], strict=True)]
    yield f"{wave.name} = [None] * {wave.width}"
    yield f"for i, value in as_resolved({first.source}):"
    yield f"    {wave.name}[i] = {_called(wave.task, ['value', *written, f'{wave.first} + i'], plan)}"


def _show(wave: Wave) -> str:
    return f'show("{wave.name}", {wave.first}, {wave.name})'
