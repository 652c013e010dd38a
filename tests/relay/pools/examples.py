"""A request of a pool, and its job."""

from __future__ import annotations

from pagent.relay.pools.notes import RequestData, agent_uid_of
from pagent.rpc.pool_job import PoolJob

JOB = PoolJob("a" * 32, "name", {"label": "x"}, 60.0, None, (("main.py", b"print()", False),), {"args": ["true"]})
DATA = RequestData("pool", "rid", agent_uid_of("rid"), {"cpus": "4"}, "ann", 1_700_000_000.0, JOB)
