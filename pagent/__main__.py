"""``python -m pagent`` is ``pagent``."""

from pagent.cli import main

main()
