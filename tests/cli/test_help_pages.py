"""Help texts on terminals of any width."""

from __future__ import annotations

import pytest

from pagent.cli.help_pages import HelpFormatter

TEXT = """Do it, and do it once more until it is done.

\b
Exit codes:
  0, 3   it is done, and nothing is left to do any more
         for now
  1      it failed

\b
Examples:
  pagent do it --until it --is done and more"""


def written(width: int, text: str = TEXT) -> list[str]:
    formatter = HelpFormatter(width=width)
    with formatter.indentation():
        formatter.write_text(text)
    return formatter.getvalue().splitlines()


def test_a_wide_terminal_has_the_lines_as_they_are() -> None:
    assert [line.strip() for line in written(100)] == [line.strip() for line in TEXT.splitlines() if line != "\b"]


def test_a_list_is_wrapped_below_its_texts_and_an_example_is_not() -> None:
    lines = written(32)
    assert lines[lines.index("  Exit codes:") :] == [
        "  Exit codes:",
        "    0, 3   it is done, and",
        "           nothing is left to do",
        "           any more",
        "           for now",
        "    1      it failed",
        "",
        "  Examples:",
        "    pagent do it --until it --is done and more",
    ]


@pytest.mark.parametrize("width", range(10, 60))
def test_no_line_of_words_is_wider(width: int) -> None:
    lines = written(width, TEXT.partition("\n\n\b\nExamples")[0])
    assert [line for line in lines if len(line) > max(width, 21)] == []


@pytest.mark.parametrize(("width", "begin"), [(40, "  --option NAME\n         The"), (80, "  --option NAME  The")])
def test_options_have_lines_of_their_own_on_a_narrow_terminal(width: int, begin: str) -> None:
    formatter = HelpFormatter(width=width)
    with formatter.indentation():
        formatter.write_dl(iter([("--option NAME", "The option that has a name and a text that is wrapped.")]))
    text = formatter.getvalue()
    assert " ".join(text.split()).startswith("--option NAME The")
    assert ("NAME\n" in text) == (width == 40)
    assert text.startswith(begin.split("\n")[0])
