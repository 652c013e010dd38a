from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagent.http1.job_names import PORT_MAX, AddressForm, JobHosts, JobName, name_in_path

UID = "0123456789abcdef" * 2
HOSTS = JobHosts("apps.example.org")

uids = st.text("0123456789abcdef", min_size=32, max_size=32)
ports = st.none() | st.integers(1, PORT_MAX)


@given(uids, ports, st.none() | st.integers(0, 99999), st.booleans(), st.booleans())
def test_a_host_names_a_job_in_every_spelling(
    uid: str, port: int | None, listener: int | None, dot: bool, upper: bool
) -> None:
    host = f"{uid}{'' if port is None else f'--{port}'}.apps.example.org{'.' if dot else ''}"
    host += "" if listener is None else f":{listener}"
    assert HOSTS.name_in(host.upper() if upper else host) == JobName(uid, port)


@given(st.text())
def test_no_other_host_names_a_job(host: str) -> None:
    if HOSTS.name_in(host) is not None:
        assert HOSTS.is_below(host)


@pytest.mark.parametrize(
    "host",
    [
        "", "apps.example.org", ".apps.example.org", UID, f"{UID}.", f"{UID}.example.org",
        f"{UID}.apps.example.org.evil",
        f"{UID}.apps-example.org", f"{UID}.apps.example.org..", f"{UID[:-1]}.apps.example.org",
        f"{UID}0.apps.example.org", f"{UID[:-1]}g.apps.example.org", f"x.{UID}.apps.example.org",
        f"{UID}-.apps.example.org", f"{UID}-80.apps.example.org", f"{UID}--.apps.example.org",
        f"{UID}--0.apps.example.org", f"{UID}--080.apps.example.org", f"{UID}--65536.apps.example.org",
        f"{UID}--999999.apps.example.org", f"{UID}--x.apps.example.org", f"{UID}--80--81.apps.example.org",
        f"{UID}.apps.example.org:x", f"{UID}.apps.example.org:80:80", f"[::1].{UID}", f" {UID}.apps.example.org",
        f"{UID}.apps.example.org\n", f"{UID}.apps.example.org,{UID}.apps.example.org",
    ],
)  # fmt: skip
def test_hosts_of_no_job(host: str) -> None:
    assert HOSTS.name_in(host) is None


def test_hosts_below_the_domain() -> None:
    assert HOSTS.is_below("x.APPS.example.org.:80")
    assert not any(map(HOSTS.is_below, ["apps.example.org", "xapps.example.org", "", "[::1]:80"]))


@pytest.mark.parametrize(
    ("domain", "name"),
    [
        ("localhost", "localhost"),
        ("Apps.Example.ORG.", "apps.example.org"),
        ("Bücher.example", "xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
    ],
)
def test_domains(domain: str, name: str) -> None:
    hosts = JobHosts(domain)
    assert hosts.domain == name
    assert hosts.name_in(f"{UID}.{name}") == JobName(UID, None)


@pytest.mark.parametrize("domain", ["", ".", "a..b", "a b", "*.example.org", "a:80", "[::1]", "a/b", "x" * 64])
def test_what_is_no_domain(domain: str) -> None:
    with pytest.raises(ValueError, match="is not a domain name"):
        JobHosts(domain)


@given(uids, ports, st.sampled_from(["", "/", "/x", "/x?y", "?y", "//", "/:80/", "/.."]))
def test_a_path_names_a_job(uid: str, port: int | None, rest: str) -> None:
    prefix = f"/{uid}{'' if port is None else f':{port}'}"
    assert name_in_path(prefix + rest) == (JobName(uid, port), prefix, False)
    assert name_in_path("/abs" + prefix + rest) == (JobName(uid, port), "/abs" + prefix, True)


@pytest.mark.parametrize(
    "target",
    [
        "/", "*", "/connections", f"/{UID[:-1]}/", f"/{UID}0/", f"//{UID}/", f"/{UID.upper()}/", f"/{UID}:/",
        f"/{UID}:0/",
        f"/{UID}:080/", f"/{UID}:65536/", f"/{UID}:x/", f"/{UID}%3A80/", f"/{UID}--80/", f"/x/{UID}/", f"/{UID};x/",
        "/abs/", f"/abs{UID}/", f"/abs/abs/{UID}/",
    ],
)  # fmt: skip
def test_paths_of_no_job(target: str) -> None:
    assert name_in_path(target) is None


@pytest.mark.parametrize(
    ("form", "port", "address"),
    [
        ("https://{job}.apps.example.org", None, f"https://{UID}.apps.example.org/"),
        ("https://{job}.apps.example.org/", 80, f"https://{UID}--80.apps.example.org/"),
        ("http://{job}.localhost:8162", 80, f"http://{UID}--80.localhost:8162/"),
        ("https://example.org/apps/{job}/", None, f"https://example.org/apps/{UID}/"),
        ("https://example.org/apps/{job}", 80, f"https://example.org/apps/{UID}:80/"),
    ],
)
def test_addresses(form: str, port: int | None, address: str) -> None:
    assert AddressForm(form).address_of(UID, port) == address


@pytest.mark.parametrize(
    "form",
    ["", "{job}", "https://apps.example.org", "ftp://{job}.x", "https://{job}.{job}.x", "https:///{job}",
     "http://{job} x", "https://x/{job}/?a", "https://x/#{job}"],
)  # fmt: skip
def test_what_is_no_form_of_addresses(form: str) -> None:
    with pytest.raises(ValueError, match="is not the address of a job"):
        AddressForm(form)
