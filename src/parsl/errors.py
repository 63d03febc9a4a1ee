"""The errors that belong to the package as a whole; every other error of ours derives from `ParslError`."""

from __future__ import annotations

from collections.abc import Sequence


class ParslError(Exception):
    """Base class of all exceptions that this package raises on its own account."""


class BadStdStreamFile(ParslError):
    """What was given as `stdout` or `stderr` of an app can't be used, or can't be opened.

    Args:
        reason: what is wrong with it: a sentence.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return str(self.reason)


class ConfigurationError(ParslError):
    """A configuration has the right types but values that cannot work."""


class InternalConsistencyError(ParslError):
    """A rule that this package keeps about its own state was found broken: a defect of ours, please report it."""


class NoDataFlowKernelError(ParslError):
    """An app was called, or the kernel was asked for, while no kernel is loaded."""


class OptionalModuleMissing(ParslError):
    """A feature was used that needs modules which are not installed.

    Args:
        module_names: The import names of the missing modules.
        reason: What they are needed for, or what to install: a sentence.
    """

    def __init__(self, module_names: Sequence[str], reason: str) -> None:
        # Both go to `args`, so that the exception survives pickling on its way from a worker.
        super().__init__(module_names, reason)
        self.module_names = module_names
        self.reason = reason

    def __str__(self) -> str:
        names = (self.module_names,) if isinstance(self.module_names, str) else self.module_names
        return f"Optional modules are missing: {', '.join(map(str, names))}. {self.reason}"
