"""File: URLs and paths."""

from __future__ import annotations

import os
import pickle
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsl.data_provider.files import File


@pytest.mark.parametrize(
    ("url", "scheme", "netloc", "path", "query", "filename"),
    [
        ("data.csv", "file", "", "data.csv", "", "data.csv"),
        ("/a/b/data.csv", "file", "", "/a/b/data.csv", "", "data.csv"),
        ("/a/b#1?c.csv", "file", "", "/a/b#1?c.csv", "", "b#1?c.csv"),
        ("file:///a/b.txt", "file", "", "/a/b.txt", "", "b.txt"),
        ("https://host:80/a/b.txt?x=1&y=2", "https", "host:80", "/a/b.txt", "x=1&y=2", "b.txt"),
        ("HTTP://h/b", "http", "h", "/b", "", "b"),
        ("globus://03d7-ab/share/godata/f.txt", "globus", "03d7-ab", "/share/godata/f.txt", "", "f.txt"),
        ("zip:/dir/a.zip/inner/name", "zip", "", "/dir/a.zip/inner/name", "", "name"),
        ("rsync:a", "rsync", "", "a", "", "a"),
        ("http://[::1", "file", "", "http://[::1", "", "[::1"),
        ("1:2", "file", "", "1:2", "", "1:2"),
        ("", "file", "", "", "", ""),
    ],
)
def test_the_parts(url: str, scheme: str, netloc: str, path: str, query: str, filename: str) -> None:
    file = File(url)
    assert (file.url, file.scheme, file.netloc, file.path) == (url, scheme, netloc, path)
    assert (file.query, file.filename, file.local_path) == (query, filename, None)


@given(st.text())
def test_any_text_is_a_file(text: str) -> None:
    file = File(text)
    assert file.url == text
    if ":" not in text:
        assert (file.scheme, file.path) == ("file", text)
        assert str(file) == text
    assert pickle.loads(pickle.dumps(file)) == file


def test_a_path_object_is_always_a_path(tmp_path: Path) -> None:
    assert File(tmp_path / "x.txt").filepath == str(tmp_path / "x.txt")
    odd = File(PurePosixPath("http:/x"))
    assert (odd.scheme, odd.path) == ("file", "http:/x")
    for copy in (odd.cleancopy(), pickle.loads(pickle.dumps(odd))):
        assert copy.filepath == "http:/x"


def test_str_and_fspath_are_the_filepath(tmp_path: Path) -> None:
    file = File(str(tmp_path / "x.txt"))
    (tmp_path / "x.txt").write_text("hello")
    assert str(file) == os.fspath(file) == file.filepath == f"{file}"
    with open(file) as f:
        assert f.read() == "hello"


@pytest.mark.parametrize("use", [str, os.fspath, lambda f: f.filepath], ids=["str", "fspath", "filepath"])
def test_a_remote_file_has_no_path_until_it_is_staged(use: object) -> None:
    file = File("https://example.org/x.txt")
    with pytest.raises(ValueError, match=r"No local_path.*example\.org"):
        use(file)  # type: ignore[operator]
    file.local_path = "/tmp/x.txt"
    assert use(file) == "/tmp/x.txt"  # type: ignore[operator]


def test_local_path_wins_over_the_path() -> None:
    file = File("/shared/x.txt")
    file.local_path = "/local/x.txt"
    assert file.filepath == "/local/x.txt"


def test_a_clean_copy_forgets_where_it_was_staged() -> None:
    class Special(File):
        pass

    file = Special("https://example.org/x.txt?q")
    file.local_path = "/tmp/x"
    copy = file.cleancopy()
    assert type(copy) is Special
    assert copy is not file
    assert copy.local_path is None
    assert file.local_path == "/tmp/x"
    assert {**vars(copy), "local_path": "/tmp/x"} == vars(file)


def test_files_of_equal_urls_are_equal() -> None:
    file, other = File("/x"), File("/x")
    other.local_path = "/y"
    assert file == other
    assert len({file, other, File("/z")}) == 2
    assert file != "/x"
    assert File("http:/x") != File(PurePosixPath("http:/x"))
    assert File("/x") == File(PurePosixPath("/x"))
    assert file != File("/z")


def test_pickling_keeps_all() -> None:
    file = File("https://example.org/x.txt?q")
    file.local_path = "/tmp/x"
    assert vars(pickle.loads(pickle.dumps(file))) == vars(file)


def test_repr_works_for_a_remote_file_too() -> None:
    file = File("https://example.org/x.txt")
    assert repr(file) == "<File 'https://example.org/x.txt'>"
    file.local_path = "/x"
    assert repr(file) == "<File 'https://example.org/x.txt' local_path='/x'>"


@pytest.mark.parametrize("bad", [3, None, b"x", ["x"]], ids=repr)
def test_bad_arguments(bad: object) -> None:
    with pytest.raises(TypeError, match="takes a URL or path"):
        File(bad)  # type: ignore[arg-type]
