"""Staging for files that tasks can open where they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from parsl.data_provider.staging import Staging
from parsl.representation import RepresentationMixin

if TYPE_CHECKING:
    from parsl.data_provider.files import File


class NoOpFileStaging(Staging, RepresentationMixin):
    """Takes files of scheme `file` and moves nothing: for a file system that submitter and workers share."""

    def can_stage_in(self, file: File) -> bool:
        """Tell whether `file` is a path."""
        return file.scheme == "file"

    def can_stage_out(self, file: File) -> bool:
        """Tell whether `file` is a path."""
        return file.scheme == "file"
