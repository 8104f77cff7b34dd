"""Notes which tools and places work, for `python -m tests.compat`."""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from tests.compat.loopback import service  # noqa: F401 - a fixture
from tests.compat.rows import Row

_rows: dict[Row, dict[str, bool]] = {}


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--rows FILE`: where to write the results."""
    parser.addoption("--rows", type=Path)


def pytest_configure(config: pytest.Config) -> None:
    """Declare the mark that `Row.sync` and `Row.asynchronous` set."""
    config.addinivalue_line("markers", "compat(row, *clients): the test tries a tool or a place")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """Note whether each part of a test has passed."""
    report = yield
    for mark in item.iter_markers("compat"):
        row, *clients = mark.args
        results = _rows.setdefault(row, {})
        for client in clients:
            results[client] = results.get(client, True) and report.passed
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the results."""
    if path := session.config.getoption("--rows"):
        rows = [{"name": _named(row), "how": row.how, **results} for row, results in _rows.items()]
        path.write_text(json.dumps(rows))


def _named(row: Row) -> str:
    package = row.name if row.package is None else row.package
    return (
        f"{row.name} {version(package)}"
        if package == row.name
        else (f"{row.name} ({package} {version(package)})" if package else row.name)
    )
