//! The machines of one measurement, and the wire between them.

use std::net::Ipv4Addr;
use std::path::Path;

use harness::Lab;

use crate::Outcome;
use crate::node::Node;
use crate::wan::{Line, Relay};

/// The device that a machine has on the bridge.
const BRIDGED: &str = "e0";
/// The device that it has on a slow line.
const SLOW: &str = "wan0";

/// Machines on a bridge, or two at the ends of a slow line. No route leads out of either.
pub(crate) struct Rig {
    /// The machines; the first one has the data.
    pub(crate) nodes: Vec<Node>,
    _relay: Option<Relay>,
    _lab: Lab, // last: machines go before their network
}

impl Rig {
    /// As many machines as are asked for, with empty homes and trees below a directory.
    pub(crate) fn new(below: &Path, count: u8, line: Option<Line>) -> Outcome<Self> {
        let lab = Lab::new().ok_or("no network namespaces can be made here; be root")?;
        let mut nodes = Vec::new();
        let mut ends = Vec::new();
        for number in 1..=count {
            let host = lab.host(number);
            let (address, wire) = match line {
                None => (Ipv4Addr::new(10, 77, 0, number), BRIDGED),
                Some(_) => {
                    let address = Ipv4Addr::new(10, 78, 0, number);
                    host.run(&format!("ip link set {BRIDGED} down")); // there is but one way
                    ends.push(host.inside(|| Relay::end(SLOW, address))?);
                    (address, SLOW)
                }
            };
            nodes.push(Node::new(below, number, host, address, wire)?);
        }
        let relay = match (line, <[_; 2]>::try_from(ends)) {
            (Some(line), Ok(ends)) => Some(Relay::start(ends, line)?),
            (Some(_), Err(_)) => return Err("a slow line has two ends".into()),
            (None, _) => None,
        };
        Ok(Self { nodes, _relay: relay, _lab: lab })
    }
}
