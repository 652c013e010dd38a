"""Print where the dashboard is."""

from __future__ import annotations

from pagent.cli.terminal.standard_streams import is_terminal, say
from pagent.config.model import DashboardSettings
from pagent.net.authority import authority_of
from pagent.router import Router


def print_dashboard(router: Router, settings: DashboardSettings) -> None:
    """Print the address of the dashboard, with its random token, if standard error is a terminal.

    The token goes nowhere else: standard error may be the file of a log. In the fragment of an address it is sent to no
    server.
    """
    if not (router.dashboard_port and is_terminal(2)):
        return
    scheme = "http" if settings.tls.certificate is None else "https"
    place = authority_of(settings.interface or "127.0.0.1", router.dashboard_port)
    fragment = "" if router.dashboard_secret is None else f"#token={router.dashboard_secret}"
    say(f"dashboard: {scheme}://{place}/{fragment}")
