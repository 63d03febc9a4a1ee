"""What makes two functions the same: their code, and that of the user's functions which they call.

A function's identity covers its instructions, constants, defaults and the values that it closes over, and, one after
another, whatever its global names lead to. What belongs to Python or to an installed package counts by name and
version, since nobody edits that; all else is the user's own and counts by content. It is the compiled code that
counts, not its text: comments, blank lines, docstrings and where a line breaks make no difference, and the code that
runs is the code that was looked at, even when the file has changed since.
"""

from __future__ import annotations

import dis
import functools
import sys
import sysconfig
import types
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any

from parsl.dataflow.memo_ids import id_for_memo
from parsl.version import VERSION

# These differ with how a text is laid out, or with what the interpreter has learned while it ran.
_NO_MEANING = frozenset({"NOP", "CACHE", "EXTENDED_ARG", "RESUME", "PRECALL", "NOT_TAKEN"})

# Of a code object's flags: takes *args or **kwargs, is a generator or a coroutine.
_MEANT_FLAGS = 0x04 | 0x08 | 0x20 | 0x80 | 0x200


def code_identity(function: Any) -> bytes:
    """Return bytes that change when a function would compute something else.

    Args:
        function: a function, an app, a `functools.partial`, or anything that can be called.
    """
    digest = blake2b(digest_size=16)
    for part in _Walk().parts(function):
        digest.update(b"%d:%b" % (len(part), part))
    return digest.digest()


class _Walk:
    """One way through a function and all it leads to; each function on it is looked at once."""

    def __init__(self) -> None:
        self._seen: dict[int, int] = {}
        self._alive: list[Any] = []  # so that no number of an object is used twice on the way

    def parts(self, obj: Any) -> Iterator[bytes]:
        """Yield what makes up an object's identity.

        An explicit stack: a chain of helpers may be longer than Python's own stack is deep.
        """
        stack = [self._parts(obj)]
        while stack:
            for part in stack[-1]:
                if isinstance(part, bytes):
                    yield part
                else:
                    stack.append(self._parts(part.obj))
                    break
            else:
                stack.pop()

    def _parts(self, obj: Any) -> Iterator[bytes | _Next]:
        obj = _bare(obj)
        if id(obj) in self._seen:
            yield b"seen %d" % self._seen[id(obj)]
            return
        if isinstance(obj, types.ModuleType):
            yield _installed(obj.__name__) or f"module {obj.__name__}".encode()
        elif isinstance(obj, types.FunctionType):
            yield from self._of_function(obj)
        elif isinstance(obj, types.MethodType):
            yield from (_Next(obj.__func__), _Next(obj.__self__))
        elif isinstance(obj, functools.partial):
            yield from (_Next(obj.func), _Next(obj.args), _Next(obj.keywords))
        elif isinstance(obj, type):
            yield from self._of_class(obj)
        elif isinstance(obj, (property, staticmethod, classmethod)):
            yield from map(_Next, _functions_of(obj))
        else:
            yield from self._of_value(obj)

    def _see(self, obj: Any) -> None:
        self._seen[id(obj)] = len(self._seen)
        self._alive.append(obj)

    def _of_function(self, function: types.FunctionType) -> Iterator[bytes | _Next]:
        self._see(function)
        yield b"function"
        names = _Names()
        # A decorator may have given its own function the module of the user's, so the globals tell whose code it is.
        version = _installed(function.__globals__.get("__name__"))
        if version:
            yield from (function.__code__.co_name.encode(), version)
        else:
            yield repr(getattr(function, "__memo_version__", None)).encode()
            yield from _of_code(function.__code__, names)
        yield from (_Next(function.__defaults__), _Next(function.__kwdefaults__))
        for cell in function.__closure__ or ():
            try:
                yield _Next(cell.cell_contents)
            except ValueError:
                yield b"empty cell"
        yield from self._of_globals(function.__globals__, names)

    def _of_globals(self, variables: dict[str, Any], names: _Names) -> Iterator[bytes | _Next]:
        for name in names.variables:
            if name not in variables:
                continue
            yield name.encode()
            value = variables[name]
            yield _Next(value)
            if isinstance(value, types.ModuleType) and not _installed(value.__name__):
                # Which of the names are this module's attributes is not told by the code; those that can be are taken.
                for attribute in names.attributes:
                    if attribute in vars(value):
                        yield attribute.encode()
                        yield _Next(vars(value)[attribute])

    def _of_class(self, cls: type) -> Iterator[bytes | _Next]:
        self._see(cls)
        yield f"class {cls.__module__}.{cls.__qualname__}".encode()
        version = _installed(cls.__module__)
        if version:
            yield version
            return
        yield from map(_Next, cls.__bases__)
        for name in sorted(vars(cls)):
            if name not in _OF_EVERY_CLASS:
                yield name.encode()
                yield _Next(vars(cls)[name])

    def _of_value(self, value: Any) -> Iterator[bytes | _Next]:
        if isinstance(value, dict) and any(map(_has_code, value.values())):
            self._see(value)
            for key, item in value.items():
                yield from (_Next(key), _Next(item))
        elif isinstance(value, (list, tuple)) and any(map(_has_code, value)):
            self._see(value)
            yield from map(_Next, value)
        elif isinstance(value, (set, frozenset)) and any(map(_has_code, value)):
            yield from sorted(map(code_identity, value))
        else:
            try:
                yield id_for_memo(value)
            except Exception:  # noqa: BLE001 - a user's type may raise anything; then it counts by its class
                yield from self._of_object(value)

    def _of_object(self, value: Any) -> Iterator[bytes | _Next]:
        """Take what an object of the user's own holds; others, such as locks and connections, count by class."""
        self._see(value)
        cls = type(value)
        yield b"object"
        yield _Next(cls)
        if not _installed(cls.__module__) or cls is types.SimpleNamespace:
            for name in sorted(getattr(value, "__dict__", ())):
                yield name.encode(errors="surrogatepass")
                yield _Next(value.__dict__[name])


class _Next:
    """Stands among the parts of an object for another one whose parts come in here."""

    __slots__ = ("obj",)

    def __init__(self, obj: Any) -> None:
        self.obj = obj


_OF_EVERY_CLASS = frozenset(
    {
        "__annotations__",
        "__annotate__",
        "__annotate_func__",
        "__annotations_cache__",
        "__dict__",
        "__doc__",
        "__firstlineno__",
        "__module__",
        "__static_attributes__",
        "__weakref__",
        "__abstractmethods__",
        "_abc_impl",
    }
)


def _bare(obj: Any) -> Any:
    """Return what an app, or another wrapper made by `functools.wraps`, stands for."""
    # A wrapper that is a function has code of its own, and closes over what it wraps.
    if isinstance(obj, (type, types.FunctionType)):
        return obj
    wrapped = getattr(obj, "__wrapped__", None)
    return wrapped if isinstance(wrapped, types.FunctionType) else obj


def _functions_of(obj: property | staticmethod[..., Any] | classmethod[Any, ..., Any]) -> tuple[Any, ...]:
    return (obj.fget, obj.fset, obj.fdel) if isinstance(obj, property) else (obj.__func__,)


def _has_code(value: Any) -> bool:
    return isinstance(value, _CODE) or _bare(value) is not value


_CODE = (types.FunctionType, types.MethodType, functools.partial, type)


class _Names:
    """The names that code looks up outside of itself: global ones, and attributes of whatever."""

    def __init__(self) -> None:
        self.variables: dict[str, None] = {}
        self.attributes: dict[str, None] = {}

    def note(self, opname: str, name: Any) -> None:
        if opname in {"LOAD_GLOBAL", "LOAD_NAME"}:
            self.variables[name] = None
        elif opname in {"LOAD_ATTR", "LOAD_METHOD", "IMPORT_FROM"}:
            self.attributes[name] = None


def _of_code(code: types.CodeType, names: _Names) -> Iterator[bytes]:
    """Yield what a code object does, and note the names that it looks up."""
    arguments = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    shape = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags & _MEANT_FLAGS)
    yield repr((shape, arguments)).encode()
    bytecode = dis.Bytecode(code)
    everything = list(bytecode)
    instructions = _meant(everything)
    where = _places(everything, instructions)
    for instruction in instructions:
        argument: Any = instruction.argval
        names.note(instruction.opname, argument)
        if isinstance(argument, types.CodeType):
            yield b"code"
            yield from _of_code(argument, names)
            continue
        if instruction.opcode in dis.hasjrel or instruction.opcode in dis.hasjabs:
            argument = where.get(argument, argument)
        elif instruction.opcode in dis.hasconst:
            argument = _constant(argument)
        yield f"{instruction.opname} {argument!r}".encode(errors="surrogatepass")
    for entry in getattr(bytecode, "exception_entries", ()):
        span = [where.get(offset, -1) for offset in (entry.start, entry.end, entry.target)]
        yield repr((span, entry.depth, entry.lasti)).encode()


def _meant(everything: list[dis.Instruction]) -> list[dis.Instruction]:
    """Leave out what differs with the layout of the text only."""
    instructions: list[dis.Instruction] = []
    for instruction in everything:
        if instruction.argval == "__firstlineno__" and instruction.opname == "STORE_NAME":
            instructions.pop()  # the number of the line, in which a class within a function begins
        elif instruction.opname not in _NO_MEANING:
            instructions.append(instruction)
    return instructions


def _places(everything: list[dis.Instruction], instructions: list[dis.Instruction]) -> dict[int, int]:
    """Map each offset to the number of the first instruction with a meaning, there or behind."""
    numbers = {i.offset: n for n, i in enumerate(instructions)}
    places = {}
    following = len(instructions)
    for instruction in reversed(everything):
        following = numbers.get(instruction.offset, following)
        places[instruction.offset] = following
    return places


def _constant(value: Any) -> Any:
    """Return a constant in a form whose `repr` is the same in every process."""
    if isinstance(value, frozenset):
        return ("frozenset", *sorted(repr(_constant(item)) for item in value))
    if isinstance(value, tuple):
        return tuple(map(_constant, value))
    return value


# -- what is installed ----------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=4096)
def _installed(module: str | None) -> bytes | None:
    """Return name and version of the package that a module belongs to; None for the user's own."""
    if not module:
        return None
    root = module.partition(".")[0]
    if root in sys.stdlib_module_names:
        return b"python %d.%d" % sys.version_info[:2]
    if root == "parsl":
        return f"parsl {VERSION}".encode()
    loaded = sys.modules.get(root)
    file = getattr(loaded, "__file__", None)
    if loaded is None or file is None or not file.startswith(_package_folders()):
        return None
    version = getattr(loaded, "__version__", None) or _version_of(root)
    return f"{root} {version}".encode()


@functools.lru_cache(maxsize=1)
def _package_folders() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    import site

    folders = {paths[k] for k in ("stdlib", "platstdlib", "purelib", "platlib")}
    folders.update(site.getsitepackages(), [site.getusersitepackages()])
    return tuple(f"{folder}/" for folder in folders)


def _version_of(root: str) -> str:
    from importlib import metadata

    for distribution in metadata.packages_distributions().get(root, []):
        return metadata.version(distribution)
    return "of unknown version"
