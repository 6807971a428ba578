"""Tests of wsserver and wsctl."""

import pytest

# Assertions in support modules show their values, as those in tests do.
pytest.register_assert_rewrite("tests.support")
