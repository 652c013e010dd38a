"""The commands that start processes: ``run``, ``start`` and ``exec``.

``run`` starts with `attached`, whose parts are the agent in the same process (`embedded`), the local ports
(`forwarded_ports`), and the two ways in which the job runs: `served_program` and `interactive`.
"""
