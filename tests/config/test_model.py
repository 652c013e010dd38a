from __future__ import annotations

import dataclasses

import pytest

from pagent.config.model import Settings
from pagent.config.schema import keys

CONTRACT = {
    "identity.name": '"agent"',
    "identity.uid": "null",
    "server.enabled": "true",
    "server.interface": '"127.0.0.1"',
    "server.port": "0",
    "server.accept_tokens": "[]",
    "client.enabled": "false",
    "client.address": '""',
    "client.token": '"default"',
    "client.exit_on_fail": "false",
    "client.reconnect_delay": "10.0",
    "control.enabled": "true",
    "control.interface": '"127.0.0.1"',
    "control.port": "0",
    "jobs.root": "null",
    "jobs.background_threads": "1",
    "properties": "{}",
}
BEYOND = {
    "server.accept_tokens_file": "null",
    "client.token_file": "null",
    "control.token_file": "null",
    "log_level": "null",
    "server.tls.certificate": "null",
    "server.tls.key": "null",
    "server.tls.ca": "null",
    "client.proxy": "null",
    "client.tls.ca": "null",
    "client.tls.certificate": "null",
    "client.tls.key": "null",
    "control.token": "null",
    "control.allowed_hosts": "[]",
    "dashboard.enabled": "false",
    "dashboard.interface": '"127.0.0.1"',
    "dashboard.port": "0",
    "dashboard.token_file": "null",
    "dashboard.tls.certificate": "null",
    "dashboard.tls.key": "null",
    "dashboard.tls.ca": "null",
    "jobs.port_ownership": '"warn"',
    "jobs.max_output_bytes": "null",
    "jobs.allow_folders": "[]",
    "jobs.max": "null",
    "jobs.isolation.user": "null",
    "jobs.isolation.no_new_privs": "false",
    "jobs.isolation.environment": "null",
    "jobs.isolation.max_files": "null",
    "jobs.isolation.max_processes": "null",
    "jobs.isolation.max_memory_bytes": "null",
    "jobs.isolation.max_cpu_seconds": "null",
    "jobs.isolation.cgroup": "null",
    "jobs.isolation.cgroup_memory_bytes": "null",
    "jobs.isolation.cgroup_processes": "null",
    "jobs.isolation.cgroup_cpus": "null",
    "proxy.spool_max": "1073741824",
    "proxy.memory_max": "null",
}


def test_keys_and_defaults_are_those_of_the_contract() -> None:
    assert {key.name: key.default for key in keys(Settings)} == CONTRACT | BEYOND


def test_every_key_has_a_help_text_of_its_own() -> None:
    assert all(key.help.endswith(".") for key in keys(Settings))


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().server.port = 1  # type: ignore[misc]


def test_instances_do_not_share_their_properties() -> None:
    assert Settings().properties is not Settings().properties
