"""YAML as recipes have it: plain data, and nothing that reads otherwise than it looks."""

from __future__ import annotations

import pytest

from mlxforge.errors import ForgeError, Position
from mlxforge.recipe.reader import MOST_BYTES, read
from mlxforge.recipe.tree import plain, positions


def value_of(text: str) -> object:
    return plain(read(f"key: {text}".encode(), "a.yaml"))["key"]


def refusal(data: bytes | str) -> str:
    with pytest.raises(ForgeError) as caught:
        read(data.encode() if isinstance(data, str) else data, "a.yaml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("~", None),
        ("null", None),
        ("true", True),
        ("false", False),
        ("0", 0),
        ("-12", -12),
        ("0.5", 0.5),
        ("1e-3", 0.001),
        ("5%", "5%"),
        ("'4'", "4"),
        ('"true"', "true"),
    ],
)
def test_scalars_mean_what_they_look_like(text: str, value: object) -> None:
    assert value_of(text) == value
    assert type(value_of(text)) is type(value)


@pytest.mark.parametrize(
    "text",
    ["yes", "no", "on", "off", "True", "NULL", "2024-01-01", "12:30:45", "0x10", "0o7", "1_000"],
)
def test_what_yaml_1_1_would_convert_stays_text(text: str) -> None:
    assert value_of(text) == text


@pytest.mark.parametrize("text", ["007", "-01", "00.5"])
def test_a_leading_zero_is_refused(text: str) -> None:
    assert refusal(f"a:\n  b: {text}") == (
        f"a.yaml:2:6: the number '{text}' has a leading zero\n  put it in quotes if it is text"
    )


@pytest.mark.parametrize("text", [".inf", "-.INF", ".nan", "1e999"])
def test_numbers_that_are_not_finite_are_refused(text: str) -> None:
    assert refusal(f"a: {text}") == (
        f"a.yaml:1:4: '{text}' is not a finite number\n  put it in quotes if it is text"
    )


def test_an_endless_integer_is_refused_and_shortened() -> None:
    assert refusal("a: " + "9" * 5000) == (
        f"a.yaml:1:4: the number '{'9' * 59}…' is too long\n  put it in quotes if it is text"
    )


def test_every_value_has_the_position_where_it_begins() -> None:
    tree = read("é: ü  # a comment\n\nlist: [1,\n  {b: 2}]\n".encode(), "a.yaml")
    assert positions(tree) == {
        ("é",): Position("a.yaml", 1, 4),
        ("list",): Position("a.yaml", 3, 7),
        ("list", 0): Position("a.yaml", 3, 8),
        ("list", 1): Position("a.yaml", 4, 3),
        ("list", 1, "b"): Position("a.yaml", 4, 7),
    }


def test_a_byte_order_mark_moves_nothing() -> None:
    assert positions(read(b"\xef\xbb\xbfa: 1", "a.yaml")) == {("a",): Position("a.yaml", 1, 4)}


def test_windows_line_ends_are_line_ends() -> None:
    assert plain(read(b"a: 1\r\nb: x\r\n", "a.yaml")) == {"a": 1, "b": "x"}


def test_a_key_in_quotes_is_a_key_whatever_it_looks_like() -> None:
    assert plain(read(b'"<<": 1\n"4": 2\n', "a.yaml")) == {"<<": 1, "4": 2}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", "3:1: the key 'a' is written twice\n  first on line 1"),
        ("a: &x 1", "1:4: anchors and aliases are not for recipes\n  use extends or a matrix"),
        ("a: *x", "1:4: anchors and aliases are not for recipes\n  use extends or a matrix"),
        ("<<: {a: 1}", "1:1: merge keys (<<) are not for recipes\n  use extends"),
        ("a: !!str 1", "1:4: the tag 'tag:yaml.org,2002:str' is not for recipes\n  leave it out"),
        ("4: a", "1:1: a key must be text\n  put it in quotes"),
        ("[a]: b", "1:1: a key must be text\n  put it in quotes"),
        ("a: 1\n---\nb: 2", "2:1: a second document begins here\n  one recipe, one file"),
        ("", "1:1: the file is empty"),
        ("# nothing\n", "1:1: the file is empty"),
        ("- a", "1:1: this is not a mapping\n  a recipe begins with a key, such as source:"),
        ('a: "\\0"', "1:4: the text holds the character '\\x00'"),
    ],
)
def test_what_recipes_do_without_is_refused(text: str, message: str) -> None:
    assert refusal(text) == f"a.yaml:{message}"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a: \xff", "1:4: the byte 0xff is not UTF-8\n  save the file as UTF-8"),
        (
            "a: ü\nb: ".encode() + b"\xe4",
            "2:4: the byte 0xe4 is not UTF-8\n  save the file as UTF-8",
        ),
        (b"a: 1\nb: x\x00", "2:5: the character '\\x00' is not for recipes"),
        (b"a: \x1b[31m", "1:4: the character '\\x1b' is not for recipes"),
        (
            b"#" * (MOST_BYTES + 1),
            "1:1: the file is too large for a recipe\n  a recipe may have 1,048,576 bytes",
        ),
    ],
)
def test_bytes_that_are_no_text_are_refused(data: bytes, message: str) -> None:
    assert refusal(data) == f"a.yaml:{message}"


def test_a_tab_is_called_a_tab() -> None:
    assert refusal("a:\n\tb: 1").startswith("a.yaml:2:1: this is not YAML: ")
    assert refusal("a:\n\tb: 1").endswith("\n  indent with spaces, not with tabs")


def test_a_colon_in_text_is_explained() -> None:
    assert refusal("a: b: c") == (
        "a.yaml:1:5: this is not YAML: mapping values are not allowed in this context\n"
        "  put text that contains ': ' in quotes"
    )


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? ", "- ? "])
def test_endless_nesting_is_refused_before_it_hurts(opening: str) -> None:
    assert "nested more than 32 levels deep" in refusal(f"a:\n  {opening * 10_000}")


def test_the_pure_python_loader_refuses_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("yaml.CSafeLoader")
    assert plain(read(b"a: [1, {b: 'x'}]", "a.yaml")) == {"a": [1, {"b": "x"}]}
    assert refusal("a: &x 1").startswith("a.yaml:1:4: anchors and aliases")
    assert refusal('a: "\\UFFFFFFFF"').startswith("a.yaml:1:1: this is not YAML\n")
    assert "nested more than 32 levels deep" in refusal("a: " + "[" * 10_000)
