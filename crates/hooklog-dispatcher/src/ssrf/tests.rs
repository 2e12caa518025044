//! Tests of the guard: every forbidden range, every disguise of an address, the cases of public
//! advisories, and what an operator may open.

use super::*;

fn guard(networks: &[&str]) -> Guard {
    Guard::new(
        networks
            .iter()
            .map(|network| network.parse().unwrap())
            .collect(),
    )
}

#[test]
fn no_address_outside_the_public_internet_passes() {
    let forbidden = "
        0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.127.255.255 100.100.100.200
        127.0.0.1 127.255.255.254 169.254.0.1 169.254.169.254 169.254.170.2 172.16.0.1
        172.31.255.255 192.0.0.1 192.0.0.192 192.0.2.1 192.88.99.1 192.168.0.1 192.168.255.255
        198.18.0.1 198.19.255.255 198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.255 240.0.0.1
        255.255.255.255 168.63.129.16
        :: ::1 ::7f00:1 ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254
        ::ffff:0:7f00:1 ::5efe:7f00:1 64:ff9b::127.0.0.1 64:ff9b::a9fe:a9fe 64:ff9b::10.0.0.1
        64:ff9b:1::1 100::1 5f00::1 fc00::1 fd00::1 fd00:ec2::254 fd20:ce::254 fe80::1 febf::1
        fec0::1 ff00::1 ff02::1 2001::1 2001:0:7f00:1:: 2001:20::1 2001:1ff::1 2001:db8::1
        2002:7f00:1::1 2002:a9fe:a9fe:: 3fff::1 3fff:fff::1 4000::1 1::1";
    for address in forbidden.split_whitespace() {
        let parsed = address.parse().unwrap();
        assert!(
            guard(&[]).check_address(parsed).is_err(),
            "{address} must be refused"
        );
    }
}

#[test]
fn public_addresses_pass() {
    let public = "
        1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255
        128.0.0.1 169.253.255.255 169.255.0.1 172.15.255.255 172.32.0.0 192.0.1.1 192.167.1.1
        198.17.1.1 198.20.0.1 223.255.255.255 ::ffff:8.8.8.8 64:ff9b::8.8.8.8
        2001:200::1 2001:4860:4860::8888 2606:4700:4700::1111 2a00:1450::1 3ffe::1";
    for address in public.split_whitespace() {
        let parsed = address.parse().unwrap();
        assert_eq!(
            guard(&[]).check_address(parsed),
            Ok(()),
            "{address} must pass"
        );
    }
}

/// Literals go through the same check as names do; advisories of 2025 and 2026 (in several
/// servers) were about forms that slipped past it.
#[test]
fn literal_hosts_are_checked_in_every_disguise() {
    let blocked = "
        http://127.0.0.1/ http://127.1/ http://0/ http://2130706433/ http://0x7f.1/ http://0177.0.0.1/
        http://0x7f000001/ http://127.0.0.1./ http://[::1]/ http://[::]/ http://[::ffff:127.0.0.1]/
        http://[::ffff:7f00:1]/ http://[::127.0.0.1]/ http://[64:ff9b::7f00:1]/
        http://[2002:7f00:1::]/ https://169.254.169.254/latest/meta-data
        http://[fd00:ec2::254]/ http://[fe80::1]/ http://127.0.0.1:8080/ http://１２７.0.0.1/
        ftp://example.com/ gopher://example.com/ file:///etc/passwd data:text/plain,x
        http://user@example.com/ http://user:secret@example.com/ http://:secret@example.com/
        http://example.com:0/ http://./";
    for text in blocked.split_whitespace() {
        // What the parser refuses cannot be stored as an endpoint at all.
        if let Ok(url) = Url::parse(text) {
            assert!(
                guard(&[]).check_url(&url).is_err(),
                "{text} must be refused"
            );
        }
    }
    for text in [
        "https://example.com/hook",
        "http://8.8.8.8:8080/",
        "http://[2a00:1450::1]/",
    ] {
        assert_eq!(
            guard(&[]).check_url(&Url::parse(text).unwrap()),
            Ok(()),
            "{text}"
        );
    }
}

#[test]
fn an_operator_opens_networks_but_never_metadata_by_accident() {
    let cases = [
        ("127.0.0.0/8", "127.0.0.1", true),
        ("127.0.0.0/8", "::ffff:127.0.0.1", true),
        ("127.0.0.0/8", "64:ff9b::7f00:1", true),
        ("127.0.0.0/8", "::1", false),
        ("::1/128", "::1", true),
        ("::ffff:10.0.0.0/104", "10.1.2.3", true),
        ("::ffff:10.0.0.7/104", "10.1.2.3", true),
        ("10.0.0.0/8", "192.168.0.1", false),
        ("0.0.0.0/0", "192.168.0.1", true),
        ("0.0.0.0/0", "169.254.169.254", false),
        ("169.254.0.0/16", "169.254.169.254", false),
        ("169.254.0.0/16", "169.254.1.1", false),
        ("169.254.1.1/32", "169.254.1.1", true),
        ("169.254.0.0/16", "169.254.170.2", false),
        ("169.254.170.0/24", "169.254.170.23", false),
        ("169.254.170.23/32", "169.254.170.23", true),
        ("169.254.170.23/32", "169.254.170.2", false),
        ("fd00::/8", "fd00:ec2::23", false),
        ("fd00:ec2::/32", "fd00:ec2::23", false),
        ("fd00:ec2::/32", "fd00:ec2:1::1", false),
        ("fd00:ec2::23/128", "fd00:ec2::23", true),
        ("fd20::/16", "fd20:ce::254", false),
        ("fd20:ce::254/128", "fd20:ce::254", true),
        ("fd00::/8", "fd00:ec3::1", true),
        ("169.254.169.254/32", "169.254.169.254", true),
        ("::ffff:169.254.169.254/128", "169.254.169.254", true),
        ("0.0.0.0/0", "::ffff:169.254.169.254", false),
        ("::/0", "64:ff9b::a9fe:a9fe", false),
        ("::/0", "fd00:ec2::254", false),
        ("fd00:ec2::254/128", "fd00:ec2::254", true),
        ("fd00::/8", "fd12::1", true),
    ];
    for (network, address, passes) in cases {
        let found = guard(&[network]).check_address(address.parse().unwrap());
        assert_eq!(found.is_ok(), passes, "{network} and {address}");
    }
}

#[test]
fn the_reason_tells_the_operator_what_to_do() {
    let reason = guard(&[])
        .check_address("10.1.2.3".parse().unwrap())
        .unwrap_err()
        .to_string();
    assert_eq!(
        reason,
        "the address 10.1.2.3 is not public (private); \
         the server must run with --allow-network 10.0.0.0/8 to send there"
    );
}
