"""Access: tokens with scopes, limits, and rate limits per client."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamnet.client.operation import Scope
from streamnet.daemon.http.access import Access, Limits, RateLimiter
from streamnet.errors import ConfigurationError

SECRET = "0123456789abcdef"


def token_file(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "tokens"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_token_file_sets_the_scopes_of_each_token(tmp_path: Path) -> None:
    text = f"# of two\n\n{SECRET} read,predict\nfedcba9876543210 learn admin\n"
    access = Access.read(token_file(tmp_path, text))
    allowed = [scope for scope in Scope if scope in access.find_scopes(f"bearer {SECRET}".encode())]
    assert allowed == [Scope.READ, Scope.PREDICT]
    assert all(scope in access.find_scopes(b"Bearer fedcba9876543210") for scope in Scope)


@pytest.mark.parametrize(
    "header",
    [
        None,
        b"",
        b"Bearer ",
        b"Bearer",
        SECRET.encode(),
        b"Basic " + SECRET.encode(),
        b"Bearer \xff",
    ],
)
def test_invalid_authorization_headers_have_no_scopes(header: bytes | None) -> None:
    access = Access({SECRET: {Scope.ADMIN}})
    assert not access.find_scopes(header)
    assert Scope.READ not in access.find_scopes(header)


def test_a_token_in_a_variable_has_all_scopes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STREAMNET_TOKEN", raising=False)
    assert Access.read(None).is_open
    monkeypatch.setenv("MINE", SECRET)
    assert Scope.ADMIN in Access.read(None, "MINE").find_scopes(f"Bearer {SECRET}".encode())
    with pytest.raises(ConfigurationError, match="token_env is 'OTHER'"):
        Access.read(None, "OTHER")


def test_the_default_variable_does_not_extend_tokens_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAMNET_TOKEN", SECRET)
    other = "fedcba9876543210"
    for token in (SECRET, other):
        access = Access.read(token_file(tmp_path, f"{token} read"))
        assert Scope.ADMIN not in access.find_scopes(f"Bearer {SECRET}".encode())
        assert Scope.READ in access.find_scopes(f"Bearer {token}".encode())
    assert Scope.ADMIN in Access.read(None).find_scopes(f"Bearer {SECRET}".encode())
    named = Access.read(token_file(tmp_path, f"{other} read"), "STREAMNET_TOKEN")
    assert Scope.ADMIN in named.find_scopes(f"Bearer {SECRET}".encode())
    assert Scope.LEARN not in named.find_scopes(f"Bearer {other}".encode())


def test_a_token_with_scopes_from_two_places_is_refused_where_they_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINE", SECRET)
    path = token_file(tmp_path, f"{SECRET} predict,read")
    with pytest.raises(ConfigurationError, match=r"in \$MINE .* gives it only read, predict") as no:
        Access.read(path, "MINE")
    assert SECRET not in str(no.value)
    same = token_file(tmp_path, f"{SECRET} read,admin\n{SECRET} admin read")
    assert Scope.LEARN in Access.read(same, "MINE").find_scopes(f"Bearer {SECRET}".encode())


@pytest.mark.parametrize(
    ("text", "mode", "phrase"),
    [
        (f"{SECRET} read", 0o644, "mode 644"),
        (f"{SECRET} read", 0o660, "mode 660"),
        (f"{SECRET} write", 0o600, "tokens:1: scope is 'write'"),
        (f"\n{SECRET}", 0o600, "tokens:2: the token has no scope"),
        ("short read", 0o600, "tokens:1: the token is 5 long, but must be >= 16"),
        (
            f"{SECRET} read\n{SECRET} learn",
            0o600,
            "tokens:2: the token has learn, but an earlier line gives it read",
        ),
        ("# nothing", 0o600, "contains no token"),
    ],
)
def test_errors_in_a_token_file_reveal_no_token(
    tmp_path: Path, text: str, mode: int, phrase: str
) -> None:
    with pytest.raises(ConfigurationError, match=phrase) as caught:
        Access.read(token_file(tmp_path, text, mode))
    assert SECRET not in str(caught.value)


def test_an_unreadable_token_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        Access.read(tmp_path / "absent")
    path = token_file(tmp_path, "")
    path.write_bytes(b"\xff")
    with pytest.raises(ConfigurationError, match="UTF-8"):
        Access.read(path)


def test_a_token_without_scopes_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no scope"):
        Access({SECRET: set()})


@pytest.mark.parametrize(
    ("name", "value"), [("max_body", 0), ("max_rate", -1.0), ("line", float("nan"))]
)
def test_limits_must_be_positive(name: str, value: float) -> None:
    with pytest.raises(ConfigurationError, match=f"{name} is {value}, but must be > 0"):
        Limits(**{name: value})  # type: ignore[arg-type]


@given(
    rate=st.integers(1, 20),
    steps=st.lists(st.floats(0, 3, allow_nan=False), min_size=1, max_size=60),
)
def test_a_client_never_exceeds_its_rate(rate: int, steps: list[float]) -> None:
    now = 0.0
    rates = RateLimiter(Limits(max_rate=rate), clock=lambda: now)
    taken = 0
    for step in steps:
        now += step
        taken += rates.take("a") == 0.0
        assert taken <= rate + rate * now + 1e-6


@given(cost=st.floats(1, 50))
def test_a_client_that_waits_as_told_is_admitted(cost: float) -> None:
    now = wait = 0.0
    rates = RateLimiter(Limits(max_rate=10), clock=lambda: now)
    for _ in range(200):
        if wait := rates.take("a", cost):
            break
    now += wait + 1e-9
    assert rates.take("a") == 0.0


def test_no_wait_is_much_longer_than_a_second_even_after_the_rate_drops() -> None:
    limits = Limits(max_rate=1000.0)
    rates = RateLimiter(limits, clock=lambda: 0.0)
    assert rates.take("a", 5000.0) == 0.0
    limits.max_rate = 10.0
    assert rates.take("a") == 1.1


def test_clients_are_limited_separately_and_the_oldest_is_forgotten() -> None:
    rates = RateLimiter(Limits(max_rate=1), most=2, clock=lambda: 0.0)
    assert [rates.take(client) > 0 for client in "abab"] == [False, False, True, True]
    assert rates.take("c") == 0.0
    assert rates.take("b") > 0
    assert rates.take("a") == 0.0  # it was the least recently seen
