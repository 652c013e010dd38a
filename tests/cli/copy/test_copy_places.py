"""Where ``pagent cp`` copies to."""

from __future__ import annotations

import pytest

from pagent.cli.copy.copy_places import LocalPath, PathInJob, is_into, parse_place
from pagent.cli.failure import CommandFailed


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("-", None),
        ("job:", PathInJob("job", "", True, False)),
        ("job:.", PathInJob("job", "", True, False)),
        ("job:/", PathInJob("job", "", True, True)),
        ("job:a", PathInJob("job", "a", False, False)),
        ("job:/a//b/", PathInJob("job", "a/b", False, True)),
        ("job:a/.", PathInJob("job", "a", True, False)),
        ("job:a:b", PathInJob("job", "a:b", False, False)),
        ("job:../a", PathInJob("job", "../a", False, False)),
        ("job:\udcff", PathInJob("job", "\U0010feff", False, False)),
        ("a", LocalPath("a", False, False)),
        (".", LocalPath(".", True, False)),
        ("/", LocalPath("/", True, True)),
        ("./a:b", LocalPath("./a:b", False, False)),
        (":a", LocalPath(":a", False, False)),
        ("a/.", LocalPath("a/.", True, False)),
        ("a/", LocalPath("a/", False, True)),
    ],
)
def test_an_argument(text: str, expected: object) -> None:
    assert parse_place(text) == expected


#: Source, whether it is a folder, destination, what is there, and whether the copy goes into it.
RULES = [
    ("f", False, "j:new", None, False),
    ("f", False, "j:there", "file", False),
    ("f", False, "j:dir", "dir", True),
    ("f", False, "j:dir/", "dir", True),
    ("f", False, "j:", "dir", True),
    ("d", True, "j:new", None, False),
    ("d", True, "j:new/", None, False),
    ("d/", True, "j:dir", "dir", True),
    ("d", True, "j:dir", "dir", True),
    ("d/.", True, "j:dir", "dir", False),
    (".", True, "j:dir", "dir", False),
    ("d/.", True, "j:new", None, False),
]


@pytest.mark.parametrize(("source", "is_folder", "destination", "there", "into"), RULES)
def test_a_copy_goes_where_docker_copies_to(
    source: str, is_folder: bool, destination: str, there: str | None, into: bool
) -> None:
    for prefix, other in (("", ""), ("j:", "j:")):
        places = parse_place(prefix + source), parse_place(destination.removeprefix(other))
        assert places[0] is not None
        assert places[1] is not None
        if destination != "j:":
            assert is_into(*places, source_is_folder=is_folder, there=there) is into


@pytest.mark.parametrize(
    ("source", "is_folder", "destination", "there", "code"),
    [
        ("d", True, "j:there", "file", 1),
        ("f", False, "j:there/", "file", 1),
        ("f", False, "j:new/", None, 3),
        ("f/", False, "j:new", None, 1),
        ("f/.", False, "j:new", None, 1),
    ],
)
def test_what_cannot_be_copied(source: str, is_folder: bool, destination: str, there: str | None, code: int) -> None:
    places = parse_place(source), parse_place(destination)
    assert places[0] is not None
    assert places[1] is not None
    with pytest.raises(CommandFailed) as failed:
        is_into(*places, source_is_folder=is_folder, there=there)
    assert failed.value.code == code
