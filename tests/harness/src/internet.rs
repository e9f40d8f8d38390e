//! A small internet: hosts with public addresses, and homes behind gateways that translate.
//!
//! A gateway is as those of homes are: nothing new comes in from outside, to it or through it. That
//! is not what Linux does by itself, and without it no hole could be punched: the other side's first
//! packet would reach the gateway itself, which then gives our own flow another port.

use std::cell::Cell;
use std::io::Write;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::thread::JoinHandle;

use crate::space::Space;

/// How a gateway chooses the port that the world sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nat {
    /// The device's own, if it is free: the same for everybody.
    Preserving,
    /// Another one for each destination.
    Random,
}

/// The wires between all of them. It goes when it is dropped.
#[derive(Debug)]
pub struct Internet {
    switch: Space,
    hosts: Cell<u8>,
}

/// A machine in it, behind a gateway of its own or not.
#[derive(Debug)]
pub struct Place {
    space: Rc<Space>,
    gateway: Option<Space>,
    public: Ipv4Addr,
    own: Ipv4Addr,
}

impl Internet {
    /// None where this machine does not let us make namespaces and gateways.
    pub fn new() -> Option<Self> {
        let has_nft =
            Command::new("nft").arg("--version").output().is_ok_and(|output| output.status.success());
        if !has_nft || !Space::are_allowed() {
            return None;
        }
        Some(Self { switch: Space::switch().expect("a switch can be made"), hosts: Cell::new(0) })
    }

    /// A host with a public address.
    pub fn host(&self) -> Place {
        let (space, public) = self.connected();
        Place { space: Rc::new(space), gateway: None, public, own: public }
    }

    /// A host at home.
    pub fn home(&self, nat: Nat) -> Place {
        let (gateway, public) = self.connected();
        let number = self.hosts.get();
        let space = Space::new().expect("a namespace can be made");
        let (inside, own) = (Ipv4Addr::new(192, 168, number, 1), Ipv4Addr::new(192, 168, number, 2));
        lay(&space, "e0", own, 24, &gateway, "lan");
        configure(&gateway, &format!("ip addr add {inside}/24 dev lan"));
        configure(&gateway, "ip link set lan up");
        configure(&space, &format!("ip route add default via {inside}"));
        configure(&gateway, "sysctl -q -w net.ipv4.ip_forward=1");
        let host = Place { space: Rc::new(space), gateway: Some(gateway), public, own };
        host.nft(&format!(
            "table ip filter {{
                chain input {{
                    type filter hook input priority 0
                    iifname \"e0\" ct state new drop
                }}
                chain forward {{
                    type filter hook forward priority 0
                    iifname \"e0\" ct state new ct status dnat accept
                    iifname \"e0\" ct state new drop
                }}
            }}
            table ip nat {{
                chain forwards {{
                    type nat hook prerouting priority -100
                }}
                chain out {{
                    type nat hook postrouting priority 100
                    {}
                }}
            }}\n",
            masquerade(nat)
        ));
        host
    }

    /// A namespace on the switch, with a public address.
    fn connected(&self) -> (Space, Ipv4Addr) {
        let number = self.hosts.get() + 1;
        self.hosts.set(number);
        let (space, address) =
            (Space::new().expect("a namespace can be made"), Ipv4Addr::new(11, 0, 0, number));
        let port = format!("p{number}");
        lay(&space, "e0", address, 16, &self.switch, &port);
        configure(&self.switch, &format!("ip link set {port} master br0 up"));
        (space, address)
    }
}

impl Place {
    /// Where the world sees it.
    pub fn public(&self) -> Ipv4Addr {
        self.public
    }

    /// Its own address; that of its home, if it is at one.
    pub fn own(&self) -> Ipv4Addr {
        self.own
    }

    /// Does some work there, on a thread of its own; threads that it starts are there too.
    pub fn thread<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        self.space.thread(work)
    }

    /// The same at its gateway.
    pub fn gateway_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        self.gateway().thread(work)
    }

    /// The address of its gateway inside.
    pub fn gateway_address(&self) -> Ipv4Addr {
        let [a, b, c, _] = self.own.octets();
        Ipv4Addr::new(a, b, c, 1)
    }

    /// Has the gateway choose ports otherwise, for flows to come.
    pub fn set_nat(&self, nat: Nat) {
        self.nft(&format!("flush chain ip nat out\nadd rule ip nat out {}\n", masquerade(nat)));
    }

    /// Has the gateway let a UDP port in from outside.
    pub fn forward(&self, port: u16) {
        self.nft(&format!(
            "add rule ip nat forwards iifname \"e0\" udp dport {port} dnat to {}:{port}\n",
            self.own
        ));
    }

    /// Bytes that have gone out on its wire.
    pub fn sent_bytes(&self) -> u64 {
        self.space.sent_bytes()
    }

    /// A command that runs there and ends with the thread that starts it.
    pub fn command(&self, program: &str) -> Command {
        let enter = self.space.enter();
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(enter.get_program()).args(enter.get_args());
        command.arg(program).stdin(Stdio::null());
        command
    }

    pub(crate) fn space(&self) -> Rc<Space> {
        Rc::clone(&self.space)
    }

    fn gateway(&self) -> &Space {
        self.gateway.as_ref().expect("it is at home")
    }

    fn nft(&self, rules: &str) {
        let mut command = self.gateway().enter();
        command.args(["nft", "-f", "-"]).stdin(Stdio::piped());
        let mut nft = command.spawn().expect("nft can be run");
        let mut pipe = nft.stdin.take().expect("was asked for");
        pipe.write_all(rules.as_bytes()).expect("nft reads its rules");
        drop(pipe);
        assert!(nft.wait().expect("its end can be seen").success(), "nft refuses {rules}");
    }
}

fn masquerade(nat: Nat) -> &'static str {
    match nat {
        Nat::Preserving => "oifname \"e0\" masquerade",
        Nat::Random => "oifname \"e0\" masquerade random",
    }
}

/// Lays a wire between two namespaces; the first end gets an address.
fn lay(space: &Space, name: &str, address: Ipv4Addr, prefix: u8, other: &Space, other_name: &str) {
    let (here, there) = (space.pid(), other.pid());
    let wire = format!("ip link add {name} netns {here} type veth peer name {other_name} netns {there}");
    let laid = Command::new("sh").args(["-c", &wire]).status().expect("ip can be run");
    assert!(laid.success(), "{wire}");
    configure(space, &format!("ip addr add {address}/{prefix} dev {name}"));
    configure(space, &format!("ip link set {name} up"));
}

fn configure(space: &Space, line: &str) {
    space.run(line).expect("the network can be configured");
}
