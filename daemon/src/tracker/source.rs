//! Who is behind an address, for limits: one IPv4 address, or one IPv6 /64, which is what a single
//! subscriber is given and can draw addresses from at will.

use std::net::IpAddr;

/// An IPv4 address or an IPv6 network of 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Source([u32; 2]);

impl Source {
    /// Who is behind the address. An IPv4 address in IPv6 clothes counts as the former.
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            // No network of IPv6 begins with 32 zeros and goes on like an address.
            IpAddr::V4(address) => Self([0, address.to_bits()]),
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, h, ..] = address.octets();
                Self([u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h])])
            }
        }
    }

    /// The same as bytes, to be hashed.
    pub fn to_bytes(self) -> [u8; 8] {
        let ([a, b, c, d], [e, f, g, h]) = (self.0[0].to_be_bytes(), self.0[1].to_be_bytes());
        [a, b, c, d, e, f, g, h]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscriber_is_one_source_however_many_addresses_it_draws() {
        let source = |text: &str| Source::of(text.parse().unwrap());
        assert_eq!(source("2001:db8:1:2::1"), source("2001:db8:1:2:ffff::9"));
        assert_ne!(source("2001:db8:1:2::1"), source("2001:db8:1:3::1"));
        assert_eq!(source("::ffff:192.0.2.1"), source("192.0.2.1"));
        assert_ne!(source("192.0.2.1"), source("192.0.2.2"));
    }
}
