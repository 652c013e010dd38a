"""The commands of agents and routers: ``agents``, ``serve``, ``route``, ``token``, and ``report`` for their jobs."""
