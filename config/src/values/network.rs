//! Networks, for lists of who may do something.

use std::{fmt, net::IpAddr};

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::schema::{Kind, SettingType};

/// A network in CIDR notation; a bare address is the network of that one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network(IpNet);

impl Network {
    /// Whether `address` belongs to it. An IPv4 address in IPv6 clothes (`::ffff:192.0.2.1`) counts as what
    /// it is.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }

    /// The network itself.
    pub fn as_ipnet(&self) -> IpNet {
        self.0
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Network {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let network = text
            .parse()
            .or_else(|_| text.parse::<IpAddr>().map(|address| IpNet::from(address.to_canonical())));
        network.map(Self).map_err(|_| {
            de::Error::custom(format!("`{text}` is neither a network such as 10.0.0.0/8 nor an IP address"))
        })
    }
}

impl SettingType for Network {
    const KIND: Kind = Kind::Network;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_found_in_its_network_in_either_clothes() {
        let network: Network = serde_json::from_str(r#""10.0.0.0/8""#).unwrap();
        assert!(
            network.contains("10.1.2.3".parse().unwrap())
                && network.contains("::ffff:10.1.2.3".parse().unwrap())
        );
        assert!(!network.contains("11.0.0.1".parse().unwrap()) && !network.contains("::1".parse().unwrap()));
        let one: Network = serde_json::from_str(r#""192.0.2.7""#).unwrap();
        assert_eq!(one.to_string(), "192.0.2.7/32");
        assert!(serde_json::from_str::<Network>(r#""10.0.0.0/33""#).is_err());
    }
}
