"""The manifests for Kubernetes: valid by its schemas, consistent, and their settings work."""

from __future__ import annotations

import re
import signal
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import httpx
import kubernetes_validate
import pytest
import yaml

from streamnet.settings.daemon import parse
from tests.daemon.processes import Server

TOKEN = "0123456789abcdef"


@pytest.fixture(scope="module")
def manifests(repository: Path) -> dict[str, Any]:
    """The manifests by their kinds."""
    text = (repository / "config" / "kubernetes.yaml").read_text("utf-8")
    return {one["kind"]: one for one in yaml.safe_load_all(text)}


@pytest.fixture(scope="module")
def pod(manifests: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = manifests["StatefulSet"]["spec"]["template"]["spec"]
    return spec


def test_the_manifests_fit_the_schemas_of_kubernetes(manifests: dict[str, Any]) -> None:
    newest = kubernetes_validate.latest_version()
    for kind in ("ConfigMap", "Service", "StatefulSet"):
        kubernetes_validate.validate(manifests[kind], newest, strict=True)
    wrong = deepcopy(manifests["StatefulSet"])
    wrong["spec"]["replica"] = 1
    with pytest.raises(kubernetes_validate.ValidationError, match="replica"):
        kubernetes_validate.validate(wrong, newest, strict=True)


def test_what_the_manifests_name_exists(manifests: dict[str, Any], pod: dict[str, Any]) -> None:
    stateful, service = manifests["StatefulSet"]["spec"], manifests["Service"]
    monitor = manifests["ServiceMonitor"]["spec"]
    labels = stateful["template"]["metadata"]["labels"]
    assert stateful["selector"]["matchLabels"] == service["spec"]["selector"] == labels
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert stateful["serviceName"] == service["metadata"]["name"]
    (container,) = pod["containers"]
    ports = {one["name"]: one["containerPort"] for one in container["ports"]}
    assert {one["targetPort"] for one in service["spec"]["ports"]} <= ports.keys()
    assert {one["name"] for one in service["spec"]["ports"]} >= {monitor["endpoints"][0]["port"]}
    probes = [container[f"{name}Probe"]["httpGet"] for name in ("startup", "readiness", "liveness")]
    assert [probe["path"] for probe in probes] == ["/healthz", "/readyz", "/healthz"]
    assert {probe["port"] for probe in probes} <= ports.keys()
    volumes = {one["name"] for one in pod["volumes"]}
    volumes |= {one["metadata"]["name"] for one in stateful["volumeClaimTemplates"]}
    assert {one["name"] for one in container["volumeMounts"]} == volumes
    settings = parse(manifests["ConfigMap"]["data"]["serve.toml"]).serve
    mounts = [one["mountPath"] for one in container["volumeMounts"]]
    assert settings.dir in mounts
    assert settings.token_file is not None
    assert str(Path(settings.token_file).parent) in mounts
    assert container["args"] == ["/etc/streamnet/serve.toml"]
    assert container["args"][0] in mounts
    assert [settings.port] == list(ports.values())
    assert pod["terminationGracePeriodSeconds"] > settings.drain_seconds + 30


def test_the_pod_is_who_the_image_says_and_not_root(
    repository: Path, pod: dict[str, Any], manifests: dict[str, Any]
) -> None:
    image = (repository / "config" / "Containerfile").read_text("utf-8")
    found = re.search(r"^USER (\d+)$", image, re.MULTILINE)
    assert found is not None
    context = pod["securityContext"]
    assert context["runAsUser"] == context["fsGroup"] == int(found[1])
    assert context["runAsNonRoot"] is True
    assert manifests["StatefulSet"]["spec"]["replicas"] == 1  # a daemon owns its folder


def test_the_settings_admit_probes_and_scrapes_by_the_address_of_a_pod(
    tmp_path: Path, manifests: dict[str, Any], pod: dict[str, Any]
) -> None:
    (mode,) = (one["secret"]["defaultMode"] for one in pod["volumes"] if "secret" in one)
    tokens = tmp_path / "tokens"
    tokens.write_text(f"{TOKEN} read name=prometheus\n")
    tokens.chmod(mode)
    text: str = manifests["ConfigMap"]["data"]["serve.toml"]
    text = text.replace("/etc/streamnet/secret/tokens", str(tokens)).replace(
        "/state", f"{tmp_path}/m"
    )
    path = tmp_path / "serve.toml"
    path.write_text(text.replace("port = 8000", "port = 0").replace("0.0.0.0", "127.0.0.1"))
    server = Server([sys.executable, "-m", "streamnet", "serve", str(path)])
    try:
        host = {"host": "10.244.1.7:8000"}
        assert httpx.get(f"{server.url}/healthz", headers=host).status_code == 200
        assert httpx.get(f"{server.url}/readyz", headers=host).status_code == 200
        assert httpx.get(f"{server.url}/metrics", headers=host).status_code == 401
        bearer = host | {"authorization": f"Bearer {TOKEN}"}
        assert httpx.get(f"{server.url}/metrics", headers=bearer).status_code == 200
    finally:
        code, logged = server.end(signal.SIGTERM)
    assert code == 0, logged
