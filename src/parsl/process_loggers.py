"""A decorator for functions that run at the bottom of a thread or process, where nobody sees what they raise."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import ParamSpec, TypeVar, overload

P = ParamSpec("P")
R = TypeVar("R")


@overload
def wrap_with_logs(fn: Callable[P, R]) -> Callable[P, R]: ...


@overload
def wrap_with_logs(
    fn: None = None, *, target: str = "parsl.process_loggers"
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...


def wrap_with_logs(
    fn: Callable[P, R] | None = None, *, target: str = "parsl.process_loggers"
) -> Callable[P, R] | Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a function so that its beginning, its end and its failure are logged.

    Beginning and end are DEBUG records; an exception is an ERROR record with the traceback, and goes on to the caller.
    To be used with or without parentheses.

    Args:
        fn: The function.
        target: Name of the logger.

    Returns:
        The decorated function, or a decorator if `fn` is not given.
    """
    if fn is None:
        return functools.partial(_wrap, target)
    return _wrap(target, fn)


def _wrap(target: str, function: Callable[P, R]) -> Callable[P, R]:
    logger = logging.getLogger(target)

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        name = function.__qualname__
        logger.debug("%s begins", name)
        try:
            result = function(*args, **kwargs)
        except Exception:
            logger.exception("%s ends with an exception", name)
            raise
        logger.debug("%s ends normally", name)
        return result

    return wrapped
