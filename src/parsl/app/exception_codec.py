"""Exceptions as bytes and back, with their tracebacks, causes and contexts.

An exception is encoded together with all that its `__cause__` and `__context__` lead to, but each of them by itself:
one that can't be pickled doesn't take the others with it, and a long chain needs no deep recursion.

Plain pickle fails for many a user's exception: it calls the class with `args`, which suits few `__init__` methods, and
finds the class by name, which a worker can't do for one of `__main__`. Here an exception is rebuilt without its
`__init__`, and a class that can't be found by name travels as code. Where it arrives, the class that the script itself
defined is preferred, so that `except MyError` in the script catches it.
"""

from __future__ import annotations

import io
import pickle
import sys
from types import FunctionType, TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

_FRAMES_KEPT = 1000
_TEXT_KEPT = 10_000

# file name, name of the function, line, name of the module
_Frame: TypeAlias = tuple[str, str, int, str]


class EncodedException(NamedTuple):
    """One exception of a chain.

    Attributes:
        class_name: the full name of its class.
        text: its repr.
        frames: its traceback, outermost call first.
        payload: the exception pickled, without its traceback, cause and context; None if it can't be.
        problem: why there is no payload.
        cause: the place of its `__cause__` in the chain, or None.
        context: the place of its `__context__` in the chain, or None.
        suppress_context: its attribute of that name.
    """

    class_name: str
    text: str
    frames: list[_Frame]
    payload: bytes | None
    problem: str
    cause: int | None
    context: int | None
    suppress_context: bool


EncodedChain: TypeAlias = list[EncodedException]


def encode(exception: BaseException) -> EncodedChain:
    """Encode an exception and all that led to it. Never raises for what a user's class does.

    Args:
        exception: any exception; its traceback is taken along.

    Returns:
        A list of at least one, `exception` first; it consists of builtin values only, which any pickler takes.
    """
    places = {id(exception): 0}
    chain = [exception]
    for link in chain:  # grows while it is walked
        for other in (link.__cause__, link.__context__):
            if other is not None and id(other) not in places:
                places[id(other)] = len(chain)
                chain.append(other)
    return [_encode_one(link, places) for link in chain]


def decode(chain: EncodedChain, stand_in: Callable[[str, str, str, str], BaseException]) -> BaseException:
    """Rebuild what `encode` was given.

    Args:
        chain: what `encode` returned.
        stand_in: makes the exception to use for one that can't be rebuilt; it gets the name of that one's class, its
            repr, why it can't be rebuilt, and its traceback as text.

    Returns:
        The exception, with its traceback, cause and context.
    """
    exceptions = [_decode_one(link, stand_in) for link in chain]
    for exception, link in zip(exceptions, chain, strict=True):
        cause = None if link.cause is None else exceptions[link.cause]
        context = None if link.context is None else exceptions[link.context]
        _connect(exception, cause, context, suppress_context=link.suppress_context)
    return exceptions[0]


def _encode_one(exception: BaseException, places: dict[int, int]) -> EncodedException:
    payload, problem = None, ""
    try:
        buffer = io.BytesIO()
        _ExceptionPickler(buffer, exception).dump(exception)
        payload = buffer.getvalue()
    except Exception as e:  # noqa: BLE001 - pickling runs users' code, which may raise anything; it is told on arrival
        problem = f"it can't be pickled: {shown(e)}"
    return EncodedException(
        class_name=_class_name(type(exception)),
        text=shown(exception),
        frames=_frames(exception.__traceback__),
        payload=payload,
        problem=problem,
        cause=places.get(id(exception.__cause__)),
        context=places.get(id(exception.__context__)),
        suppress_context=exception.__suppress_context__,
    )


def _decode_one(link: EncodedException, stand_in: Callable[[str, str, str, str], BaseException]) -> BaseException:
    traceback = _rebuild_traceback(link.frames)
    problem = link.problem
    if link.payload is not None:
        try:
            exception = pickle.loads(link.payload)  # noqa: S301 - it comes from our own worker, like any result
        except Exception as e:  # noqa: BLE001 - unpickling runs users' code, which may raise anything
            problem = f"it can't be unpickled here: {shown(e)}"
        else:
            if isinstance(exception, BaseException):
                return exception.with_traceback(traceback)
            problem = f"it was unpickled as a {type(exception).__name__}"
    replacement = stand_in(link.class_name, link.text, problem, _formatted(traceback, link))
    return replacement.with_traceback(traceback)


def _connect(
    exception: BaseException, cause: BaseException | None, context: BaseException | None, *, suppress_context: bool
) -> None:
    # Not by plain assignment, which a frozen dataclass refuses.
    put = BaseException.__setattr__
    put(exception, "__cause__", cause)
    put(exception, "__context__", context)
    put(exception, "__suppress_context__", suppress_context)


# -- pickling one exception -------------------------------------------------------------------------------------------


class _ExceptionPickler(pickle.Pickler):
    """Pickles one exception; others inside it, such as those of an exception group, keep what belongs to them."""

    def __init__(self, buffer: io.BytesIO, root: BaseException) -> None:
        super().__init__(buffer, protocol=pickle.HIGHEST_PROTOCOL)
        self._root = root

    def reducer_override(self, obj: Any) -> Any:
        """Say how an object is pickled, where pickle's own way would fail or lose something."""
        if isinstance(obj, BaseException):
            return _reduce_exception(obj, alone=obj is self._root)
        if isinstance(obj, (type, FunctionType)):
            return _reduce_global(obj)
        if isinstance(obj, TracebackType):
            return _rebuild_traceback, (_frames(obj),)
        return NotImplemented


def _reduce_exception(exception: BaseException, *, alone: bool) -> Any:
    reduced = exception.__reduce_ex__(pickle.HIGHEST_PROTOCOL)
    if isinstance(reduced, str):  # the name of a global: pickle's own way is right
        return NotImplemented
    function, args, state, items, pairs, setter = (*reduced, None, None, None, None)[:6]
    cls = type(exception)
    base = _builtin_base(cls)
    if cls.__reduce__ is base.__reduce__ and cls.__reduce_ex__ is object.__reduce_ex__:
        function, args = _make, (cls, args)
    surroundings = None
    if not alone:
        surroundings = (
            _frames(exception.__traceback__),
            exception.__cause__,
            exception.__context__,
            exception.__suppress_context__,
        )
    return function, args, (setter, state, surroundings), items, pairs, _set_state


def _make(cls: type[BaseException], args: tuple[Any, ...]) -> BaseException:
    """Make an exception of a class without calling the `__new__` and `__init__` that the class may define."""
    exception = _builtin_base(cls).__new__(cls, *args)
    first = next(base for base in cls.__mro__ if base.__module__ == "builtins")
    first.__init__(exception, *args)  # type: ignore[misc]  # a built-in class of the exception's own bases
    return exception


def _builtin_base(cls: type[BaseException]) -> type[BaseException]:
    # By __base__ and not along the MRO: of several builtin bases only this one can make an instance.
    base: type[BaseException] = cls
    while base.__module__ != "builtins" and base.__base__ is not None:
        base = base.__base__
    return base


def _set_state(exception: BaseException, packed: tuple[Any, Any, Any]) -> None:
    setter, state, surroundings = packed
    if setter is not None:
        setter(exception, state)
    elif state is not None and type(exception).__setstate__ is BaseException.__setstate__:
        for name, value in state.items():
            BaseException.__setattr__(exception, name, value)  # see _connect
    elif state is not None:
        exception.__setstate__(state)
    if surroundings is not None:
        frames, cause, context, suppress_context = surroundings
        exception.with_traceback(_rebuild_traceback(frames))
        _connect(exception, cause, context, suppress_context=suppress_context)


def _reduce_global(obj: type | FunctionType) -> Any:
    """Send a class or function as code if the other side can't find it by name, or might find another one."""
    if obj.__module__ != "__main__" and _named(obj.__module__, obj.__qualname__) is obj:
        return NotImplemented
    if obj.__module__ == "builtins":
        return NotImplemented
    import cloudpickle

    return _load_global, (obj.__module__, obj.__qualname__, cloudpickle.dumps(obj))


def _load_global(module: str, qualname: str, code: bytes) -> Any:
    found = _named(module, qualname)
    if isinstance(found, type):
        return found
    return pickle.loads(code)  # noqa: S301 - it is a part of what our own worker sent


def _named(module: str | None, qualname: str) -> Any:
    found: Any = sys.modules.get(module or "")
    for name in qualname.split("."):
        found = getattr(found, name, None)
    return found


# -- tracebacks and texts ---------------------------------------------------------------------------------------------


def _frames(traceback: TracebackType | None) -> list[_Frame]:
    frames: list[_Frame] = []
    while traceback is not None:
        frame = traceback.tb_frame
        code = frame.f_code
        module = frame.f_globals.get("__name__")
        # A line number may be missing for code that the compiler made up.
        line = traceback.tb_lineno or code.co_firstlineno
        frames.append((code.co_filename, code.co_name, line, module if type(module) is str else "?"))
        traceback = traceback.tb_next
    if len(frames) > _FRAMES_KEPT:  # endless recursion: its beginning and its end tell all
        half = _FRAMES_KEPT // 2
        frames = frames[:half] + frames[-half:]
    return frames


def _rebuild_traceback(frames: list[_Frame]) -> TracebackType | None:
    from tblib import Traceback

    result: TracebackType | None = None
    # Frame by frame, as tblib recurses over the whole traceback.
    for filename, function, line, module in reversed(frames):
        code = {"co_filename": filename, "co_name": function}
        frame = {"f_globals": {"__name__": module}, "f_locals": {}, "f_code": code, "f_lineno": line}
        single = Traceback.from_dict({"tb_frame": frame, "tb_lineno": line, "tb_next": None}).as_traceback()
        single.tb_next = result
        result = single
    return result


def _formatted(traceback: TracebackType | None, link: EncodedException) -> str:
    if traceback is None:
        return ""
    from traceback import format_tb

    lines = "".join(format_tb(traceback))
    return f"Traceback (most recent call last):\n{lines}{link.class_name}: {link.text}\n"


def _class_name(cls: type) -> str:
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"


def shown(exception: BaseException) -> str:
    """Return the repr of an exception, shortened; one whose repr fails is shown by its class."""
    try:
        text = repr(exception)
    except Exception as e:  # noqa: BLE001 - a user's __repr__ may raise anything; what it raised is shown instead
        return f"<{_class_name(type(exception))}, whose repr raises {type(e).__name__}>"
    return text if len(text) <= _TEXT_KEPT else f"{text[:_TEXT_KEPT]}..."
