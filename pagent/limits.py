"""The numbers that a peer, a job or a client can push against, each with its reason.

Sizes are bytes, times are seconds. What an operator may change is in the configuration instead (`pagent.config.model`).
A constant that only tunes the code stands beside that code.
"""

from __future__ import annotations

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB

# --- the link -------------------------------------------------------------------------------------

#: Largest message of a job's WebSocket that is carried between two agents of this project, or an agent and its client.
WEBSOCKET_MESSAGE_MAX: Final = 64 * MIB
#: Largest message that a peer may send: the former, and room for the header of the message.
MESSAGE_MAX: Final = WEBSOCKET_MESSAGE_MAX + KIB
#: Largest message sent to a peer without extensions. Its WebSocket library may close the whole link above 4 MiB
#: (docs/contract.rst, "Streams").
MESSAGE_MAX_FOREIGN: Final = 4 * MIB
#: Largest frame that gets a separate buffer as soon as its header is there. A peer can claim one without filling it.
DIRECT_FRAME_MAX: Final = 256 * KIB + KIB
#: Frames of one connection, or chunks of one body, that are decoded at once; the next ones wait for a later loop
#: iteration. One read can have a hundred thousand empty ones.
FRAMES_AT_ONCE: Final = 256
#: Bytes in the transport above which a link counts as congested. Small messages cannot overtake these bytes.
LINK_HIGH_WATER: Final = 256 * KIB
#: Bytes in the transport below which the streams of a link resume.
LINK_LOW_WATER: Final = 64 * KIB
#: Unsent bytes above which a link is not read: answers that the peer asked for and does not take. Streams stop at the
#: high-water mark, and the largest single message fits.
ANSWERS_MAX: Final = MESSAGE_MAX + MIB

# --- connections that are not authenticated -------------------------------------------------------

#: Bytes that an unauthenticated peer can make the agent hold.
HANDSHAKE_MAX: Final = 64 * KIB
#: Time that a handshake may take, so that an unauthenticated peer does not keep its place.
HANDSHAKE_TIMEOUT_S: Final = 10.0
#: Unauthenticated connections of one port that are open at a time.
HANDSHAKES_WAITING: Final = 64
#: Frames of an unauthenticated peer, none of which is answered, until its connection is closed.
HANDSHAKE_FRAMES: Final = 64
#: When all places are taken: a connection that has sent nothing for this time has to make room.
PLACE_SILENT_S: Final = 1.0
#: Of the silence of a connection, the time in the kernel's queue that does not count: a client that opens a thousand
#: connections sends only when all are open.
PLACE_QUEUED_S: Final = 2.0
#: When all places are taken: a connection whose first bytes are still a part of a request head or of a TLS ClientHello
#: after this time has to make room. A client sends each of them in one piece.
PLACE_PARTIAL_S: Final = 0.25
#: When all places are taken: a connection that sends bytes which complete no step of its handshake for this time has to
#: make room.
PLACE_DRIP_S: Final = 0.5
#: Bytes per second that count as the body of a request under way, and not as dripping.
PLACE_UPLOAD_RATE: Final = 8 * KIB
#: Connections that the kernel holds until they are accepted, unless its own limit is lower. More do not come at once.
LISTEN_BACKLOG: Final = 4096
#: Time that the close of a TLS connection waits for the peer's.
TLS_CLOSE_TIMEOUT_S: Final = 1.0
#: Time for which the input of a refused client is discarded. A close with unread bytes would reset the connection, and
#: the client would lose the answer.
LINGER_S: Final = 1.0
#: Size of a file of tokens: thousands of them.
TOKEN_FILE_MAX: Final = MIB
#: Bytes of the join data of an agent, which are the standard input of a job.
JOIN_DATA_MAX: Final = 64 * KIB
#: Characters of the token or credential that a joined agent presents to routers.
JOIN_TOKEN_MAX: Final = 4 * KIB
#: Time to read the configuration again: it may be on a file system that hangs.
RELOAD_TIMEOUT_S: Final = 10.0
#: Bytes of a peer's answer to an upgrade request, interim responses included, or of a proxy's answer to CONNECT.
UPGRADE_ANSWER_MAX: Final = 16 * KIB

# --- liveness -------------------------------------------------------------------------------------

#: Time between two pings. Data under way counts as a sign of life, so a slow peer is not taken for a dead one.
PING_INTERVAL_S: Final = 10.0
#: A peer that sends nothing for this time is dead.
SILENCE_MAX_S: Final = 90.0
#: Unanswered retransmissions or window probes (TCP_INFO) after which a peer is dead. The kernel doubles its wait from
#: 200 ms, so these take about 25 s.
RETRANSMITS_MAX: Final = 6
#: A peer that leaves something unanswered for this time is dead, too. Where the kernel waits longer (a long round trip,
#: a window that was shut for a while), six retransmissions take minutes.
UNANSWERED_MAX_S: Final = 30.0
#: Longest wait of our kernel between two retransmissions or probes; its own limit is 120 s. Before Linux 6.15 it cannot
#: be set, and the death of a peer whose window was shut for minutes may be noticed 95 s late.
RETRANSMIT_WAIT_MAX_S: Final = 10.0
#: Time that a close waits for the peer's answer before the socket is dropped.
CLOSE_TIMEOUT_S: Final = 5.0
#: Time in which a job has to take some of the remaining bytes when its connection is closed.
FLUSH_STALLED_S: Final = 60.0

# --- calls and streams ----------------------------------------------------------------------------

#: Calls of one link at a time. A router carries one for each user's request, so an honest one stays far below.
CALLS_PER_LINK: Final = 65_536
#: Calls of one client of a router at a time. They become calls of the agents' links, which other users have as well.
CALLS_PER_CLIENT: Final = 8_192
#: Time that a unary call waits for its result unless its caller sets another.
DEFAULT_CALL_TIMEOUT_S: Final = 60.0
#: Credit that each direction of each stream begins with (docs/protocol.rst, "``flow``: credit for each stream").
STREAM_WINDOW: Final = 256 * KIB
#: Largest window of a stream, which grows where the round trip is long: 8 MiB in 50 ms are 168 MB/s.
STREAM_WINDOW_MAX: Final = 8 * MIB
#: Least credit that a str or bin takes, and the credit that any other value takes.
MESSAGE_COST_MIN: Final = 64
#: Factor between the size of a value that is neither str nor bin and the memory that is counted for it. Empty arrays
#: take 60 times their size; such a value takes 64 bytes of credit however large it is.
VALUE_WEIGHT: Final = 8
#: Elements of one array or map of a message. msgpack makes room by the length that the peer claims; the longest honest
#: list is the header fields of a response.
ELEMENTS_MAX: Final = 65_536
#: Elements of all arrays and maps of one message together. One takes up to 64 bytes of memory for a byte on the wire,
#: and up to a microsecond.
MESSAGE_ELEMENTS_MAX: Final = 32_768
#: The same for the result of a call: the caller asked for it, and listings of files are that long.
RESULT_ELEMENTS_MAX: Final = 1_048_576
#: Characters of an error's text that are sent to a peer. The text may quote a whole message of the peer.
ERROR_TEXT_MAX: Final = 4096
#: Bytes of a job's name, which is part of each info about the job.
JOB_NAME_MAX: Final = KIB
#: Labels that a caller may give a job: Kubernetes objects have about as many.
LABELS_MAX: Final = 16
#: Labels that a router adds, which begin with ``pagent/``.
ROUTER_LABELS_MAX: Final = 16
#: Bytes of a label's value. Each info has them all.
LABEL_VALUE_MAX: Final = 256
#: Uids of removed jobs that are remembered, so that a repeated creation does not make the job anew.
REMOVED_UIDS: Final = 65_536
#: Time for which they are: longer than any caller repeats a creation.
REMOVED_UIDS_S: Final = 600.0
#: Characters of a note's name.
NOTE_NAME_MAX: Final = 64
#: Bytes of a note: a ticket or a request has some hundred, the output of a failed command some thousand.
NOTE_VALUE_MAX: Final = 64 * KIB
#: Notes of one job: as many tickets may be valid.
NOTES_PER_JOB: Final = 256
#: Bytes of the notes of one job.
NOTES_BYTES_PER_JOB: Final = 256 * KIB
#: Notes of all jobs of an agent: each takes some 400 bytes besides its value, and a new watcher is sent them all.
NOTES_COUNT: Final = 65_536
#: Bytes of the notes of all jobs of an agent.
NOTES_BYTES: Final = 64 * MIB
#: Jobs that have ended or were removed which are remembered: a router lists them for their users.
ENDED_JOBS: Final = 1000
#: Time for which they are.
ENDED_JOBS_S: Final = 86_400.0
#: Bytes of the end of their standard error that are remembered: the message of a failed program.
ENDED_STDERR: Final = 4 * KIB
#: Infos in one message of agent_watch.
JOBS_WATCHED: Final = 100
#: Shortest interval of the host's figures in agent_watch: they are read anew once a second.
WATCH_INTERVAL_MIN_S: Final = 0.1
#: Interval of the host's figures unless the caller sets another (docs/contract.rst, "Host").
WATCH_INTERVAL_S: Final = 10.0
#: Shortest interval of job_figures: each time all jobs of the agent are looked at.
FIGURES_INTERVAL_MIN_S: Final = 0.5
#: Interval of job_figures unless the caller sets another (docs/contract.rst, "Host").
FIGURES_INTERVAL_S: Final = 2.0
#: Infos in one answer of job_list.
JOBS_LISTED: Final = 1000
#: Packed size of one answer of job_list: one message that any peer takes.
JOBS_LISTED_BYTES: Final = 3 * MIB
#: Depth of maps in a peer's handshake that the control API prints. It must not end in the recursion limit.
INFO_DEPTH_MAX: Final = 32

# --- memory of streams ----------------------------------------------------------------------------

#: All buffers of an agent together hold at most the machine's memory divided by this for receivers that do not take
#: it, unless ``proxy.memory_max`` is set.
BUFFERS_SHARE: Final = 8
#: The least of that limit, for a machine of little memory.
BUFFERS_LEAST: Final = 256 * MIB
#: Bytes that each stream may still take when all buffers are full: a message of a few fields.
BUFFER_FREE: Final = 4 * KIB
#: Pieces that such a stream takes a larger message in: its receiver can pause after each.
BUFFER_PIECE: Final = 4 * KIB
#: Bytes that the unfinished message of a job's WebSocket may still take then.
WEBSOCKET_FREE: Final = 64 * KIB
#: Bytes that the unfinished message of a link may still take then: the largest message of a peer without extensions.
LINK_FREE: Final = MESSAGE_MAX_FOREIGN
#: Bytes that a stream holds in memory for a receiver that does not take them, before they go to disk.
STREAM_BUFFER: Final = MIB
#: Bytes that a spool keeps in memory before it uses the disk: data that a job has not read while other processes run
#: for a few milliseconds, and the largest message of a peer without extensions.
SPOOL_MEMORY: Final = 4 * MIB + 64 * KIB
#: Bytes that all spools together keep in memory.
SPOOL_MEMORY_ALL: Final = 64 * MIB
#: Bytes that a spool keeps in memory for a disk that is slower than the link. The write under way has the same again.
SPOOL_PENDING_MAX: Final = 8 * MIB
#: Time of a write to a spool after which its stream fails: the link is slowed down meanwhile.
SPOOL_WRITE_TIMEOUT_S: Final = 5.0

# --- HTTP towards jobs ----------------------------------------------------------------------------

#: Size of a response head. nginx and Apache refuse more than 8 to 32 KiB.
RESPONSE_HEAD_MAX: Final = 64 * KIB
#: Fields of a response head, or of trailers.
RESPONSE_FIELDS_MAX: Final = 256
#: Interim responses (1xx) before a final one. With one each second these are hours; as a flood they take some 20 ms.
INTERIM_MAX: Final = 10_000
#: Size of a request head: a larger one is refused before it is sent.
REQUEST_HEAD_MAX: Final = 64 * KIB
#: Fields of one request: more than any server takes (Apache 100, nginx and node some hundreds to 2000).
REQUEST_FIELDS_MAX: Final = 2048
#: Largest Content-Length: the largest file offset, a signed 64-bit number.
BODY_LENGTH_MAX: Final = 2**63 - 1
#: Bytes of a Content-Length field, which may be a list of equal numbers.
LENGTH_LIST_MAX: Final = 256
#: Bytes of a request that are remembered, to send it again if a kept connection turns out to be closed.
REPEAT_MAX: Final = 64 * KIB
#: Bytes of all Connection fields of one message. Honest ones name two or three fields.
CONNECTION_FIELD_MAX: Final = 8 * KIB
#: Bytes of a chunk's size line with its extensions, which honest servers do not use.
CHUNK_LINE_MAX: Final = 1 * KIB
#: Bytes of the trailers after the last chunk.
TRAILERS_MAX: Final = 16 * KIB
#: Content codings applied in a row. More than one is not in use, and each multiplies the ratio of a bomb.
CONTENT_CODINGS_MAX: Final = 2
#: Window that a zstandard frame may ask for (RFC 9659).
ZSTD_WINDOW_MAX: Final = 8 * MIB
#: Pings of a job that does not read which are answered when it reads again: the latest ones.
PINGS_KEPT: Final = 64
#: Bytes of the body of a refused WebSocket upgrade that become part of the error text.
REFUSAL_TEXT_MAX: Final = 512
#: Idle connections kept for one port of a job.
IDLE_PER_PORT: Final = 1024
#: Time that an idle connection is kept. node closes its side after 5 s, so a request seldom meets a connection that is
#: being closed.
IDLE_TIMEOUT_S: Final = 4.0
#: Time that a job's port may take to accept a connection. Loopback accepts or refuses at once; with a full backlog the
#: kernel tries again after 1, 3 and 7 s.
CONNECT_TIMEOUT_S: Final = 10.0
#: Bytes in the transport towards a job's port above which its stream pauses.
PORT_HIGH_WATER: Final = 64 * KIB
#: Bytes in the transport towards a job's port below which its stream resumes.
PORT_LOW_WATER: Final = 16 * KIB

# --- threads --------------------------------------------------------------------------------------

#: Threads of one pool that may wait for a system that gives no answer, before further work is refused at once. Each
#: holds its stack and the descriptors of its work.
STUCK_THREADS: Final = 64
#: The same for the work of one job, so that the others have threads left.
STUCK_THREADS_SHARE: Final = 4

# --- files ----------------------------------------------------------------------------------------

#: Bytes of a peer's path: the kernel's PATH_MAX, which does not apply to a path that is opened by components.
PATH_MAX: Final = 4095
#: Time after which a file system that does not answer is given up and the call fails. Slow ones answer within seconds.
DISK_ANSWER_S: Final = 30.0
#: The same for the end of an upload: a network file system writes the data that it has kept in memory only then.
DISK_COMMIT_S: Final = 120.0
#: Time that the end of a transfer waits for its clean-up, which continues by itself.
DISK_END_S: Final = 2.0
#: Size of a chunk of a download or archive (docs/contract.rst, "Files").
CHUNK_MAX: Final = MIB
#: Bytes of an upload that wait for the disk; half of them are being written, so the throughput does not depend on how
#: soon the thread wakes up.
UPLOAD_PENDING_MAX: Final = 4 * MIB
#: Packed size of a listing: one message that any peer takes.
LISTING_BYTES: Final = 3 * MIB
#: Entries of one listing: fewer than an array may have (ELEMENTS_MAX).
LISTING_ENTRIES: Final = 32_768
#: Names that a walk holds of the folders that it is in. Of larger folders it reads the rest later.
WALK_NAMES: Final = 65_536
#: Length of the longest file: a signed 64-bit offset.
FILE_SIZE_MAX: Final = 2**63 - 1
#: Bytes of one file's holes that one call reads, sends or hashes as zeros.
HOLES_READ_MAX: Final = 64 * GIB
#: Bytes of holes that an archive has as zeros, all files together, for a peer without the extension ``holes``. Later
#: sparse files are packed as GNU tar does.
ARCHIVE_HOLES: Final = 256 * MIB
#: Skipped entries whose names are reported; the others are counted.
SKIPPED_NAMES: Final = 100
#: Characters of an archive's mask. Matching takes time quadratic in it.
MASK_MAX: Final = 1024
#: Entries of an archive, both ways. A large source tree with its dependencies has 200,000.
ARCHIVE_ENTRIES: Final = 1_000_000
#: Names that a caller may give for one archive: with names of 255 bytes the call is a message that any peer takes.
ARCHIVE_NAMES: Final = 10_000
#: Bytes that an archive may unpack to, holes of sparse files included.
ARCHIVE_BYTES: Final = 64 * GIB
#: Ratio between the unpacked and the compressed size of an archive. gzip has 1030 for zeros.
ARCHIVE_RATIO: Final = 1000
#: Unpacked bytes from which the ratio is checked.
ARCHIVE_RATIO_FROM: Final = 256 * MIB
#: Folders in folders of an archive.
ARCHIVE_DEPTH: Final = 256
#: Bytes of one extended header (long names, sparse maps), which is gathered in memory.
ARCHIVE_HEADER_MAX: Final = MIB
#: Data extents of one sparse file.
ARCHIVE_EXTENTS: Final = 65_536
#: Memory for notes on the entries of one archive: folders whose mode and time are set at its end, or what
#: the walk of a download has noted.
ARCHIVE_MEMORY: Final = 64 * MIB
#: Memory that the decoder of an xz archive may use; ``xz -9`` needs 65 MiB.
ARCHIVE_XZ_MEMORY: Final = 80 * MIB

# --- the log --------------------------------------------------------------------------------------

#: Bytes of lines that wait until the log is read; further lines are dropped and counted. Some thousand lines bridge a
#: pause of the reader.
LOG_QUEUE_MAX: Final = MIB
#: Bytes of one line. A peer's text can be as long as a message.
LOG_LINE_MAX: Final = 8 * KIB
#: Lines of one kind (logger, level, format string) that are logged at once.
LOG_BURST: Final = 20
#: After these, time between two lines of one kind: 10,000 hostile events become some twenty lines.
LOG_REPEAT_S: Final = 5.0
#: Kinds of lines that are remembered. The program has some hundred.
LOG_KINDS: Final = 1024

# --- jobs -----------------------------------------------------------------------------------------

#: Ports that one job may be started to report. Programs of several services have a handful.
PORTS_PER_JOB: Final = 64
#: Characters of the arguments and variables of one start. Linux takes as many bytes with the usual limit of the stack
#: (execve(2)).
COMMAND_MAX: Final = 2 * MIB
#: Placeholders for ports in the arguments and variables of one start.
COMMAND_PLACES_MAX: Final = 1000
#: Bytes that ``pagent run`` keeps of each output of its job until they are read, about. It drops the oldest half.
RUN_OUTPUT_MAX: Final = GIB
#: Bytes of the standard input of a start: a script or the settings of a program. A pipe holds as many.
STDIN_MAX: Final = 64 * KIB
#: Longest time to get ready that a caller may set; a larger number is a mistake.
READY_TIMEOUT_MAX_S: Final = 86_400.0
#: Time to get ready unless the caller sets another (docs/contract.rst, "Jobs").
READY_TIMEOUT_S: Final = 30.0
#: Longest grace period that a caller may set.
GRACE_MAX_S: Final = 3_600.0
#: Longest run time, time without use, life of a note or interval of a watch that a caller may set.
RUN_TIMEOUT_MAX_S: Final = 366 * 86_400.0
#: Longest time without a link after which a caller may have a job ended.
LINGER_MAX_S: Final = 30 * 86_400.0
#: Grace period from TERM to KILL unless the caller sets another (docs/contract.rst, "End").
TERM_GRACE_S: Final = 5.0
#: Time that processes may take to end after KILL. Only one that hangs in the kernel is alive then.
KILL_WAIT_S: Final = 10.0
#: Times that the new processes of a job tree are stopped, before the stopped ones are killed.
FREEZE_ROUNDS: Final = 32
#: Time to find out which process of which job listens on a port; after it the port is taken for the job's.
PORT_CHECK_S: Final = 5.0
#: Silence of a job's output after the exit of its main process, until the rest of its tree gets TERM. Output that a
#: pipeline passes on after the exit comes within milliseconds, or tenths of a second under load.
OUTPUT_QUIET_S: Final = 0.5
#: Longest time that the rest of the tree is given while it keeps writing, and at most the grace period.
OUTPUT_TAIL_MAX_S: Final = 5.0
#: Offset in a job's output: more than a file holds, and the end of a read of any size is still a valid offset.
LOG_OFFSET_MAX: Final = 2**62
#: Bytes of the records of a dead agent's jobs that are read: 65,536 jobs. A job of the same user may write there, too.
RECORDS_MAX_BYTES: Final = 8 * MIB
#: Bytes of input that wait for a process of job_exec that does not read; then its stream pauses.
EXEC_INPUT_MAX: Final = 64 * KIB
#: Rows or columns of a terminal: the kernel keeps 16 bits of each.
TERMINAL_SIZE_MAX: Final = 65_535
