"""The commands that reach a job's ports, ``forward`` and ``open``; local ports and URLs, which ``run`` uses, too."""
