"""Every number that a peer, a job or a client can push against, and why it is what it is.

Sizes are bytes, times are seconds. Values that an operator may change are in the configuration
instead; their defaults are documented there.
"""

from __future__ import annotations

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB

# --- the link -------------------------------------------------------------------------------------

#: Largest message of a job's WebSocket that passes between peers of ours, and largest message that a peer may send: a
#: little is added for the message's own header.
WEBSOCKET_MESSAGE_MAX: Final = 64 * MIB
MESSAGE_MAX: Final = WEBSOCKET_MESSAGE_MAX + KIB

#: Largest message that is sent to a peer without our extensions: newer WebSocket libraries there
#: close the whole link above 4 MiB (spec agent.md, "Streams").
MESSAGE_MAX_FOREIGN: Final = 4 * MIB

#: The largest frame that is received into its own place (a piece of a body with its header), and how much of it has to
#: be missing. One such place is all that a peer can claim without filling it.
DIRECT_FRAME_MAX: Final = 256 * KIB + KIB

#: What a peer that has not been accepted yet can make us hold, and for how long.
HANDSHAKE_MAX: Final = 64 * KIB
HANDSHAKE_TIMEOUT_S: Final = 10.0
HANDSHAKES_WAITING: Final = 64
#: When all places are taken: silent for so long, a connection has to make room if not a byte has come of it (so much in
#: the queue does not count: a client that makes a thousand connections speaks when all are made). If one has, only when
#: the gate was full at so many looks in a row, so far apart, and no peer has got through meanwhile.
PLACE_SILENT_S: Final = 1.0
PLACE_QUEUED_S: Final = 2.0
#: Connections that the kernel holds until they are accepted (its own limit may be lower): more than come at once.
LISTEN_BACKLOG: Final = 4096
#: How long the close of a TLS connection waits for the peer's; and how long what a client sends after it was refused is
#: thrown away: a close with bytes unread would reset the connection, and the answer with it.
TLS_CLOSE_TIMEOUT_S: Final = 1.0
LINGER_S: Final = 1.0
#: A file of tokens: thousands of them. Reading the configuration again: it may be on a file system that hangs.
TOKEN_FILE_MAX: Final = MIB
RELOAD_TIMEOUT_S: Final = 10.0
#: A peer's answer to our upgrade request above this is none, interim ones included.
UPGRADE_ANSWER_MAX: Final = 16 * KIB
#: Frames of a peer before its handshake, none of which is answered, until it is cut off.
HANDSHAKE_FRAMES: Final = 64

#: Between two pings. Data under way counts as a sign of life, so a slow peer is not a dead one.
PING_INTERVAL_S: Final = 10.0
#: Not a byte from the peer for this long: dead.
SILENCE_MAX_S: Final = 90.0
#: Unanswered retransmissions or window probes (TCP_INFO) after which the peer is dead: at the
#: kernel's doubling from 200 ms this is about 25 s.
RETRANSMITS_MAX: Final = 6
#: Dead too with something unanswered for this long: where the kernel waits longer (a long way, a window that has been
#: shut for a while: its probes go on doubling up to 120 s), six take minutes.
UNANSWERED_MAX_S: Final = 30.0
#: The longest that our kernel waits before it asks a silent peer, or a shut window, again; its own limit is 120 s. If
#: it cannot be told so (before Linux 6.15) a peer whose window was shut for minutes may be missed for 95 s.
RETRANSMIT_WAIT_MAX_S: Final = 10.0
#: How long a close waits for the peer's answer before the socket is dropped.
CLOSE_TIMEOUT_S: Final = 5.0
#: What is left to write at the close of a connection to a job waits while the job takes some of it in such a time.
FLUSH_STALLED_S: Final = 60.0

#: Frames, and chunks, of one connection that are dealt with at once: a read can have a hundred thousand empty ones. The
#: next ones wait for a later turn, in which all that was left so has its share of the second: bytes decoded, or what
#: takes as long (so many frames count for the third).
FRAMES_AT_ONCE: Final = 256

#: Bytes in the transport's own buffer above which the link counts as congested. Kept short: what is in
#: there can no longer be overtaken by a small message.
LINK_HIGH_WATER: Final = 256 * KIB
LINK_LOW_WATER: Final = 64 * KIB

#: Unsent bytes of a link above which the peer is not read: answers that it asked for and does not take. Streams stop
#: at the high water; the largest single message fits.
ANSWERS_MAX: Final = MESSAGE_MAX + MIB

# --- calls and streams ----------------------------------------------------------------------------

#: Credit that each direction of each stream starts with (extension ``flow``, spec prpc.md).
STREAM_WINDOW: Final = 256 * KIB
#: What the window of a stream may grow to where the way is long: 8 MiB in 50 ms are 168 MB/s.
STREAM_WINDOW_MAX: Final = 8 * MIB
#: The least that a str or bin counts against credit, and what any other value counts.
MESSAGE_COST_MIN: Final = 64

#: What all buffers of an agent may hold together for receivers that do not take it, unless ``proxy.memory_max`` says
#: otherwise: such a share of the machine's memory, and at least the second.
BUFFERS_SHARE: Final = 8
BUFFERS_LEAST: Final = 256 * MIB
#: What one of them may still take when that is used up, before its data goes to disk or is refused: a message of a few
#: fields, a piece of a larger one, an unfinished one of a WebSocket or of a link (the largest of a peer of the field).
BUFFER_FREE: Final = 4 * KIB
BUFFER_PIECE: Final = 16 * KIB
WEBSOCKET_FREE: Final = 64 * KIB
LINK_FREE: Final = MESSAGE_MAX_FOREIGN
#: What a stream holds in memory for a receiver that does not take it, before it goes to disk.
STREAM_BUFFER: Final = MIB
#: What a spool keeps in memory before it touches the disk: what a job is behind by while the kernel runs its
#: neighbours for a few milliseconds, and the largest message of a foreign peer. All spools together keep no more than
#: the second.
SPOOL_MEMORY: Final = 4 * MIB + 64 * KIB
SPOOL_MEMORY_ALL: Final = 64 * MIB
#: How much of a spool is read at a time, and how much may wait in memory for a disk that is slower than the link,
#: beside the write under way, which has as much again at most.
SPOOL_PENDING_MAX: Final = 8 * MIB
#: A write to a spool that takes longer fails its stream, because the link is slowed down meanwhile.
SPOOL_WRITE_TIMEOUT_S: Final = 5.0

#: Calls of one link that may run at once. A router carries one call per user request, so this is far
#: above what it needs; it bounds what a broken one can make us hold.
CALLS_PER_LINK: Final = 65_536
#: Values on a stream that are neither str nor bin (a size, a list of fields) count 64 bytes of credit however large
#: they are. In memory they take more than on the wire, at worst 60 times (empty arrays); they are counted
#: as so many times.
VALUE_WEIGHT: Final = 8
#: Longest array or map inside a message. A length is only a claim until the elements have come, and msgpack
#: makes room by the claim; the longest honest list is a response's header fields.
ELEMENTS_MAX: Final = 65_536
#: Elements of all arrays and maps of one message together, each of which may take 64 bytes in memory for one on the
#: wire, and up to a microsecond. A result has more room: whoever made the call wants it, and listings of files come so.
MESSAGE_ELEMENTS_MAX: Final = 32_768
RESULT_ELEMENTS_MAX: Final = 1_048_576
#: Bytes of a job's name, which stands in each of its infos.
JOB_NAME_MAX: Final = KIB
#: Infos in one answer of job_list, and what they may come to by their packed size: one message that any peer takes.
JOBS_LISTED: Final = 1000
JOBS_LISTED_BYTES: Final = 3 * MIB
#: Maps in maps of a peer's handshake that the control API shows. Nobody's data goes deeper; it must not end in the
#: recursion limit.
SHOWN_DEPTH_MAX: Final = 32
#: Characters of an error's text that go to a peer; it may hold what the peer sent, which may be a whole message.
ERROR_TEXT_MAX: Final = 4096
#: How long a unary call of ours waits for its result unless its caller says otherwise.
DEFAULT_CALL_TIMEOUT_S: Final = 60.0

# --- HTTP towards jobs ----------------------------------------------------------------------------

#: A response head above this is refused: nginx and Apache stop at 8 to 32 KiB.
RESPONSE_HEAD_MAX: Final = 64 * KIB
RESPONSE_FIELDS_MAX: Final = 256
#: Interim responses (1xx) before a final one. One each second is hours; a flood of them is read for some 20 ms.
INTERIM_MAX: Final = 10_000
#: A request head that we would write above this is refused before it is sent.
REQUEST_HEAD_MAX: Final = 64 * KIB
#: Fields of one request: more than any server takes (Apache 100, nginx and node some hundreds to 2000).
REQUEST_FIELDS_MAX: Final = 2048
#: The largest Content-Length: what a signed 64-bit file offset can say; and the longest such field, a list of the same.
BODY_LENGTH_MAX: Final = 2**63 - 1
LENGTH_LIST_MAX: Final = 256
#: As much of a request is remembered, so that it can be sent again if a kept connection turns out to be closed.
REPEAT_MAX: Final = 64 * KIB
#: What the Connection fields of one message may name, all together: nobody names more than two or three fields.
CONNECTION_FIELD_MAX: Final = 8 * KIB
#: A chunk's size line with its extensions, which nobody uses; and the trailers behind the last chunk.
CHUNK_LINE_MAX: Final = 1 * KIB
TRAILERS_MAX: Final = 16 * KIB
#: Content codings one over the other. Nobody has a use for two; each multiplies the ratio of a bomb.
CONTENT_CODINGS_MAX: Final = 2
#: The same for zstandard, which gives all that it can at once: blocks of 4 bytes that stand for 128 KiB each, so 2 MiB.
#: And the window that a frame may ask for (RFC 9659).
ZSTD_WINDOW_MAX: Final = 8 * MIB
#: Pings of a job that does not read which are answered once it reads again; of more, the latest.
PINGS_KEPT: Final = 64
#: How much of the body of a refused WebSocket upgrade goes into the error text.
REFUSAL_TEXT_MAX: Final = 512
#: Idle connections kept for one port of a job, and how long. Shorter than the 5 s that node closes its
#: side after, so that a request seldom meets a connection that is just being closed.
IDLE_PER_PORT: Final = 1024
IDLE_TIMEOUT_S: Final = 4.0
#: Waiting for a job's port to accept a connection. Loopback accepts or refuses at once; a full backlog
#: retries after 1, 3 and 7 s.
CONNECT_TIMEOUT_S: Final = 10.0
#: Bytes towards a job's port in the transport's buffer above which its stream stops taking more.
PORT_HIGH_WATER: Final = 64 * KIB
PORT_LOW_WATER: Final = 16 * KIB

# --- threads --------------------------------------------------------------------------------------

#: Threads of one pool, and of one job's share of it, that may wait for a system that gives no answer, before further
#: work is refused at once. Each holds its stack and what its work holds open.
STUCK_THREADS: Final = 64
STUCK_THREADS_SHARE: Final = 4

# --- files ----------------------------------------------------------------------------------------

#: Bytes of a peer's path; the kernel's own PATH_MAX, kept here because a walk by components has none.
PATH_MAX: Final = 4095

#: A file system that has not answered for so long is given up, and the call fails; slow ones answer within seconds. The
#: end of an upload waits longer: a network file system writes only then what it has kept in memory.
DISK_ANSWER_S: Final = 30.0
DISK_COMMIT_S: Final = 120.0
#: The end of a transfer waits so long for its clean-up, which goes on by itself.
DISK_END_S: Final = 2.0
#: What a download or archive hands out in one stream message (contract, spec agent.md part 1).
CHUNK_MAX: Final = MIB
#: Pieces of an upload below this are joined. And what it may be ahead of the disk, half of it being written: then
#: throughput does not depend on how soon the thread wakes up.
DISK_BEHIND: Final = 4 * MIB
#: What a listing may come to, by its packed size: one message that any peer takes (MESSAGE_MAX_FOREIGN).
LISTING_BYTES: Final = 3 * MIB
#: Entries of one listing at most: an array of a message has a bound, too (ELEMENTS_MAX).
LISTING_ENTRIES: Final = 32_768
#: Names that a walk holds of folders that it is in; beyond it folders are read again later.
WALK_NAMES: Final = 65_536
#: The longest file that any file system has: a signed 64-bit offset.
FILE_SIZE_MAX: Final = 2**63 - 1
#: Bytes of one file's holes that one call reads, sends or hashes as zeros, and that an archive has, all files together,
#: for a peer that is not ours: beyond it the archive has sparse files as GNU tar writes them.
HOLES_READ_MAX: Final = 64 * GIB
ARCHIVE_HOLES: Final = 256 * MIB
#: Entries that were skipped, or could not be read, whose names are told; the others are counted.
SKIPPED_NAMES: Final = 100
#: Length of an archive's mask; matching takes time quadratic in it.
MASK_MAX: Final = 1024

#: Entries of an archive, both ways; a large source tree with its dependencies has 200,000.
ARCHIVE_ENTRIES: Final = 1_000_000
#: What an archive may unpack to, holes of sparse files included.
ARCHIVE_BYTES: Final = 64 * GIB
#: How often its size a compressed archive may unpack to, looked at above so many bytes (zeros by gzip: 1030).
ARCHIVE_RATIO: Final = 1000
ARCHIVE_RATIO_FROM: Final = 256 * MIB
#: Folders in folders.
ARCHIVE_DEPTH: Final = 256
#: One extended header (long names, sparse maps), which is gathered in memory.
ARCHIVE_HEADER_MAX: Final = MIB
#: Data runs of one sparse file.
ARCHIVE_EXTENTS: Final = 65_536
#: What is remembered of entries: folders whose mode and time are set last, and what a download found.
ARCHIVE_MEMORY: Final = 64 * MIB
#: The dictionary that an xz archive may ask for; `xz -9` needs 65 MiB.
ARCHIVE_XZ_MEMORY: Final = 80 * MIB

# --- the log --------------------------------------------------------------------------------------

#: Lines waiting for whoever reads the log; beyond it they are dropped and counted. Some thousand lines
#: ride out a pause of a reader, and no more memory goes to one that has stopped.
LOG_QUEUE_MAX: Final = MIB
#: One line; a peer's text can be as long as a message.
LOG_LINE_MAX: Final = 8 * KIB
#: Lines of one kind (logger, level, format string) that are logged at once, and then one each so many seconds: enough
#: to see what goes on, and 10,000 hostile events are some twenty lines.
LOG_BURST: Final = 20
LOG_REPEAT_S: Final = 5.0
#: Kinds that are remembered. The program has some hundred.
LOG_KINDS: Final = 1024

# --- jobs -----------------------------------------------------------------------------------------

#: Ports that one job may be started to report. Programs of several services have a handful.
PORTS_PER_JOB: Final = 64
#: Characters of the arguments and variables of one start, and places for ports in them. Linux takes as many bytes with
#: the usual limit of the stack (execve(2)).
COMMAND_MAX: Final = 2 * MIB
COMMAND_PLACES_MAX: Final = 1000
#: What ``pagent run`` keeps of each output of its job that nobody has read yet, about; the oldest half goes then.
RUN_OUTPUT_MAX: Final = GIB
#: The longest times that a caller may ask for: past these a number is a mistake, not a wish.
READY_TIMEOUT_MAX_S: Final = 86_400.0
#: How long a job may take to get ready unless its starter says otherwise (spec agent.md, part 1).
READY_TIMEOUT_S: Final = 30.0
GRACE_MAX_S: Final = 3_600.0
RUN_TIMEOUT_MAX_S: Final = 366 * 86_400.0
LINGER_MAX_S: Final = 30 * 86_400.0
#: From TERM to KILL, unless the caller says otherwise (spec agent.md, "End").
TERM_GRACE_S: Final = 5.0
#: How long processes may take to go after SIGKILL. Only one that hangs in the kernel is still there then.
KILL_WAIT_S: Final = 10.0
#: Rounds of stopping what a tree has forked meanwhile, before what is stopped is killed.
FREEZE_ROUNDS: Final = 32
#: What the look at the sockets of jobs' processes may take; after it a port is taken for the job's.
PORT_CHECK_S: Final = 5.0
#: Between two looks at processes whose supervisor was killed.
EXIT_POLL_S: Final = 0.05
#: Silence of a job's output after the exit of its main process, after which the rest of its tree gets TERM; and the
#: most that the rest is given if it goes on writing, which is at most the grace. Output that a pipeline hands on after
#: the exit comes within milliseconds, on a loaded machine within tenths of a second.
OUTPUT_QUIET_S: Final = 0.5
OUTPUT_TAIL_MAX_S: Final = 5.0
#: Offset in a job's output: more than a file holds, and a read of any size behind it is still a valid one.
LOG_OFFSET_MAX: Final = 2**62
#: Bytes of the records of a dead agent's jobs that are read: 65,536 jobs. A job of the same user may write there, too.
RECORDS_MAX_BYTES: Final = 8 * MIB

# --- job_exec -------------------------------------------------------------------------------------

#: Input that waits for a process that does not read, above which its stream is held; one read of its output; and what
#: is written to it in one turn of the loop.
EXEC_INPUT_MAX: Final = 64 * KIB
#: Rows or columns of a terminal: the kernel keeps 16 bits of each.
TERMINAL_SIZE_MAX: Final = 65_535
