"""The commands of the set-up: ``context``, ``config``, ``doctor``, ``completion``, ``help`` and ``version``."""
