"""How keys and cookies look."""

from __future__ import annotations

import re

import pytest

from store import tokens


def test_a_token_has_256_random_bits_and_a_checksum() -> None:
    made = {tokens.make("octet_") for _ in range(200)}

    assert len(made) == 200
    assert all(re.fullmatch("octet_[0-9A-Za-z]{49}", token) for token in made)
    assert all(tokens.is_sound("octet_", token) for token in made)


def test_a_token_with_one_letter_wrong_missing_or_too_many_is_none() -> None:
    token = tokens.make("octet_")

    for place in range(len(token)):
        wrong = token[:place] + ("a" if token[place] != "a" else "b") + token[place + 1 :]
        assert not tokens.is_sound("octet_", wrong)
    assert not tokens.is_sound("octet_", token[:-1])
    assert not tokens.is_sound("octet_", token + "0")
    assert not tokens.is_sound("other_", token)


@pytest.mark.parametrize("text", ["", "\0", "octet_", "\ud800", "caf\u00e9" * 13, "octet_" + "\u0661" * 49])
def test_what_is_no_token_is_none(text: str) -> None:
    assert not tokens.is_sound("octet_", text)
    assert len(tokens.digest(text)) == 64
