//! A list of addresses and networks, such as `10.0.0.0/8, ::1`.

use std::net::IpAddr;

/// What a text of the list is to be.
pub(super) const FORM: &str = "an IP address or a network such as 10.0.0.0/8";

/// Addresses, by the first bits that they have in common. An IPv4 address that came over IPv6 counts as itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks(Vec<Network>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    /// How many bits count: 0 to 32, or to 128.
    bits: u32,
}

impl Networks {
    /// `None` where a part is neither an address nor a network.
    pub(super) fn read<'a>(parts: impl Iterator<Item = &'a str>) -> Option<Self> {
        parts.map(network).collect::<Option<Vec<_>>>().map(Self)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(address))
    }

    /// As they are written in the setting.
    pub(super) fn shown(&self) -> String {
        let shown: Vec<String> = self.0.iter().map(|network| network.shown()).collect();
        shown.join(",")
    }
}

fn network(text: &str) -> Option<Network> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let most = width(address);
    let bits = bits.map_or(Some(most), |bits| bits.parse().ok().filter(|bits| *bits <= most))?;
    Some(Network { address, bits })
}

/// How many bits such an address has.
fn width(address: IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { 128 }
}

impl Network {
    fn contains(&self, other: IpAddr) -> bool {
        let rest = width(self.address) - self.bits;
        let is_same = |one: u128, other: u128| one.checked_shr(rest) == other.checked_shr(rest);
        match (self.address, other) {
            (IpAddr::V4(one), IpAddr::V4(other)) => is_same(one.to_bits().into(), other.to_bits().into()),
            (IpAddr::V6(one), IpAddr::V6(other)) => is_same(one.to_bits(), other.to_bits()),
            _ => false,
        }
    }

    fn shown(&self) -> String {
        match self.bits == width(self.address) {
            true => self.address.to_string(),
            false => format!("{}/{}", self.address, self.bits),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_in_their_networks() {
        let networks = Networks::read(["10.1.2.3/8", "192.168.1.5", "::1", "2001:db8::/32"].into_iter()).unwrap();
        for inside in ["10.0.0.1", "10.255.0.1", "192.168.1.5", "::1", "2001:db8:1::9", "::ffff:10.0.0.1"] {
            assert!(networks.contains(inside.parse().unwrap()), "{inside}");
        }
        for outside in ["11.0.0.1", "192.168.1.4", "::2", "2001:db9::", "::ffff:11.0.0.1", "::a00:1"] {
            assert!(!networks.contains(outside.parse().unwrap()), "{outside}");
        }
        assert_eq!(networks.shown(), "10.1.2.3/8,192.168.1.5,::1,2001:db8::/32");
        let all = Networks::read(["0.0.0.0/0", "::/0"].into_iter()).unwrap();
        assert!(all.contains("203.0.113.7".parse().unwrap()) && all.contains("2001:db8::1".parse().unwrap()));
        assert!(!Networks::default().contains("127.0.0.1".parse().unwrap()));
        for bad in ["proxy", "10.0.0.0/33", "::/129", "10.0.0.0/", "/8", "10.0.0/8", "*", "10.0.0.0/-1", "10.0.0.1:80"]
        {
            assert_eq!(Networks::read([bad].into_iter()), None, "{bad}");
        }
    }
}
