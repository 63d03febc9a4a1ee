from __future__ import annotations

from urllib.parse import urlencode

import pytest

from tests.monitoring.visualization.made import a_run, serving, write

pytestmark = pytest.mark.leaks_ok("the module's servers open and start what they need when they are asked first")

TOKEN = "a-token-of-this-test"


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    made = f"sqlite:///{tmp_path_factory.mktemp('guard')}/monitoring.db"
    write(made, *a_run())
    return made


@pytest.fixture(scope="module")
def guarded(url):
    with serving(url, TOKEN) as client:
        yield client


@pytest.fixture(scope="module")
def local(url):
    with serving(url) as client:
        yield client


PATHS = ["/", "/runs/run-1", "/runs/run-1/tasks", "/runs/run-1/figures/states", "/events", "/plotly.min.js", "/nothing"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("query", ["", "?token=", "?token=wrong", "?token=%00", "?token=%ff", f"?token={TOKEN[:-1]}"])
def test_without_the_token_nothing_is_shown(guarded, path, query):
    answer = guarded.get(path + query)
    assert answer.status == 401
    assert "census" not in answer.text
    assert "monitoring.db" not in answer.text
    assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize("cookie", ["", "x", "ü", TOKEN[:-1], TOKEN + "x"])
def test_a_wrong_cookie_is_none(guarded, cookie):
    name = f"parsl-token-{guarded.base.rpartition(':')[2]}"
    assert guarded.get("/", Cookie=f"{name}={cookie}".encode().decode("latin-1")).status == 401


def test_the_token_becomes_a_cookie_and_leaves_the_address(guarded):
    answer = guarded.get(f"/runs/run-1/tasks?app=a+b&token={TOKEN}&state=failed")
    assert (answer.status, answer.headers["Location"]) == (303, "/runs/run-1/tasks?app=a+b&state=failed")
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert guarded.get("/runs/run-1", Cookie=cookie.partition(";")[0]).status == 200


@pytest.mark.parametrize("path", ["//evil.example/", "/%5Cevil.example/", "/%2f%2fevil.example"])
def test_the_token_leads_to_no_other_host(guarded, path):
    answer = guarded.get(f"{path}?token={TOKEN}")
    assert answer.status == 303
    assert not answer.headers["Location"].startswith(("//", "/\\", "http"))


def test_the_token_can_be_typed(guarded):
    form = {"Content_Type": "application/x-www-form-urlencoded"}
    assert guarded.get("/token", "POST", urlencode({"token": "wrong"}), **form).status == 401
    assert guarded.get("/token", "POST", "x" * 100_000, **form).status == 401
    assert guarded.get("/token", "POST", "%ff=&&", **form).status == 401
    answer = guarded.get("/token", "POST", urlencode({"token": TOKEN}), **form)
    assert (answer.status, answer.headers["Location"]) == (303, "/")


def test_the_page_that_asks_has_its_looks(guarded):
    assert guarded.get("/static/page.css").status == 200
    assert "page.css" in guarded.get("/").text


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "localhost:8080", "[::1]:80", "[::1]"])
def test_loopback_names_are_served(local, host):
    assert local.get("/", Host=host).status == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", ""])
def test_other_names_are_not(local, host):
    answer = local.get("/", Host=host)
    assert answer.status in {400, 421}
    assert "census" not in answer.text


@pytest.mark.parametrize("path", [*PATHS, "/static/page.css", "/runs/none"])
def test_all_answers_keep_to_themselves(local, path):
    if path == "/events":
        return  # has no end
    answer = local.get(path)
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_nothing_can_be_done(local, method):
    assert local.get("/runs/run-1", method).status == 405
