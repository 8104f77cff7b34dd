"""Shows what an assertion of the contract has compared, and keeps Haystack from calling home."""

import os

import pytest

os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "false"
pytest.register_assert_rewrite("tests.adapters.contract")
