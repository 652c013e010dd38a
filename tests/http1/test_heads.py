from __future__ import annotations

import pytest

from pagent.http1.fields import Framing
from pagent.http1.heads import RequestHead, ResponseHead


def request(method: str) -> RequestHead:
    data = f"{method} / HTTP/1.1\r\nHost: a\r\n\r\n".encode()
    return RequestHead(data, Framing.UNDECIDED, None, True, method, "a")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_a_method_that_expects_a_body_says_that_there_is_none(method: str) -> None:
    head = request(method)
    assert head.bodiless_data() == f"{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n".encode()


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "OPTIONS", "post"])
def test_other_methods_say_nothing(method: str) -> None:
    head = request(method)
    assert head.bodiless_data() is head.data
    assert head.is_head is (method == "HEAD")


def test_a_body_of_unknown_length_is_chunked() -> None:
    assert request("GET").chunked_data() == b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


def test_the_fields_of_a_response_keep_their_order_and_bytes() -> None:
    lines = b"Set-Cookie: a=1\r\nx-empty: \r\nSet-Cookie: b=\xe4\r\n"
    head = ResponseHead(200, lines, Framing.LENGTH, 3, True, None, False)
    assert head.headers == [["Set-Cookie", "a=1"], ["x-empty", ""], ["Set-Cookie", "b=\udce4"]]
    assert ResponseHead(204, b"", Framing.NONE, None, True, None, False).headers == []
