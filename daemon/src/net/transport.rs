//! The numbers of QUIC, each with its reason.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::{AckFrequencyConfig, IdleTimeout, MtuDiscoveryConfig, TransportConfig, VarInt};

use super::congestion::ByDistanceConfig;

/// What one stream may have in flight: 80 MB/s at 100 ms.
const STREAM_WINDOW: u32 = 8 << 20;
/// What all streams of a connection may have in flight, in each direction.
pub(super) const CONNECTION_WINDOW: u32 = 64 << 20;
/// Requests that a peer may have under way at once.
pub(super) const MAX_STREAMS: u32 = 256;
/// What may come before anything is proven: a Join with 1,024 slots of 48 bytes, and room.
const UNPROVEN_WINDOW: u32 = 64 << 10;
/// Before anything is proven there is the control stream alone.
const UNPROVEN_STREAMS: u32 = 1;
/// Below the 30 s after which many NATs forget a UDP flow. A ping and its acknowledgement are some
/// 140 bytes with all headers, three a minute from each side at most: under 900 bytes a minute.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// Long enough to lose a few pings, short enough that a vanished peer is soon known to be.
const IDLE_TIMEOUT_MS: u32 = 30_000;
/// Ten segments of GSO must fit 64 KiB, and Ethernet carries 1,500 bytes with the headers of IP and UDP.
const MAX_MTU_V4: u16 = 1472;
const MAX_MTU_V6: u16 = 1452;
/// So many packets are acknowledged at once: each acknowledgement is a packet of its own, made, sent and
/// read, and a tenth of them says the same.
const ACK_EVERY: u32 = 10;
/// The last few of an answer are acknowledged this soon, so that its place is free again.
const MAX_ACK_DELAY: Duration = Duration::from_millis(5);
/// What a round trip is taken for until one is measured: a handshake packet that a gateway has
/// dropped is sent again after three times that, while the other side still opens the way.
const INITIAL_RTT: Duration = Duration::from_millis(100);
/// On loopback ten larger segments fit 64 KiB as well.
const MAX_MTU_LOOPBACK: u16 = 6500;
/// The transport of a connection on which nothing is proven yet; [`open_up`] widens it.
pub(super) fn transport(remote: IpAddr) -> Arc<TransportConfig> {
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.upper_bound(match remote.to_canonical() {
        ip if ip.is_loopback() => MAX_MTU_LOOPBACK,
        IpAddr::V4(_) => MAX_MTU_V4,
        IpAddr::V6(_) => MAX_MTU_V6,
    });
    let mut acks = AckFrequencyConfig::default();
    acks.ack_eliciting_threshold(VarInt::from_u32(ACK_EVERY)).max_ack_delay(Some(MAX_ACK_DELAY));
    let mut config = TransportConfig::default();
    config
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(UNPROVEN_WINDOW))
        .send_window(u64::from(CONNECTION_WINDOW))
        .max_concurrent_bidi_streams(VarInt::from_u32(UNPROVEN_STREAMS))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        // A datagram is only ever sent to see whether a link still answers.
        .datagram_receive_buffer_size(Some(1024))
        .datagram_send_buffer_size(1024)
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_TIMEOUT_MS))))
        .mtu_discovery_config(Some(mtu))
        .ack_frequency_config(Some(acks))
        .initial_rtt(INITIAL_RTT)
        .enable_segmentation_offload(true)
        // One answer after the other: each reader has long runs of bytes and is woken rarely. The
        // control stream goes first by its priority.
        .send_fairness(false)
        .congestion_controller_factory(Arc::new(ByDistanceConfig));
    Arc::new(config)
}

/// The transport of a connection to an introducer: few and small messages, and a ping.
pub(super) fn introducer_transport() -> Arc<TransportConfig> {
    let window = VarInt::from_u32(UNPROVEN_WINDOW);
    let mut config = TransportConfig::default();
    config
        .stream_receive_window(window)
        .receive_window(window)
        .send_window(u64::from(UNPROVEN_WINDOW))
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_TIMEOUT_MS))))
        .mtu_discovery_config(None);
    Arc::new(config)
}

/// The other side has proven a folder: it may ask, and send in bulk.
pub(super) fn open_up(connection: &quinn::Connection) {
    connection.set_receive_window(VarInt::from_u32(CONNECTION_WINDOW));
    connection.set_max_concurrent_bi_streams(VarInt::from_u32(MAX_STREAMS));
}
