from __future__ import annotations

from pathlib import Path

import pytest

from pagent.cli.failure import CommandFailed, exit_code_of, message_of, start_failure, system_reason
from pagent.errors import MethodError


async def succeed() -> int:
    return 7


async def fail(error: Exception) -> int:
    raise error


async def test_the_exit_code_of_work() -> None:
    assert await exit_code_of(succeed()) == 7


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (CommandFailed("the reason", 126), 126, "the reason"),
        (MethodError("all of it", "ValueError", "the reason"), 1, "the reason"),
        (OSError(28, "No space left on device"), 1, "No space left on device (pagent help disk-full)"),
        (OSError(28, "No space left on device", "out"), 1, "out: No space left on device (pagent help disk-full)"),
    ],
)
async def test_a_failure_is_printed(error: Exception, code: int, text: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert await exit_code_of(fail(error)) == code
    assert capfd.readouterr().err == f"pagent: {text}\n"


async def test_a_reader_that_wants_no_more_is_no_failure(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BrokenPipeError):
        await exit_code_of(fail(BrokenPipeError(32, "Broken pipe")))
    assert capfd.readouterr().err == ""


async def test_a_bug_is_not_swallowed() -> None:
    with pytest.raises(RuntimeError):
        await exit_code_of(fail(RuntimeError("a bug")))


def test_the_text_of_a_method_is_its_message() -> None:
    assert message_of(MethodError("text", "ValueError", None)) == "text"


def test_the_address_before_a_reason_of_the_system_is_left_out() -> None:
    error = OSError(98, "error while attempting to bind on address ('127.0.0.1', 80): address already in use")
    assert system_reason(error) == "address already in use"


@pytest.mark.parametrize(
    ("program", "cause", "code", "words"),
    [
        ("serve", "FileNotFoundError", 127, "write ./serve"),
        ("missing", "FileNotFoundError", 127, "command not found; is it installed"),
        ("./missing", "FileNotFoundError", 127, "no such file in "),
        ("./serve", "FileNotFoundError", 127, "the interpreter that its first line names"),
        ("./serve", "PermissionError", 126, "run chmod [+]x ./serve"),
        ("./folder", "PermissionError", 126, "it is a folder"),
    ],
)
def test_advice_for_a_failed_start(tmp_path: Path, program: str, cause: str, code: int, words: str) -> None:
    (tmp_path / "serve").write_text("#!/no/such/interpreter\n")
    (tmp_path / "folder").mkdir()
    failure = start_failure(MethodError("text", cause, "text"), program, str(tmp_path))
    assert isinstance(failure, CommandFailed)
    assert failure.code == code
    with pytest.raises(CommandFailed, match=words):
        raise failure


def test_an_error_without_advice_is_kept() -> None:
    error = MethodError("text", "ValueError", "text")
    assert start_failure(error, "serve", None) is error


@pytest.mark.parametrize(
    ("program", "cause", "text", "code", "words"),
    [
        ("", "ValueError", "args[0], the program, must not be empty", 127, "the command is empty"),
        ("./a", "FileNotFoundError", "[Errno 2] No such file or directory: './a'", 127, "no interpreter"),
        ("/etc", "PermissionError", "[Errno 13] Permission denied: '/etc'", 126, "a folder, or has no x bit"),
        ("./a", "OSError", "[Errno 26] Text file busy: './a'", 126, "it is open for writing"),
        ("./a", "PermissionError", "[Errno 1] Operation not permitted: './a'", 126, "Operation not permitted"),
    ],
)
def test_a_start_on_another_host_that_failed(program: str, cause: str, text: str, code: int, words: str) -> None:
    failure = start_failure(MethodError(f"{cause}: {text}", cause, text), program, None)
    assert isinstance(failure, CommandFailed)
    assert (failure.code, words in str(failure)) == (code, True)
