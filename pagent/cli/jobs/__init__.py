"""The commands for jobs that exist: ``logs``, ``top``, and those of one answer, ``ps`` to ``adopt`` (`manage`)."""
