"""Sphinx configuration: ``make docs`` builds these pages, with warnings as errors."""

project = "pAgent"
extensions: list[str] = []
master_doc = "index"
exclude_patterns = ["build", "floors.rst"]
html_theme = "alabaster"
html_theme_options = {"description": "Interactive jobs behind one link", "fixed_sidebar": True}
nitpicky = True
