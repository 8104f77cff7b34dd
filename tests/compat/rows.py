"""The rows of the table in docs/compatibility.md, which the tests of this folder fill."""

from dataclasses import dataclass

import pytest


@dataclass(frozen=True)
class Row:
    """A tool, or a place where programs run, with the tests that try it.

    Attributes:
        name: as the table shows it.
        how: what a user does, or what happens, in a few words of Markdown.
        package: the distribution whose version the table shows; default: `name`. Empty for none.
    """

    name: str
    how: str
    package: str | None = None

    @property
    def sync(self) -> pytest.MarkDecorator:
        """The decorator of a test that tries it with `Client`."""
        return pytest.mark.compat(self, "sync")

    @property
    def either(self) -> pytest.MarkDecorator:
        """The decorator of a test of what both clients return."""
        return pytest.mark.compat(self, "sync", "async")

    @property
    def asynchronous(self) -> pytest.MarkDecorator:
        """The decorator of a test that tries it with `AsyncClient`."""
        return pytest.mark.compat(self, "async")
