"""The numbers that a client or an agent can push against at a router: the part of :mod:`pagent.limits` for routers."""

from __future__ import annotations

from typing import Final

from pagent.limits import KIB, MIB

# --- HTTP of users, at a router ---------------------------------------------------------------------

#: Connections of users at a router, at most half of the descriptors: an idle one takes a few KiB.
USERS_MAX: Final = 65_536
#: The head of a user's request: nginx takes four buffers of 8 KiB, Apache 8 KiB for each field.
INCOMING_HEAD_MAX: Final = 64 * KIB
#: Its fields: Apache takes 100, browsers send at most 30.
INCOMING_FIELDS_MAX: Final = 128
#: Its target, and each of its fields: a browser's cookies come to 4 KiB each.
INCOMING_FIELD_MAX: Final = 16 * KIB
#: Bytes that a client may send beyond the request that is answered: pipelined requests, or those after an upgrade
#: request. They are kept until the answer, and the connection is not read meanwhile.
INCOMING_AHEAD_MAX: Final = 64 * KIB
#: Bytes that are read of the rest of a body once its answer is complete: bytes that are left unread would reset the
#: connection, and with it the answer.
REST_MAX: Final = 64 * KIB
#: Time for that rest.
REST_S: Final = 1.0
#: Time without progress of an answer after which a client that has ended its direction counts as gone.
HALF_CLOSED_S: Final = 1.0
#: Jobs that are named in the log because they set cookies that path mode leaves out.
APPS_LOGGED_MAX: Final = 1024
#: Time that traffic waits for the next link to an agent that is away.
ROUTE_LINK_WAIT_S: Final = 2.0
#: Time that traffic waits for a job in PENDING; a job has as long to report its port.
ROUTE_PENDING_WAIT_S: Final = 30.0

# --- the router -----------------------------------------------------------------------------------

#: Searches for a job over all agents that run at once; each asks every agent of ours. Others wait.
LOOKUPS_AT_ONCE: Final = 8
#: Body of a request to the HTTP API that is JSON.
API_BODY_MAX: Final = MIB
#: A message of a client to a process, and a large text that a person pastes into a terminal.
EXEC_MESSAGE_MAX: Final = MIB
#: The least window of an exec: a smaller one would be an acknowledgement for each line.
EXEC_WINDOW_MIN: Final = KIB
#: Bytes of output that a client may let be sent before it has acknowledged them. The router keeps none of them.
EXEC_WINDOW_MAX: Final = 16 * MIB
#: Entries of one page of a list of /v1.
PAGE_MAX: Final = 500
#: Waits for jobs that one token has open at a time over /v1.
API_WAITS_MAX: Final = 100
#: Longest time of such a wait. A client asks again after it.
API_WAIT_MAX_S: Final = 3_600.0
#: Streams of events that are open at once.
EVENT_STREAMS_MAX: Final = 1_000
#: Jobs whose figures are kept though their agents have not listed them yet: the two come in different calls.
FIGURES_UNLISTED_MAX: Final = 1_000
#: Events that are kept for clients that come back.
EVENTS_KEPT: Final = 10_000
#: Memory that they take: an event is mostly the info of a job, of 1 KiB.
EVENTS_KEPT_BYTES: Final = 32 * MIB
#: Time that a reader of events may take none of those that wait for it.
EVENT_STALLED_S: Final = 60.0
#: Characters of a name or a value that agents are compared with for a new job.
WHERE_TEXT_MAX: Final = 256
#: Such names and values of one request. Each is compared with all properties of all agents.
WHERE_TEXTS_MAX: Final = 64
#: Characters of the key of a creation.
CREATION_KEY_MAX: Final = 200
#: Files of one creation; each is a call of the agent.
CREATION_FILES_MAX: Final = 1_000
#: Pages of job_list that are read of one agent when it comes back; a page has up to JOBS_LISTED jobs.
JOB_PAGES_MAX: Final = 1_000
#: Packed size of a job's info that a router keeps. A name has 1 KiB, labels have 10 KiB; of a larger info only the
#: state and the time of creation are kept.
JOB_INFO_KEPT_MAX: Final = 16 * KIB
#: Memory for the jobs of one agent at a router, notes included: 64 MiB of notes, and 65,536 jobs of 1 KiB. Further jobs
#: are not known.
AGENT_JOBS_KEPT_MAX: Final = 128 * MIB
#: Bytes of the name of a token or user: it is the value of a job's label.
SUBJECT_NAME_MAX: Final = 128
#: Characters of an id or a name in a line of the audit log: callers may name a job with any text.
AUDIT_TEXT_MAX: Final = 256
#: Tickets of one job that are valid: a person opens a page some times a day, and a job has 256 notes.
TICKETS_PER_JOB: Final = 64
#: Ports of one ticket.
TICKET_PORTS_MAX: Final = 16
#: Seconds that a ticket is valid: a day of work.
TICKET_TTL_MAX_S: Final = 12 * 3600
#: Seconds in which the address of a ticket can be opened: it may wait in a mail.
TICKET_CODE_MAX_S: Final = 24 * 3600
#: Characters of the creator's own text with a ticket.
TICKET_NOTE_MAX: Final = 256
#: Ids of tickets of one job whose note is gone: their cookies and codes may still be valid by their times.
TICKETS_GONE_MAX: Final = 1024
#: Ids of tickets that this router has made: others have to allow for the difference of two clocks.
TICKETS_MADE_MAX: Final = 65_536
#: Body of a request to enter with a ticket: its code.
ENTER_BODY_MAX: Final = 8 * KIB
#: Characters of a value that is signed. The cookie of a ticket with a subject of 128 bytes and 16 ports has about 800;
#: browsers keep 4 KiB of a cookie.
SIGNED_VALUE_MAX: Final = 3 * KIB
#: Bytes of a request for an agent of a pool, compressed: it is a note of a job.
POOL_NOTE_MAX: Final = 64 * KIB
#: Requests of one pool that have not ended; each is a job on the agent that runs the commands.
POOL_REQUESTS_MAX: Final = 1_000
#: Requests that have ended and are kept, so that their callers learn why. One that has failed is a job of the agent
#: that ran its command.
POOL_ENDED_KEPT: Final = 256
#: Seconds for which the reason is kept that a job got no agent.
POOL_FAILURES_KEPT_S: Final = 3_600.0
#: Times that an agent of a pool is used again; each is a note of its command's job.
POOL_CLAIMS_MAX: Final = 200
