//! What people and their monitoring read: numbers alone, no addresses and no swarms.

use std::fmt::Write as _;

use crate::tracker::counters::Count;
use crate::tracker::desk::Desk;

/// Counters in `/metrics`: name, labels, meaning (empty where it was said before), number.
const METRICS: [(&str, &str, &str, Count); 18] = [
    ("connects_total", "protocol=\"udp\"", "Connection ids given out.", Count::UdpConnects),
    ("announces_total", "protocol=\"udp\"", "Announces answered.", Count::UdpAnnounces),
    ("announces_total", "protocol=\"http\"", "", Count::HttpAnnounces),
    ("scrapes_total", "protocol=\"udp\"", "Scrapes answered.", Count::UdpScrapes),
    ("scrapes_total", "protocol=\"http\"", "", Count::HttpScrapes),
    ("errors_total", "protocol=\"udp\"", "Requests refused with a reason.", Count::UdpErrors),
    ("errors_total", "protocol=\"http\"", "", Count::HttpErrors),
    ("limited_total", "protocol=\"udp\"", "Requests beyond a source's rate.", Count::UdpLimited),
    ("limited_total", "protocol=\"http\"", "", Count::HttpLimited),
    ("malformed_total", "protocol=\"udp\"", "Datagrams that are no requests.", Count::UdpMalformed),
    ("turned_away_total", "protocol=\"http\"", "Connections closed at once.", Count::HttpTurnedAway),
    ("udp_datagrams_total", "direction=\"in\"", "Datagrams.", Count::UdpReceived),
    ("udp_datagrams_total", "direction=\"out\"", "", Count::UdpSent),
    ("udp_bytes_total", "direction=\"in\"", "Bytes of datagrams, without headers.", Count::UdpReceivedBytes),
    ("udp_bytes_total", "direction=\"out\"", "", Count::UdpSentBytes),
    ("udp_unsent_total", "", "Answers that the system would not take.", Count::UdpUnsent),
    ("foreign_total", "outcome=\"taken\"", "QUIC datagrams on the tracker's port.", Count::Foreign),
    ("foreign_total", "outcome=\"dropped\"", "", Count::ForeignDropped),
];

/// The text that Prometheus collects.
pub(super) fn metrics(desk: &Desk) -> String {
    let mut text = String::with_capacity(4_096);
    let population = desk.swarms.population();
    head(&mut text, "swarms", "Swarms with somebody in them.", "gauge");
    line(&mut text, "swarms", "", population.swarms as u64);
    head(&mut text, "peers", "Peers that are remembered.", "gauge");
    line(&mut text, "peers", "family=\"ipv4\"", population.v4 as u64);
    line(&mut text, "peers", "family=\"ipv6\"", population.v6 as u64);
    head(&mut text, "peers_limit", "Peers that can be remembered.", "gauge");
    line(&mut text, "peers_limit", "", desk.swarms.limits().peers as u64);
    head(&mut text, "uptime_seconds", "Seconds since the start.", "gauge");
    line(&mut text, "uptime_seconds", "", desk.now().since_start().as_secs());
    let rendezvous = desk.rendezvous();
    for (name, meaning, kind, value) in [
        ("introducer_devices", "Devices that can be introduced.", "gauge", rendezvous.connections as u64),
        (
            "introducer_registrations",
            "Folders that they have named.",
            "gauge",
            rendezvous.registrations as u64,
        ),
        ("introductions_total", "Introductions made.", "counter", rendezvous.introductions),
        ("introducer_refusals_total", "Introductions and relays refused.", "counter", rendezvous.refusals),
        ("relays", "Relays that are lent now.", "gauge", rendezvous.relays as u64),
        ("relays_total", "Relays lent.", "counter", rendezvous.relays_lent),
        ("relayed_bytes_total", "Bytes that relays have passed on.", "counter", rendezvous.relayed_bytes),
    ] {
        head(&mut text, name, meaning, kind);
        line(&mut text, name, "", value);
    }
    for (name, labels, meaning, count) in METRICS {
        if !meaning.is_empty() {
            head(&mut text, name, meaning, "counter");
        }
        line(&mut text, name, labels, desk.counters.get(count));
    }
    text
}

fn head(text: &mut String, name: &str, meaning: &str, kind: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "# HELP syncd_tracker_{name} {meaning}\n# TYPE syncd_tracker_{name} {kind}");
}

fn line(text: &mut String, name: &str, labels: &str, value: u64) {
    let _ = match labels {
        "" => writeln!(text, "syncd_tracker_{name} {value}"),
        labels => writeln!(text, "syncd_tracker_{name}{{{labels}}} {value}"),
    };
}

/// A page for whoever opens the tracker in a browser.
pub(super) fn status(desk: &Desk) -> String {
    let population = desk.swarms.population();
    let announces = [Count::UdpAnnounces, Count::HttpAnnounces].map(|count| desk.counters.get(count));
    let rendezvous = desk.rendezvous();
    let rows = [
        ("Swarms", population.swarms as u64),
        ("Peers over IPv4", population.v4 as u64),
        ("Peers over IPv6", population.v6 as u64),
        ("Announces over UDP", announces[0]),
        ("Announces over HTTP", announces[1]),
        ("Devices that can be introduced", rendezvous.connections as u64),
        ("Introductions", rendezvous.introductions),
        ("Relays now", rendezvous.relays as u64),
        ("Megabytes relayed", rendezvous.relayed_bytes / 1_000_000),
        ("Hours since the start", desk.now().since_start().as_secs() / 3_600),
    ];
    let rows: String =
        rows.iter().map(|(name, value)| format!("<tr><th>{name}</th><td>{value}</td></tr>\n")).collect();
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>Tracker</title>\n\
         <style>body{{font:1rem/1.5 system-ui;margin:2rem auto;max-width:36rem;padding:0 1rem}}\
         th{{text-align:left;font-weight:normal;padding-right:2rem}}td{{text-align:right}}</style></head>\n\
         <body><h1>Tracker</h1>\n\
         <p>This machine tells the members of a swarm of each other. It holds no files and no names.</p>\n\
         <table>\n{rows}</table>\n\
         <p>syncd {version} · <a href=\"/metrics\">metrics</a></p></body></html>\n"
    )
}
