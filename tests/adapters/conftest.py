"""Shows what an assertion of the contract has compared."""

import pytest

pytest.register_assert_rewrite("tests.adapters.contract")
