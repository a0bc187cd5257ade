"""``streamnet serve``: what its run file says becomes an address, limits and tokens."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from streamnet.client.operation import Scope
from streamnet.daemon.hosting.registry import Registry
from streamnet.daemon.http.access import Access, Limits
from streamnet.daemon.reloading import ConfigReloader
from streamnet.daemon.server import Address, build_limits
from streamnet.errors import ConfigurationError
from streamnet.settings.daemon import ServeSection, load
from tests.cli.invocation import Cli, write


def test_the_example_has_the_defaults(repository: Path) -> None:
    given = load(repository / "config" / "serve.toml").serve
    assert given == ServeSection()
    assert build_limits(given) == Limits()


def test_configured_values_are_used() -> None:
    given = ServeSection(
        port=1,
        hosts="a.example",  # type: ignore[arg-type]
        tls_certificate="c.pem",
        tls_key="k.pem",
        max_body=10,
        max_rate=5,
        drain_seconds=1.0,
    )
    address = Address(given)
    assert address.scheme == "https"
    assert "a.example:1" in address.names(1)
    limits = build_limits(given)
    assert (limits.max_body, limits.max_rate) == (10, 5)


def test_tokens_are_reloaded(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STREAMNET_TOKEN", raising=False)
    write("tokens", "first-first-first read").chmod(0o600)
    config = write("serve.toml", "[serve]\ntoken_file = 'tokens'\n")
    settings = load(config)
    access = Access.read(settings.serve.token_file, settings.serve.token_env)
    reload = ConfigReloader(config, settings, Registry(Path("models")), access, Limits())
    write("tokens", "second-second-second learn")
    assert reload() == "serve.toml and its tokens were reloaded"
    assert Scope.LEARN in access.find_scopes(b"Bearer second-second-second")
    assert not access.find_scopes(b"Bearer first-first-first")
    write("serve.toml", "")
    with pytest.raises(ConfigurationError, match="all tokens were removed"):
        reload()
    assert access.find_scopes(b"Bearer second-second-second")


@pytest.mark.parametrize(
    ("text", "phrases"),
    [
        ("[serve]\nport = 70000\n", ("serve.port", "65535")),
        ("[serve]\nhost = '0.0.0.0'\nport = 0\n", ("0.0.0.0", "token")),
        ("[serve]\ntls_key = 'k'\n", ("serve.tls_key is 'k'", "tls_certificate")),
        ("[model.UP]\nsource.target = 'y'\n", ("UP",)),
    ],
)
def test_a_run_file_that_cannot_be_served_is_one_line(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, text: str, phrases: tuple[str, ...]
) -> None:
    monkeypatch.delenv("STREAMNET_TOKEN", raising=False)
    monkeypatch.setattr("streamnet.daemon.logs.log_as_json", lambda level: None)
    monkeypatch.setattr("sys.setswitchinterval", lambda seconds: None)
    write("serve.toml", text)
    outcome = cli("serve", "serve.toml")
    assert outcome.code == 2
    assert all(phrase in outcome.complaint for phrase in phrases)


@pytest.mark.parametrize(
    ("file", "code", "complaint"),
    [
        ("models", 2, "dir is 'models', but that is not a folder"),
        ("models/x/model.json", 78, "models/x/model.json: "),
    ],
)
def test_a_folder_that_models_cannot_start_from_is_one_line_and_prevents_restarts(
    cli: Cli,
    repository: Path,
    monkeypatch: pytest.MonkeyPatch,
    file: str,
    code: int,
    complaint: str,
) -> None:
    monkeypatch.setattr("streamnet.daemon.logs.log_as_json", lambda level: None)
    monkeypatch.setattr("sys.setswitchinterval", lambda seconds: None)
    write("serve.toml", "[serve]\ndir = 'models'\nport = 0\n")
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    write(file, "{bad")
    outcome = cli("serve", "serve.toml")
    assert outcome.code == code
    assert complaint in outcome.complaint
    assert len(outcome.complaint.splitlines()) == 1
    unit = (repository / "config" / "streamnet.service").read_text("utf-8")
    (codes,) = re.findall("RestartPreventExitStatus=(.*)", unit)
    assert str(code) in codes.split()
