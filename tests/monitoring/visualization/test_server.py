from __future__ import annotations

import gzip
import urllib.request

import pytest

from parsl.monitoring.visualization import server
from tests.monitoring.visualization.made import began, serving, write


@pytest.mark.parametrize(
    ("address", "token", "url"),
    [
        ("127.0.0.1", None, "http://127.0.0.1:80/"),
        ("::1", None, "http://[::1]:80/"),
        ("10.0.0.1", "abc", "http://10.0.0.1:80/?token=abc"),
    ],
)
def test_addresses_are_what_one_types(address, token, url):
    assert server.page_url(address, 80, token) == url


def test_of_all_addresses_the_name_is_shown():
    assert "0.0.0.0" not in server.page_url("0.0.0.0", 80, "t")


@pytest.mark.parametrize(
    ("address", "is_one"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("10.1.1.1", False)],
)
def test_loopback_is_known(address, is_one):
    assert server.is_loopback(address) is is_one


def test_plotly_comes_from_the_package_and_packed(tmp_path):
    write(f"sqlite:///{tmp_path}/monitoring.db", began())
    with serving(f"sqlite:///{tmp_path}/monitoring.db") as client:
        url = f"{client.base}/plotly.min.js"
        with urllib.request.urlopen(url) as answer:
            plain = answer.read()
        with urllib.request.urlopen(urllib.request.Request(url, headers={"Accept-Encoding": "gzip, br"})) as answer:
            assert answer.headers["Content-Encoding"] == "gzip"
            packed = answer.read()
    assert gzip.decompress(packed) == plain
    assert len(packed) < len(plain) / 2
    with open(server.plotly_path(), "rb") as file:
        assert file.read() == plain


def test_without_plotly_pages_are_there(tmp_path, monkeypatch):
    monkeypatch.setattr(server, "plotly_path", lambda: None)
    write(f"sqlite:///{tmp_path}/monitoring.db", began())
    with serving(f"sqlite:///{tmp_path}/monitoring.db") as client:
        assert client.get("/plotly.min.js").status == 404
        assert client.get("/runs/run-1").status == 200
