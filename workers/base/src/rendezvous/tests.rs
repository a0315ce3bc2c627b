//! What siblings say to each other at the rendezvous, and what they believe of it.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use super::*;

fn parcels() -> Vec<(Parcel, Vec<u8>)> {
    let tcp = |text: &str| text.parse::<SocketAddr>().unwrap();
    let scoped = SocketAddrV6::new("fe80::1".parse().unwrap(), 9, 7, 3).into();
    let peers = [
        Peer::Unix,
        Peer::Tcp(tcp("192.0.2.1:65535")),
        Peer::Tcp(scoped),
    ];
    let locals = [
        LocalAddr::Unix("".into()),
        LocalAddr::Unix(OsString::from_vec(vec![0xff; 255]).into()),
        LocalAddr::Tcp(tcp("[2001:db8::1]:80")),
    ];
    let stages = [
        (Stage::Fresh, ""),
        (Stage::Idle, ""),
        (Stage::Head, "GET / HT"),
        (Stage::Preface(ProxyVersions::V1), ""),
        (Stage::Preface(ProxyVersions::V2), "\r\n\r\n\0"),
        (Stage::Preface(ProxyVersions::Auto), "PROXY"),
    ];
    let mut all = vec![];
    for (n, (stage, input)) in stages.into_iter().enumerate() {
        for (m, peer) in peers.iter().enumerate() {
            let bits = n + m;
            let parcel = Parcel {
                stage,
                since_us: u64::MAX - bits as u64,
                counted: bits & 1 != 0,
                link: Link {
                    tls: bits & 2 != 0,
                    nameless: bits & 4 != 0,
                    stranger: true,
                },
                peer: peer.clone(),
                local: Arc::new(locals[bits % 3].clone()),
            };
            all.push((parcel, input.as_bytes().to_vec()));
        }
    }
    all
}

#[test]
fn every_connection_arrives_as_it_was_given() {
    let pair = Rendezvous::new().unwrap();
    for (parcel, input) in parcels() {
        let (mut client, server) = UnixStream::pair().unwrap();
        pair.give(&parcel, &input, &server).unwrap();
        drop(server);
        let taken = pair.take().unwrap().unwrap();
        assert_eq!((taken.parcel, taken.input), (parcel, input));
        UnixStream::from(taken.socket).write_all(b"alive").unwrap();
        let mut text = String::new();
        client.read_to_string(&mut text).unwrap();
        assert_eq!(text, "alive");
    }
    assert!(pair.take().unwrap().is_none());
}

#[test]
fn the_largest_input_goes_and_a_larger_one_does_not() {
    let pair = Rendezvous::new().unwrap();
    let (parcel, _) = parcels().swap_remove(7);
    let (_client, server) = UnixStream::pair().unwrap();
    let input = vec![b'x'; INPUT_MAX + 1];
    let error = pair.give(&parcel, &input, &server).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    pair.give(&parcel, &input[1..], &server).unwrap();
    assert_eq!(pair.take().unwrap().unwrap().input, input[1..]);
}

#[test]
fn a_full_queue_is_said_and_what_is_in_it_stays() {
    let pair = Rendezvous::new().unwrap();
    let (parcel, _) = parcels().swap_remove(0);
    let mut given = 0;
    loop {
        let (_client, server) = UnixStream::pair().unwrap();
        match pair.give(&parcel, b"", &server) {
            Ok(()) => given += 1,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error} after {given}"),
        }
    }
    assert!(given >= 100, "room for {given} only");
    for _ in 0..given {
        assert!(pair.take().unwrap().is_some());
    }
    assert!(pair.take().unwrap().is_none());
}

/// Whatever comes, it is refused or understood, and what is understood means the same again.
#[test]
fn no_message_is_misread() {
    let mut seed = 1u64;
    let mut random = || {
        seed = seed
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (seed >> 33) as usize
    };
    let mut understood = 0;
    for (parcel, input) in parcels() {
        let mut message = encode(&parcel).unwrap();
        let facts = message.len();
        message.extend(&input);
        assert_eq!(decode(&message), Some((parcel, &input[..])));
        for cut in 0..facts {
            assert_eq!(decode(&message[..cut]), None, "cut at {cut}");
        }
        for _ in 0..2000 {
            let mut other = message.clone();
            for _ in 0..=random() % 3 {
                let at = random() % other.len();
                other[at] = random() as u8;
            }
            if let Some((parcel, rest)) = decode(&other) {
                let mut again = encode(&parcel).unwrap();
                again.extend(rest);
                assert_eq!(again, other);
                understood += 1;
            }
        }
    }
    assert!(understood > 1000, "{understood}");
}

#[test]
fn what_is_not_known_closes_the_connection() {
    let pair = Rendezvous::new().unwrap();
    let send = |message: &[u8], sockets: &[RawFd]| {
        let rights = [ControlMessage::ScmRights(sockets)];
        let rights = if sockets.is_empty() { &[] } else { &rights[..] };
        let fd = pair.ends()[0].as_raw_fd();
        let message = [IoSlice::new(message)];
        sendmsg::<()>(fd, &message, rights, MsgFlags::empty(), None).unwrap();
    };
    let (parcel, _) = parcels().swap_remove(0);
    let good = encode(&parcel).unwrap();
    let mut newer = good.clone();
    newer[0] = VERSION + 1;
    let mut idle_with_input = good.clone();
    idle_with_input.push(b'G');
    let mut long = good.clone();
    long.resize(FACTS_MAX + INPUT_MAX + 9, 0);
    for message in [&newer, &idle_with_input, &long, &vec![]] {
        let (mut client, server) = UnixStream::pair().unwrap();
        send(message, &[server.as_raw_fd()]);
        drop(server);
        let error = pair.take().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
    }
    // Nor is any kept of those for which nobody would look.
    let (mut client, server) = UnixStream::pair().unwrap();
    send(&newer, &[server.as_raw_fd(); 253]);
    drop(server);
    assert!(pair.take().is_err());
    client.set_nonblocking(true).unwrap();
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    send(&good, &[]);
    assert!(pair.take().is_err());
    assert!(pair.take().unwrap().is_none());
}
