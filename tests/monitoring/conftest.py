"""A database of its own for each test: SQLite, and PostgreSQL where that is asked for."""

from __future__ import annotations

import os

import pytest

from tests.cloud_services import service


@pytest.fixture(scope="module")
def postgresql():
    with service("postgres") as variables:
        yield variables["PARSL_TEST_POSTGRES"]


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.services)])
def url(request, tmp_path):
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/monitoring.db"
        return
    sqlalchemy = pytest.importorskip("sqlalchemy")
    pytest.importorskip("psycopg2")
    server = request.getfixturevalue("postgresql")
    name = f"test_{os.getpid()}_{abs(hash(request.node.name)) % 10**6}"
    engine = sqlalchemy.create_engine(server.replace("://", "+psycopg2://"), isolation_level="AUTOCOMMIT")
    # A schema of its own, so that tests that run at once on one server do not meet.
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE SCHEMA {name}")
    yield f"{server}?options=-csearch_path%3D{name}"
    with engine.connect() as connection:
        connection.exec_driver_sql(f"DROP SCHEMA {name} CASCADE")
    engine.dispose()
