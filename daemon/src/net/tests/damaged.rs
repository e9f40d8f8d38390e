//! Whoever forwards packets may damage or drop them: no byte is spoiled by it.

use tokio::net::UdpSocket;

use super::*;

/// Forwards between whoever comes and `to`; every 20th packet has a bit flipped, every 31st is lost.
async fn bad_relay(to: SocketAddr) -> SocketAddr {
    let relay = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = relay.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut buffer, mut dialer, mut count) = (vec![0; 9000], None, 0_usize);
        while let Ok((len, from)) = relay.recv_from(&mut buffer).await {
            count += 1;
            if from != to {
                dialer = Some(from);
            }
            let next = if from == to { dialer } else { Some(to) };
            if count.is_multiple_of(20) {
                buffer[count % len] ^= 1 << (count % 8);
            }
            if let Some(next) = next.filter(|_| !count.is_multiple_of(31)) {
                let _ = relay.send_to(&buffer[..len], next).await;
            }
        }
    });
    address
}

#[tokio::test]
async fn a_relay_that_flips_bits_and_drops_packets_spoils_no_byte() {
    let (mut alice, mut bob) = (device(1, 1), device(2, 1));
    let relay = bad_relay(bob.address()).await;
    alice.net.dial(folder(), relay, FoundBy::Pinned);
    let of_bob = alice.joined().await;
    bob.joined().await;
    let mut whole = 0;
    let check = |number, answer| {
        let expected = ChunkAnswer::Here(vec![number as u8; 1 << 18].into());
        whole += usize::from(answer == expected);
    };
    let question: Vec<_> = (0..8).map(|number| wanted(number, 1 << 18)).collect();
    of_bob.chunks(&question, check).await.unwrap();
    assert_eq!(whole, 8);
}
