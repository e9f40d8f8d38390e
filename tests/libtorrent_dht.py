"""Nodes of the Mainline DHT by libtorrent, one for each address given, that all know each other.

Says `ready`, then obeys lines on standard input and ends with them:

    announce HASH PORT   the second node announces that port
    get_peers HASH       the third node looks up; says `peers ADDRESS:PORT ...`
"""

import sys
import time

import libtorrent as lt

PORT = 6881


def start(address):
    return lt.session(
        {
            "listen_interfaces": f"{address}:{PORT}",
            "enable_dht": True,
            "dht_bootstrap_nodes": "",
            "alert_mask": lt.alert.category_t.dht_operation_notification | lt.alert.category_t.stats_notification,
            # Nothing but the DHT, and nothing beyond these addresses.
            "enable_lsd": False,
            "enable_upnp": False,
            "enable_natpmp": False,
        }
    )


def get_peers(session, info_hash):
    """All peers that are named within two seconds of the first answer, or in ten seconds none."""
    session.pop_alerts()
    session.dht_get_peers(info_hash)
    peers, deadline = set(), time.monotonic() + 10
    while time.monotonic() < deadline:
        session.wait_for_alert(100)
        for alert in session.pop_alerts():
            if isinstance(alert, lt.dht_get_peers_reply_alert) and alert.info_hash == info_hash:
                if not peers and alert.peers():
                    deadline = time.monotonic() + 2
                peers.update(f"{address}:{port}" for address, port in alert.peers())
    return peers


def knows(session):
    session.post_session_stats()
    session.wait_for_alert(1000)
    stats = [alert.values for alert in session.pop_alerts() if isinstance(alert, lt.session_stats_alert)]
    return stats[-1]["dht.dht_nodes"] if stats else 0


def main(addresses):
    sessions = [start(address) for address in addresses]
    deadline = time.monotonic() + 60
    # By itself a node meets one other in five seconds.
    while any(knows(session) < len(addresses) // 2 for session in sessions):
        if time.monotonic() > deadline:
            sys.exit("the nodes do not find each other")
        for session in sessions:
            for address in addresses:
                session.add_dht_node((address, PORT))
        time.sleep(0.5)
    print("ready", flush=True)
    for line in sys.stdin:
        command, info_hash, *rest = line.split()
        info_hash = lt.sha1_hash(bytes.fromhex(info_hash))
        if command == "announce":
            sessions[1].dht_announce(info_hash, int(rest[0]), 0)
        else:
            print("peers", *sorted(get_peers(sessions[2], info_hash)), flush=True)


main(sys.argv[1:])
