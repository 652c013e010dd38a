"""The API of a router for portals: docs/api.rst. It stands on :class:`~pagent.web.routes.Routes` alone."""
