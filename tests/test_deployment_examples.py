"""The manifests of ``config/kubernetes/`` and the unit of ``config/systemd/`` fit the configuration."""

from __future__ import annotations

import configparser
from pathlib import Path
from typing import Any

import pytest
import yaml

from pagent.config.load import load, load_model
from pagent.config.router import RouterSettings

FOLDER = Path(__file__).parent.parent / "config"
MANIFESTS = [
    document
    for name in ("router.yaml", "agents.yaml")
    for document in yaml.safe_load_all((FOLDER / "kubernetes" / name).read_text())
]
WORKLOADS = [each for each in MANIFESTS if each["kind"] in ("Deployment", "DaemonSet")]


def of_kind(kind: str) -> dict[str, dict[str, Any]]:
    return {each["metadata"]["name"]: each for each in MANIFESTS if each["kind"] == kind}


def container(workload: dict[str, Any]) -> dict[str, Any]:
    (only,) = workload["spec"]["template"]["spec"]["containers"]
    return dict(only)


def name_of(workload: dict[str, Any]) -> str:
    return f"{workload['kind']} {workload['metadata']['name']}"


def test_the_configurations_are_valid(tmp_path: Path) -> None:
    secrets = {f"/etc/pagent/secret/{key}" for each in of_kind("Secret").values() for key in each["stringData"]}
    for each in of_kind("ConfigMap").values():
        for name, text in each["data"].items():
            (tmp_path / name).write_text(text)
    router = load_model(RouterSettings, tmp_path / "router.yaml")
    files = {router.server.accept_tokens_file, router.access.tokens_file, router.access.keys_file}
    assert {str(file) for file in files} <= secrets
    agent = load(tmp_path / "agent.yaml")
    assert {str(agent.client.token_file), str(agent.control.token_file)} <= secrets
    assert isinstance(agent.client.address, tuple)
    for target in agent.client.address:
        service, _, port = str(getattr(target, "address", target)).rpartition(":")
        assert int(port) == router.server.port
        assert service in of_kind("Service")


@pytest.mark.parametrize("workload", WORKLOADS, ids=name_of)
def test_a_workload_is_confined_and_probed(workload: dict[str, Any]) -> None:
    pod, only = workload["spec"]["template"]["spec"], container(workload)
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert only["securityContext"]["allowPrivilegeEscalation"] is False
    assert only["securityContext"]["readOnlyRootFilesystem"] is True
    assert only["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert set(only["resources"]["requests"]) == {"cpu", "memory"}
    assert "memory" in only["resources"]["limits"]
    ports = {each["name"] for each in only["ports"]}
    for probe, path in (("livenessProbe", "/livez"), ("readinessProbe", "/readyz")):
        assert only[probe]["httpGet"]["path"] == path
        assert only[probe]["httpGet"]["port"] in ports


@pytest.mark.parametrize("workload", WORKLOADS, ids=name_of)
def test_what_a_workload_mounts_exists(workload: dict[str, Any]) -> None:
    pod = workload["spec"]["template"]["spec"]
    volumes = {each["name"]: each for each in pod["volumes"]}
    assert {each["name"] for each in container(workload)["volumeMounts"]} == set(volumes)
    for volume in volumes.values():
        assert volume.get("configMap", {}).get("name", "pagent-agent") in of_kind("ConfigMap")
        assert volume.get("secret", {}).get("secretName", "pagent-agent") in of_kind("Secret")
    labels = workload["spec"]["template"]["metadata"]["labels"]
    assert workload["spec"]["selector"]["matchLabels"].items() <= labels.items()


def test_each_service_selects_pods() -> None:
    labels = [each["spec"]["template"]["metadata"]["labels"] for each in WORKLOADS]
    for service in of_kind("Service").values():
        assert any(service["spec"]["selector"].items() <= each.items() for each in labels)


def test_routers_get_more_time_than_they_take_to_end(tmp_path: Path) -> None:
    (tmp_path / "router.yaml").write_text(of_kind("ConfigMap")["pagent-router"]["data"]["router.yaml"])
    drain_s = load_model(RouterSettings, tmp_path / "router.yaml").control.drain_s
    for each in of_kind("Deployment").values():
        assert each["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > drain_s


def test_the_unit_runs_the_configuration_of_a_launcher() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(FOLDER / "systemd" / "pagent-launcher.service")
    assert unit["Service"]["ExecStart"] == "/opt/pagent/bin/pagent serve --config /etc/pagent/launcher.yaml"
    # The agent ends its jobs itself, and may take some seconds for that.
    assert unit["Service"]["KillMode"] == "mixed"
    settings = load(FOLDER / "launcher.yaml")
    assert (settings.server.enabled, settings.client.enabled) == (False, True)
    assert settings.properties == {"login": "cluster1"}
