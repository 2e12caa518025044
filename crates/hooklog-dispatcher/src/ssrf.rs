//! The guard against requests to places that only this machine can reach (SSRF).
//!
//! Every address is checked, of names and of literals alike, at every attempt. One forbidden
//! address refuses the whole name: a name that points at both a public and a private address is
//! an attack or a mistake.
//!
//! **Invariant:** an address passes only if it is public or inside a network that the operator
//! named. Addresses that hand out a cloud machine's credentials pass only if a network names
//! exactly them (`/32`, `/128`): opening a private range never opens them by accident.
//! **Next:** `resolve.rs`, where addresses come from.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use url::{Host, Url};

/// Decides which URLs and addresses may be sent to.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    allow: Vec<IpNet>,
}

/// Why a request is refused before it is made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Blocked {
    /// Neither http nor https.
    #[error("the scheme `{found}` is not http or https")]
    Scheme {
        /// The scheme found.
        found: String,
    },
    /// No host to connect to.
    #[error("the URL has no host")]
    Host,
    /// User name or password in the URL, which would show in lists and logs.
    #[error("the URL holds a user name or password")]
    Credentials,
    /// Port 0 cannot be connected to.
    #[error("the URL has port 0")]
    Port,
    /// The address is not public.
    #[error(
        "the address {address} is not public ({range}); \
         the server must run with --allow-network {network} to send there"
    )]
    Address {
        /// The address, in its canonical form.
        address: IpAddr,
        /// What the address is for.
        range: &'static str,
        /// The network that would have to be opened.
        network: IpNet,
    },
}

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8, name: &'static str) -> (Ipv4Net, &'static str) {
    (Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix), name)
}

const fn v6(head: [u16; 3], prefix: u8, name: &'static str) -> (Ipv6Net, &'static str) {
    let [a, b, c] = head;
    (
        Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0), prefix),
        name,
    )
}

/// The IANA registry of special-purpose IPv4 addresses, and multicast and class E; link-local is
/// in [`METADATA`].
const FORBIDDEN_V4: [(Ipv4Net, &str); 14] = [
    v4(0, 0, 0, 0, 8, "this network"),
    v4(10, 0, 0, 0, 8, "private"),
    v4(100, 64, 0, 0, 10, "shared by carriers"),
    v4(127, 0, 0, 0, 8, "loopback"),
    v4(172, 16, 0, 0, 12, "private"),
    v4(192, 0, 0, 0, 24, "protocol assignments"),
    v4(192, 0, 2, 0, 24, "documentation"),
    v4(192, 88, 99, 0, 24, "6to4 relay"),
    v4(192, 168, 0, 0, 16, "private"),
    v4(198, 18, 0, 0, 15, "benchmarks"),
    v4(198, 51, 100, 0, 24, "documentation"),
    v4(203, 0, 113, 0, 24, "documentation"),
    v4(224, 0, 0, 0, 4, "multicast"),
    v4(240, 0, 0, 0, 4, "reserved"),
];

/// The only IPv6 block that is handed out to the public (IANA: global unicast).
const GLOBAL_V6: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// What is special inside it.
const FORBIDDEN_V6: [(Ipv6Net, &str); 4] = [
    v6(
        [0x2001, 0, 0],
        23,
        "protocol assignments, Teredo among them",
    ),
    v6([0x2001, 0xdb8, 0], 32, "documentation"),
    v6([0x2002, 0, 0], 16, "6to4"),
    v6([0x3fff, 0, 0], 20, "documentation"),
];

/// The well-known prefix of NAT64 (RFC 6052): the last four bytes are an IPv4 address.
const NAT64: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);

/// Where clouds hand out credentials and settings to whoever asks. IPv4 link-local holds most of
/// them (169.254.169.254 nearly everywhere, 169.254.170.2 of AWS ECS, 169.254.170.23 of EKS) and
/// nothing that a webhook is meant for, so it is closed as a whole; so is the IPv6 block that AWS
/// takes for the same (`::254`, `::23` of EKS). The others: Oracle, Azure (a public address),
/// Alibaba; Google over IPv6.
const METADATA: [IpNet; 6] = [
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 0, 0), 16)),
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(192, 0, 0, 192), 32)),
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(168, 63, 129, 16), 32)),
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(100, 100, 100, 200), 32)),
    IpNet::V6(Ipv6Net::new_assert(
        Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0),
        32,
    )),
    IpNet::V6(Ipv6Net::new_assert(
        Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
        128,
    )),
];

impl Guard {
    /// A guard that also lets these networks pass. A network in the IPv4-mapped form stands for
    /// the IPv4 network.
    pub fn new(allow: Vec<IpNet>) -> Self {
        Self {
            allow: allow.into_iter().map(canonical).collect(),
        }
    }

    /// Whether a URL may be sent to, as far as that shows before its name is resolved.
    pub fn check_url(&self, url: &Url) -> Result<(), Blocked> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Blocked::Scheme {
                found: url.scheme().to_owned(),
            });
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Blocked::Credentials);
        }
        if url.port() == Some(0) {
            return Err(Blocked::Port);
        }
        match url.host() {
            None => Err(Blocked::Host),
            // The parser has already read forms as `0x7f.1` or `2130706433` as addresses.
            Some(Host::Ipv4(address)) => self.check_address(address.into()),
            Some(Host::Ipv6(address)) => self.check_address(address.into()),
            Some(Host::Domain(name)) if name.trim_matches('.').is_empty() => Err(Blocked::Host),
            Some(Host::Domain(_)) => Ok(()),
        }
    }

    /// Whether an address may be connected to.
    pub fn check_address(&self, address: IpAddr) -> Result<(), Blocked> {
        let address = address.to_canonical();
        if let IpAddr::V6(v6) = address
            && NAT64.contains(&v6)
        {
            // A NAT64 gateway connects to the embedded address, so that is what counts.
            let [.., a, b, c, d] = v6.octets();
            return self.check_address(Ipv4Addr::new(a, b, c, d).into());
        }
        if METADATA.iter().any(|network| network.contains(&address)) {
            let network = IpNet::from(address);
            let named = self.allow.contains(&network);
            let range = "link-local or metadata of a cloud";
            return if named {
                Ok(())
            } else {
                Err(Blocked::Address {
                    address,
                    range,
                    network,
                })
            };
        }
        if self.allow.iter().any(|network| network.contains(&address)) {
            return Ok(());
        }
        match forbidden(address) {
            None => Ok(()),
            Some((network, range)) => Err(Blocked::Address {
                address,
                range,
                network,
            }),
        }
    }
}

/// The range that forbids this address.
fn forbidden(address: IpAddr) -> Option<(IpNet, &'static str)> {
    match address {
        IpAddr::V4(address) => FORBIDDEN_V4
            .iter()
            .find(|(network, _)| network.contains(&address))
            .map(|(network, name)| (IpNet::V4(*network), *name)),
        IpAddr::V6(address) if !GLOBAL_V6.contains(&address) => {
            // Loopback, unspecified, v4-compatible, unique local, link-local, multicast and all
            // that is not handed out: naming the single address is the narrowest way to open it.
            Some((IpNet::from(IpAddr::V6(address)), "not global unicast"))
        }
        IpAddr::V6(address) => FORBIDDEN_V6
            .iter()
            .find(|(network, _)| network.contains(&address))
            .map(|(network, name)| (IpNet::V6(*network), *name)),
    }
}

/// The IPv4 network that an IPv4-mapped network stands for; others as they are.
fn canonical(network: IpNet) -> IpNet {
    // `::ffff:0:0/96` is where IPv4 addresses are mapped to.
    const MAPPED_BITS: u8 = 96;
    match (
        network.addr().to_canonical(),
        network.prefix_len().checked_sub(MAPPED_BITS),
    ) {
        (IpAddr::V4(address), Some(prefix)) if network.addr().is_ipv6() => {
            Ipv4Net::new(address, prefix)
                .map_or(network, IpNet::V4)
                .trunc()
        }
        _ => network.trunc(),
    }
}

#[cfg(test)]
mod tests;
