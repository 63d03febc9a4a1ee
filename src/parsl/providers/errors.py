"""What can go wrong between a provider and its batch system."""

from __future__ import annotations

import os
from collections.abc import Sequence

from parsl.errors import ParslError


class ExecutionProviderException(ParslError):
    """Base class of everything that a provider raises. The arguments of each are kept, so all survive pickling."""


class ScaleOutFailed(ExecutionProviderException):
    """A provider could not add resources.

    Args:
        provider: Name of the provider.
        reason: Why, in words or as the exception behind it.
    """

    def __init__(self, provider: str, reason: object) -> None:
        super().__init__(provider, reason)
        self.provider = provider
        self.reason = reason

    def __str__(self) -> str:
        return f"Unable to add a block with provider {self.provider}: {self.reason}"


class SchedulerMissingArgs(ExecutionProviderException):
    """A provider was not told what its batch system needs to know.

    Args:
        missing_keywords: Names of the missing arguments.
        sitename: Name of the site or provider.
    """

    def __init__(self, missing_keywords: Sequence[str], sitename: str) -> None:
        super().__init__(missing_keywords, sitename)
        self.missing_keywords = missing_keywords
        self.sitename = sitename

    def __str__(self) -> str:
        names = (self.missing_keywords,) if isinstance(self.missing_keywords, str) else self.missing_keywords
        return f"Provider {self.sitename} needs arguments that it did not get: {', '.join(map(str, names))}"


class ScriptPathError(ExecutionProviderException):
    """A block's script could not be written.

    Args:
        script_path: Where to.
        reason: Why, in words or as the exception behind it.
    """

    def __init__(self, script_path: str | os.PathLike[str], reason: object) -> None:
        super().__init__(script_path, reason)
        self.script_path = script_path
        self.reason = reason

    def __str__(self) -> str:
        return f"Unable to write the block's script {os.fspath(self.script_path)}: {self.reason}"


class SubmitException(ExecutionProviderException):
    """A block could not be handed to the batch system.

    Args:
        job_name: Name of the job.
        message: Why, in words or as the exception behind it.
        stdout: What the submit command wrote to its standard output, if there was one.
        stderr: What it wrote to its standard error.
        retcode: Its exit code.
    """

    def __init__(
        self,
        job_name: str,
        message: object,
        stdout: str | None = None,
        stderr: str | None = None,
        retcode: int | None = None,
    ) -> None:
        super().__init__(job_name, message, stdout, stderr, retcode)
        self.job_name = job_name
        self.message = message
        self.stdout = stdout
        self.stderr = stderr
        self.retcode = retcode

    @property
    def task_name(self) -> str:
        """The name of the job, under the name that older releases had for it."""
        return self.job_name

    def __str__(self) -> str:
        text = f"Cannot launch job {self.job_name}: {self.message}"
        if self.retcode is not None:
            text += f"; exit code {self.retcode}"
        for name, output in (("stdout", self.stdout), ("stderr", self.stderr)):
            if output and output.strip():
                text += f"; {name}: {output.strip()}"
        return text
