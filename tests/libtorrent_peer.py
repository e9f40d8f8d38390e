"""A peer by libtorrent, of one torrent, at one address, which announces to one tracker.

    libtorrent_peer.py ADDRESS TORRENT DIRECTORY TRACKER

Says on standard output what the tracker says, and obeys `announce`, `scrape` and `stop` on standard input:

    announced NUMBER-OF-PEERS
    scraped COMPLETE INCOMPLETE
    connected ADDRESS
    failed MESSAGE
"""

import select
import sys

import libtorrent as lt


def start(address):
    return lt.session(
        {
            "listen_interfaces": f"{address}:6881",
            "alert_mask": lt.alert.category_t.tracker_notification
            | lt.alert.category_t.connect_notification
            | lt.alert.category_t.peer_notification
            | lt.alert.category_t.error_notification,
            # Nothing but the tracker tells of others.
            "enable_dht": False,
            "enable_lsd": False,
            "enable_upnp": False,
            "enable_natpmp": False,
        }
    )


def say(alert):
    if isinstance(alert, lt.tracker_reply_alert):
        print("announced", alert.num_peers, flush=True)
    elif isinstance(alert, lt.scrape_reply_alert):
        print("scraped", alert.complete, alert.incomplete, flush=True)
    elif isinstance(alert, lt.peer_connect_alert):
        print("connected", alert.ip[0], flush=True)
    elif isinstance(alert, (lt.tracker_error_alert, lt.scrape_failed_alert)):
        print("failed", alert.message(), flush=True)


def main(address, torrent, directory, tracker):
    session = start(address)
    parameters = lt.add_torrent_params()
    parameters.ti = lt.torrent_info(torrent)
    parameters.save_path = directory
    parameters.trackers = [tracker]
    handle = session.add_torrent(parameters)
    while True:
        session.wait_for_alert(100)
        for alert in session.pop_alerts():
            say(alert)
        if select.select([sys.stdin], [], [], 0)[0]:
            command = sys.stdin.readline().strip()
            if command == "announce":
                handle.force_reannounce(0, -1, lt.reannounce_flags_t.ignore_min_interval)
            elif command == "scrape":
                handle.scrape_tracker()
            elif command == "stop":
                # The end of the session alone says good-bye over HTTP only.
                handle.unset_flags(lt.torrent_flags.auto_managed)
                handle.pause()
            elif command == "":
                return


if __name__ == "__main__":
    main(*sys.argv[1:])
