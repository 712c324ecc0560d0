"""The words of Cloud Monitoring's filter language: text to tokens. Pure; what they mean is ``filters``'."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    | (?P<quoted>[A-Za-z_][A-Za-z0-9_.]*\.(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'))
    | (?P<op><=|>=|!=|[=:<>])
    | (?P<punct>[(),])
    | (?P<minus>-(?=[\s(a-zA-Z]))
    | (?P<word>[+-]?[A-Za-z0-9_][A-Za-z0-9_./*-]*)
    )""",
    re.VERBOSE | re.DOTALL,
)
_QUOTED = re.compile(r"(?P<of>[A-Za-z_][A-Za-z0-9_.]*\.)(?P<key>[\"'].*[\"'])", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Token:
    """One token.

    Args:
        kind: "string", "op", "punct", "minus" or "word".
        text: as written; of a selector whose key is quoted, without the quotes.
        at: where in the filter it begins.
    """

    kind: str
    text: str
    at: int


def tokens(text: str) -> Iterator[Token]:
    """The tokens of a filter.

    Raises:
        ValueError: one line: where it cannot be parsed.
    """
    at = 0
    while text[at:].strip():
        found = _TOKEN.match(text, at)
        if found is None:
            at = len(text) - len(text[at:].lstrip())
            raise ValueError(f"the filter cannot be parsed at position {at}: {text[at : at + 20]!r}")
        kind = found.lastgroup or ""
        word = kind == "quoted"
        yield Token("word" if word else kind, bare(found[kind]) if word else found[kind], found.start(kind))
        at = found.end()


def unquoted(text: str) -> str:
    """A string without its quotes and escapes; a bare word as it is."""
    return re.sub(r"\\(.)", r"\1", text[1:-1], flags=re.DOTALL) if text[:1] in "\"'" else text


def bare(selector: str) -> str:
    """A selector whose key is quoted, ``metric.label."code"``, without the quotes."""
    found = _QUOTED.fullmatch(selector)
    return found["of"] + unquoted(found["key"]) if found else selector
