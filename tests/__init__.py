import pytest

# Modules that assert on behalf of tests; pytest has to know them before they are imported.
pytest.register_assert_rewrite(
    "tests.kit",
    "tests.browser.site",
    "tests.files.transfers",
    "tests.http1.codings",
    "tests.http1.sinks",
    "tests.jobs.table",
    "tests.web.v1.data",
    "tests.web.v1.listener",
    "tests.web.v1.portal",
)
