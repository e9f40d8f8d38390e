//! Word from the system that interfaces or addresses have come or gone.
//!
//! On Linux the kernel says so on a netlink socket; what exactly has changed is not read, since
//! whoever listens looks for himself. Where there is no such socket, nothing is ever said, and who
//! listens has to look now and then.

#[cfg(target_os = "linux")]
pub use self::linux::Changes;
#[cfg(not(target_os = "linux"))]
pub use self::mute::Changes;

#[cfg(target_os = "linux")]
mod linux {
    use std::io;
    use std::os::unix::net::UnixDatagram as AnyDatagrams;

    use rustix::net::netlink::SocketAddrNetlink;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with};
    use tokio::net::UnixDatagram;

    /// `RTMGRP_LINK`, `RTMGRP_IPV4_IFADDR` and `RTMGRP_IPV6_IFADDR` of `linux/rtnetlink.h`.
    const GROUPS: u32 = 0x1 | 0x10 | 0x100;

    /// Says when interfaces or addresses come or go.
    #[derive(Debug)]
    pub struct Changes(Option<UnixDatagram>);

    impl Changes {
        /// Listens from now on. Needs a tokio runtime.
        pub fn watch() -> Self {
            Self(open().ok())
        }

        /// Whether anything will ever be said.
        pub fn are_told(&self) -> bool {
            self.0.is_some()
        }

        /// Waits for the next change, or several at once. Safe to cancel.
        pub async fn next(&mut self) {
            if let Some(socket) = &self.0
                && socket.readable().await.is_ok()
            {
                // What is told is of no interest, nor is that some of it was lost.
                let mut told = [0; 8192];
                loop {
                    match socket.try_recv(&mut told) {
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                        // An end is what this kind of socket has not got.
                        Ok(0) => break,
                        _ => {}
                    }
                }
            }
            self.0 = None;
            std::future::pending::<()>().await;
        }
    }

    fn open() -> io::Result<UnixDatagram> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
        // Nothing is asked of it but to be readable and to be read: there any socket of datagrams is
        // like the other, and this type is the one that takes them all.
        UnixDatagram::from_std(AnyDatagrams::from(socket))
    }
}

#[cfg(not(target_os = "linux"))]
mod mute {
    /// Says nothing.
    #[derive(Debug)]
    pub struct Changes;

    impl Changes {
        /// Listens to nobody.
        pub fn watch() -> Self {
            Self
        }

        /// Nothing will ever be said.
        pub fn are_told(&self) -> bool {
            false
        }

        /// Waits for ever.
        pub async fn next(&mut self) {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::time::Duration;

    use harness::Lab;
    use tokio::time::timeout;

    use super::Changes;

    #[test]
    fn an_address_that_comes_is_told_and_silence_is_silence() {
        let Some(lab) = Lab::new() else { return };
        let host = lab.host(1);
        host.inside(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut changes = Changes::watch();
                assert!(changes.are_told());
                // Until the link-local address is there for good.
                while timeout(Duration::from_secs(3), changes.next()).await.is_ok() {}
                host.run("ip addr add 10.88.0.1/24 dev e0");
                timeout(Duration::from_secs(10), changes.next()).await.expect("it is told");
                assert!(timeout(Duration::from_millis(300), changes.next()).await.is_err());
            });
        });
    }
}
