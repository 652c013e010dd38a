"""The Python client of an agent or a router: a link, and a typed method for each RPC method of an agent.

::

    async with connect_agent("127.0.0.1:7000", token="secret") as agent:
        job = await agent.create_job("report")
        await job.start(["python3", "-m", "http.server", "{port}"], port="auto", ready="connect")
        status, headers, body = await job.http("GET", "/")
        await job.download_folder("results", include_mask="*.csv")

    async with connect("127.0.0.1:7000", token="secret") as link:      # any pRpc peer, any method
        info = await link.call("job_create", "report")

    async with connect_router("https://router.example.org", token) as router:     # the HTTP API of a router
        job = await router.create("report", key="order 17")
"""

from pagent.client.agent import AgentClient, connect_agent
from pagent.client.http import Response, StreamedResponse
from pagent.client.job import RemoteJob
from pagent.client.link import ClientLink, connect
from pagent.client.output import Logs, RemoteExec
from pagent.client.router import PortalClient, RouterEvent, connect_router
from pagent.client.sockets import TcpStream, WebSocket

__all__ = [
    "AgentClient",
    "ClientLink",
    "Logs",
    "PortalClient",
    "RemoteExec",
    "RemoteJob",
    "Response",
    "RouterEvent",
    "StreamedResponse",
    "TcpStream",
    "WebSocket",
    "connect",
    "connect_agent",
    "connect_router",
]
