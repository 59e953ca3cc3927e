from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.outbound.addresses import is_public
from core.outbound.rules import Refused, Rules

PRIVATE = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::8.8.8.8",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0:127.0.0.1",
    "64:ff9b::10.0.0.1",
    "64:ff9b::169.254.169.254",
    "64:ff9b:1::8.8.8.8",
    "100::1",
    "2001::1",
    "2001:0:7f00:1::",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:808:808::1",
    "3fff::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%1",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
    "4000::1",
]
PUBLIC = ["8.8.8.8", "1.1.1.1", "100.63.255.255", "100.128.0.1", "172.32.0.1", "2606:4700::1111"]


@pytest.mark.parametrize("address", PRIVATE)
def test_what_is_not_the_internet_is_not_public(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", [*PUBLIC, "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"])
def test_addresses_of_the_internet_are_public_also_within_ipv6(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    "host",
    [
        *(
            f"[{address}]" if ":" in address else address
            for address in PRIVATE
            if "%" not in address
        ),
        "2130706433",
        "0x7f000001",
        "0x7f.0.0.1",
        "017700000001",
        "127.1",
        "127.0.1",
        "10.1",
        "0",
        "3232235777",
        "2852039166",
        "0xa9fea9fe",
        "127.0.0.1.",
        "[::ffff:7f00:1]",
        "[0:0:0:0:0:0:0:1]",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "app.localhost",
        "printer.local",
        "metadata.google.internal",
        "metadata.google.internal.",
        "redis",
        "intranet",
        "db.corp",
        "router.home.arpa",
    ],
)
def test_hosts_that_are_not_public_whatever_happens_are_refused_at_once(host: str) -> None:
    with pytest.raises(Refused, match="has no public address"):
        Rules().checked(f"https://{host}/cat.png")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "cat.png",
        "/cat.png",
        "//pictures.example/cat.png",
        "http://pictures.example/cat.png",
        "ftp://pictures.example/cat.png",
        "file:///etc/passwd",
        "gopher://pictures.example/_",
        "data:image/png;base64,AAAA",
        "javascript:alert(1)",
        "https:///cat.png",
        "https://",
        "https://user@pictures.example/",
        "https://user:password@pictures.example/",
        "https://:@pictures.example/",
        "https://pictures.example\\@127.0.0.1/",
        "https://pictures.example:80/",
        "https://pictures.example:22/",
        "https://pictures.example:6379/",
        "https://pictures.example:0/",
        "https://pictures.example:99999/",
        "https://pictures.example:port/",
        "https://pictures..example/",
        "https://.pictures.example/",
        "https://0177.0.0.1/",
        "https://0251.0376.0251.0376/",
        "https://127.0.0.%31/",
        "https://pictures.example%00.evil.example/",
        "https://pictures.example\n.evil.example/",
        "https://pic tures.example/",
        "https://１２７.０.０.１/",
        "https://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ/",
        "https://[::1/",
        "https://[v1.x]/",
        "https://[fe80::1%25eth0]/",
        "https://" + "a" * 5000 + ".example/",
    ],
)
def test_urls_of_another_form_are_refused(url: str) -> None:
    with pytest.raises(Refused):
        Rules().checked(url)


@pytest.mark.parametrize(
    ("url", "read"),
    [
        ("https://pictures.example/cat.png?size=1", "https://pictures.example/cat.png?size=1"),
        ("HTTPS://Pictures.Example./a#b", "https://pictures.example/a"),
        ("https://pictures.example:443/", "https://pictures.example/"),
        ("https://bücher.example/", "https://xn--bcher-kva.example/"),
        ("https://8.8.8.8/", "https://8.8.8.8/"),
        ("https://[2606:4700::1111]/", "https://[2606:4700::1111]/"),
    ],
)
def test_public_https_urls_are_read_one_way(url: str, read: str) -> None:
    assert str(Rules().checked(url)) == read


@given(st.text(max_size=30), st.sampled_from(["https://", "https://a.example", "", "http:"]))
@example("[::1%ﬀ]", "https://")
@example("xn--", "https://")
@example("\ud800.example", "https://")
@example(":１", "https://a.example")
def test_any_text_is_read_or_refused_and_what_is_read_reads_the_same_again(
    text: str, start: str
) -> None:
    try:
        found = Rules().checked(start + text)
    except Refused:
        return
    assert Rules().checked(str(found)) == found
    assert (found.scheme, found.userinfo, found.port) == ("https", b"", None)


def test_http_networks_and_ports_are_allowed_by_setting_only() -> None:
    rules = Rules(http=True, networks=(ip_network("10.0.0.0/8"),), ports=(8443,))
    rules.checked("http://10.0.0.1/")
    rules.checked("https://10.0.0.1:8443/")
    rules.checked("https://pictures.internal/")
    assert rules.allow(ip_address("::ffff:10.0.0.1"))
    for url in ("http://10.0.0.1:443/", "https://10.0.0.1:80/", "https://192.168.0.1/"):
        with pytest.raises(Refused):
            rules.checked(url)
    with pytest.raises(Refused, match="https"):
        Rules(networks=rules.networks).checked("http://10.0.0.1/")
