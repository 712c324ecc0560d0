from __future__ import annotations

import pytest

from serving.errors import ConfigError
from serving.export.address import parse_address


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", ("monitoring.googleapis.com", False)),
        ("monitoring.example:443", ("monitoring.example:443", False)),
        ("https://monitoring.example/", ("monitoring.example", False)),
        ("http://127.0.0.1:4242", ("127.0.0.1:4242", True)),
        ("http://[::1]:4242", ("[::1]:4242", True)),
        ("http://localhost:4242/", ("localhost:4242", True)),
    ],
)
def test_addresses(value, expected):
    assert parse_address(value) == expected


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("http://10.0.0.1:4242", "plaintext is allowed to this machine only"),
        ("http://localhost.evil.example:1", "plaintext is allowed to this machine only"),
        ("http://", "is not an address"),
        ("host/path", "is not an address"),
        ("a b", "is not an address"),
        ("http://127.0.0.1:1@evil.example", "is not an address"),
    ],
)
def test_plaintext_to_another_machine_and_no_address_are_refused(value, says):
    with pytest.raises(ConfigError, match=says):
        parse_address(value)
