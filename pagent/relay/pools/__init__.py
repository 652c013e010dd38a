"""Pools: agents that are started on demand by the commands of a site's engine (docs/router.rst, "Pools")."""
