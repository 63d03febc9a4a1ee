"""Where a script looks for modules, told to processes elsewhere."""

from __future__ import annotations

import os
import sys

import pytest

from parsl.search_path import script_folders, script_path

LIBRARY = os.path.dirname(os.__file__)
ARCHIVE = os.path.join(os.path.dirname(LIBRARY), "python{}{}.zip".format(*sys.version_info))


@pytest.mark.parametrize(
    ("path", "told", "folders"),
    [
        (["/a", "/b", LIBRARY, "/site"], ["/a", "/b", "", LIBRARY, "/site"], ("/a", "/b")),
        (["/a", ARCHIVE, LIBRARY], ["/a", "", ARCHIVE, LIBRARY], ("/a",)),
        ([LIBRARY], ["", LIBRARY], ()),
        (["/a", "/a", LIBRARY], ["/a", "/a", "", LIBRARY], ("/a",)),
        (["/only"], ["/only", ""], ("/only",)),
        ([b"/bytes", "/a", LIBRARY], ["/a", "", LIBRARY], ("/a",)),
    ],
)
def test_the_place_of_the_standard_library_is_marked(monkeypatch, path, told, folders):
    monkeypatch.setattr(sys, "path", path)
    assert script_path() == told
    assert script_folders() == folders


def test_the_working_directory_goes_by_its_name(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", LIBRARY])
    assert script_folders() == (str(tmp_path),)
