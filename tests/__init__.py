import pytest

# What is no module of tests but asserts for them; before it is imported.
pytest.register_assert_rewrite("tests.kit", "tests.http1.sinks")
