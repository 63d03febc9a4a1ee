"""`File`: a file that apps read or write, wherever it is."""

from __future__ import annotations

import os
from typing import Any


class File:
    """A file named by a URL or a path.

    It has one name for all places (`url`) and, where staging has put a copy somewhere, one for the place where the
    app runs (`local_path`). Inside an app `open(file)` opens the right one, and `str(file)` names it on a command line.

    Two files are equal if their URLs are the same text, whether or not they have been staged.

    Args:
        url: a path (`data.csv`, `/scratch/data.csv`, a `pathlib.Path`), or a URL such as
            `file:///scratch/data.csv` or `https://example.org/data.csv`. A text without a scheme is a path as it
            stands, and so is one that can't be parsed as a URL.

    Attributes:
        url: what was given, as text.
        scheme: the part that says how to get at it; `file` for a path.
        netloc: the part of a URL between `//` and the path: mostly a host.
        path: the path.
        query: the part of a URL after `?`.
        filename: the last component of the path.
        local_path: where a copy is that the app can open; None if nobody has put one anywhere.
    """

    def __init__(self, url: str | os.PathLike[str]) -> None:
        if isinstance(url, str):
            self.url = url
            self.scheme, self.netloc, self.path, self.query = _split(url)
        elif isinstance(url, os.PathLike):
            self.url = os.fsdecode(url)
            self.scheme, self.netloc, self.path, self.query = "file", "", self.url, ""
        else:
            msg = f"File() takes a URL or path as str or os.PathLike, not a {type(url).__name__}: {url!r}"
            raise TypeError(msg)
        self.filename = os.path.basename(self.path)
        self.local_path: str | None = None

    def cleancopy(self) -> File:
        """Make a copy that has not been staged anywhere: all but `local_path`."""
        copy = type(self).__new__(type(self))
        copy.__dict__.update(self.__dict__)
        copy.local_path = None
        return copy

    @property
    def filepath(self) -> str:
        """The path to open the file by, where the code that asks runs.

        Raises:
            ValueError: for a remote file that hasn't been staged here.
        """
        if self.local_path is not None:
            return self.local_path
        if self.scheme == "file":
            return self.path
        msg = f"No local_path for {self.url}: a {self.scheme!r} file can be opened only where it has been staged to."
        raise ValueError(msg)

    def __str__(self) -> str:
        return self.filepath

    def __fspath__(self) -> str:
        return self.filepath

    def __eq__(self, other: object) -> bool:
        # A path object may look like a URL and is none, so the text alone does not tell.
        return (self.scheme, self.url) == (other.scheme, other.url) if isinstance(other, File) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.url)

    def __repr__(self) -> str:
        where = "" if self.local_path is None else f" local_path={self.local_path!r}"
        return f"<{type(self).__name__} {self.url!r}{where}>"

    def __setstate__(self, state: dict[str, Any]) -> None:
        # A file from another version may have more or fewer fields; what is missing is not yet known.
        self.local_path = None
        self.__dict__.update(state)


def _split(url: str) -> tuple[str, str, str, str]:
    """Split a URL into scheme, netloc, path and query; a path is all path."""
    if ":" not in url:  # so it has no scheme, and a `?` or `#` in it is a part of the name
        return "file", "", url, ""
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
    except ValueError:
        return "file", "", url, ""
    # A scheme begins with a letter, for which Python 3.10 does not look; C:\data has a drive, not a scheme.
    if not parts.scheme[:1].isalpha() or (os.name == "nt" and len(parts.scheme) == 1):
        return "file", "", url, ""
    return parts.scheme, parts.netloc, parts.path, parts.query
