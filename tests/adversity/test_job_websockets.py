"""Promise "HTTP towards jobs", of WebSockets: a job that violates RFC 6455 gets the close code, and affects no other.

One job plays all rows. Each is followed by a good WebSocket of the same job.
"""

from __future__ import annotations

from tests.kit.peer import BISTREAM, Peer
from tests.kit.programs import serving, start_program

#: Opens a WebSocket for /play/HEX, sends "hi" and these bytes, and keeps the received ones for /said/HEX.
PLAYER = serving("""
import base64, collections, hashlib, re
said = collections.defaultdict(asyncio.Future)
async def serve(reader, writer):
    head = await reader.readuntil(b"\\r\\n\\r\\n")
    _, kind, data = head.split()[1].decode().split("/")
    if kind == "said":
        body = await said[data]
        writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\nConnection: close\\r\\n\\r\\n" % len(body) + body)
        return writer.close()
    key = re.search(rb"sec-websocket-key: (\\S+)", head, re.I)[1] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    accept = base64.b64encode(hashlib.sha1(key).digest())
    writer.write(b"HTTP/1.1 101 x\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\n")
    writer.write(b"Sec-WebSocket-Accept: " + accept + b"\\r\\n\\r\\n\\x81\\x02hi" + bytes.fromhex(data))
    said[data].set_result(await reader.read())
    writer.close()
""")

#: The case (sections of RFC 6455), the bytes that the job sends, the code of the close that it gets.
ROWS: list[tuple[str, bytes, int]] = [
    ("5.2: a reserved bit", b"\xc1\x00", 1002),
    ("5.2: all of them", b"\xf2\x01x", 1002),
    ("5.2: a reserved opcode", b"\x83\x00", 1002),
    ("5.2: a reserved control opcode", b"\x8b\x00", 1002),
    ("5.2: a length in 2 bytes that 1 would hold", b"\x82\x7e\x00\x7d", 1002),
    ("5.2: a length in 8 bytes that 2 would hold", b"\x82\x7f\x00\x00\x00\x00\x00\x00\xff\xff", 1002),
    ("5.2: a length of 64 bits", b"\x82\x7f" + b"\xff" * 8, 1002),
    ("5.1: masked by a server", b"\x82\x81abcd?", 1002),
    ("5.4: a continuation of nothing", b"\x80\x01x", 1002),
    ("5.4: a message within another", b"\x01\x01x\x81\x01x", 1002),
    ("5.5: a ping in fragments", b"\x09\x00", 1002),
    ("5.5: a ping of 126 bytes", b"\x89\x7e\x00\x7e" + b"x" * 126, 1002),
    ("5.5.1: half a close code", b"\x88\x01\x03", 1002),
    ("7.4.1: a close with 1005", b"\x88\x02\x03\xed", 1002),
    ("7.4.2: a close with 5000", b"\x88\x02\x13\x88", 1002),
    ("5.5.1: a reason that is no text", b"\x88\x03\x03\xe8\xff", 1007),
    ("8.1: no text", b"\x81\x01\xff", 1007),
    ("8.1: a surrogate", b"\x81\x03\xed\xa0\x80", 1007),
    ("8.1: cut within a letter", b"\x01\x01\xc3\x80\x00", 1007),
    ("8.1: no text, whatever follows", b"\x81\x7e\x01\x00\xff", 1007),
    ("7.4.1: too large", b"\x82\x7f" + (1 << 40).to_bytes(8, "big"), 1009),
    ("5.5.1: a close", b"\x88\x05\x0f\xa0bye\x81\x01x", 4000),
]


async def test_a_violation_is_closed_with_its_code_and_affects_no_other(peer: Peer) -> None:
    job = await start_program(peer, PLAYER)
    wrong = []
    for number, (name, sent, code) in enumerate(ROWS):
        values, result, said = await play(peer, job, sent)
        # No other frame than a close, masked as a client's are.
        closed = said[0] == 0x88 and said[1] & 0x80 and len(said) == 6 + (said[1] & 0x7F) and unmasked_code(said)
        good, _, pong = await play(peer, job, b"\x89\x01%c\x82\x01!\x88\x00" % number)
        if (values, result["code"], closed) != (["hi"], code, code) or good != ["hi", b"!"] or pong[:2] != b"\x8a\x81":
            wrong.append((name, values, result, said, good, pong))
    assert wrong == []


async def play(peer: Peer, job: str, sent: bytes) -> tuple[list[object], dict[str, object], bytes]:
    """Open a WebSocket on which the job sends this; return the messages, the result, and the bytes that the job got."""
    call = await peer.start(BISTREAM, "ws_connect", job, f"/play/{sent.hex()}", [], [], subprotocols=[])
    (answer, *values), result = await peer.outcome(call)
    assert answer == {"subprotocol": None}
    return values, result, b"".join((await peer.http(job, "GET", f"/said/{sent.hex()}"))[2])


def unmasked_code(frame: bytes) -> int:
    """The code of a masked close frame."""
    return int.from_bytes(bytes(byte ^ key for byte, key in zip(frame[6:8], frame[2:4], strict=True)), "big")
