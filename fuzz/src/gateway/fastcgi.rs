//! One connection of FastCGI, read as what a web server says and as what an application answers: however
//! it is cut, both find what a plain decoder finds in the whole. And pairs come back as they went.

use super::control::Control;
use ferricorn_gateway::codec::fastcgi::{
    self, Client, Error, Header, Kind, ProtocolStatus, Server, client, server,
};
use ferricorn_gateway::codec::vars::{VarLimits, Vars};

/// Name and value.
type Pair = (Vec<u8>, Vec<u8>);

/// What a side said, whichever cuts there were.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Begin(u16),
    Params(u16, Result<Vec<Pair>, u16>),
    Stdin(u16, Vec<u8>),
    StdinEnd(u16),
    Abort(u16),
    Stdout(Vec<u8>),
    Stderr(Vec<u8>),
    End(u32, ProtocolStatus),
    Failed(Error),
}

/// Reads the input from both sides, then takes it for pairs.
pub fn check(data: &[u8]) {
    let Some((control, input)) = Control::split(data) else {
        return;
    };
    let pieces = control.cut(input);
    // Small bounds, so that they are met, and whether requests are ended before their content came.
    let limits = server::Limits {
        requests: 1 + usize::from(control.tune & 3),
        params: VarLimits {
            bytes: [24, 200, 65536][usize::from(control.tune >> 2) % 3],
            count: [2, 5, 512][usize::from(control.tune >> 4) % 3],
        },
        ..server::Limits::default()
    };
    let early = control.tune & 0x80 != 0;
    let whole = serve(&[input], &limits, early);
    assert_eq!(serve(&pieces, &limits, early), whole);
    assert_eq!(serve(&bytes(input), &limits, early), whole);
    let told = plain_server(input, &limits, early);
    assert_eq!(whole.0, told);
    let whole = ask(&[input]);
    assert_eq!(ask(&pieces), whole);
    assert_eq!(ask(&bytes(input)), whole);
    assert_eq!(whole, plain_client(input));
    pairs_come_back(&pieces);
}

fn bytes(input: &[u8]) -> Vec<&[u8]> {
    input.chunks(1).collect()
}

/// What a server finds, and what it answers by itself.
fn serve(pieces: &[&[u8]], limits: &server::Limits, early: bool) -> (Vec<Said>, Vec<u8>) {
    let (mut server, mut said, mut out) = (Server::new(), Vec::new(), Vec::new());
    let mut buffer = Vec::new();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            let event = match server.next(&buffer, limits, &mut out) {
                Ok(event) => event,
                Err(error) => {
                    assert_eq!(server.next(b"", limits, &mut out), Err(error));
                    said.push(Said::Failed(error));
                    return (said, out);
                }
            };
            let consumed = match event {
                server::Event::NeedMore { consumed } => {
                    buffer.drain(..consumed);
                    assert!(buffer.len() < 8, "something is kept");
                    break;
                }
                server::Event::Replied { consumed } => consumed,
                server::Event::Begin { consumed, id } => {
                    said.push(Said::Begin(id));
                    consumed
                }
                server::Event::Params { consumed, id } => {
                    let vars = server.params(id);
                    let pairs = vars.map(all).map_err(|reject| reject.status.as_u16());
                    said.push(Said::Params(id, pairs));
                    if early {
                        server.end(id, 0, ProtocolStatus::Complete, &mut out);
                    }
                    consumed
                }
                server::Event::Stdin { id, skip, len } => {
                    let some = &buffer[skip..skip + len];
                    match said.last_mut() {
                        Some(Said::Stdin(last, content)) if *last == id => content.extend(some),
                        _ => said.push(Said::Stdin(id, some.to_vec())),
                    }
                    assert!(len > 0);
                    skip + len
                }
                server::Event::StdinEnd { consumed, id } => {
                    said.push(Said::StdinEnd(id));
                    server.end(id, 0, ProtocolStatus::Complete, &mut out);
                    consumed
                }
                server::Event::Abort { consumed, id } => {
                    said.push(Said::Abort(id));
                    server.end(id, 1, ProtocolStatus::Complete, &mut out);
                    consumed
                }
            };
            buffer.drain(..consumed);
            assert!(server.active() <= limits.requests);
        }
    }
    (said, out)
}

/// What a client finds that has asked one request after the other, and for capabilities.
fn ask(pieces: &[&[u8]]) -> Vec<Said> {
    let (mut client, mut said, mut buffer) = (Client::new(), Vec::new(), Vec::new());
    client.begin(1);
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            let event = match client.next(&buffer) {
                Ok(event) => event,
                Err(error) => {
                    assert_eq!(client.next(b""), Err(error));
                    said.push(Said::Failed(error));
                    return said;
                }
            };
            let (skip, len) = match event {
                client::Event::NeedMore { consumed } => {
                    buffer.drain(..consumed);
                    assert!(buffer.len() < 8, "something is kept");
                    break;
                }
                client::Event::Stdout { skip, len } | client::Event::Stderr { skip, len } => {
                    assert!(len > 0);
                    (skip, len)
                }
                client::Event::End { consumed, .. } | client::Event::Values { consumed, .. } => {
                    (consumed, 0)
                }
            };
            let some = &buffer[skip..skip + len];
            match (event, said.last_mut()) {
                (client::Event::Stdout { .. }, Some(Said::Stdout(content)))
                | (client::Event::Stderr { .. }, Some(Said::Stderr(content))) => {
                    content.extend(some);
                }
                (client::Event::Stdout { .. }, _) => said.push(Said::Stdout(some.to_vec())),
                (client::Event::Stderr { .. }, _) => said.push(Said::Stderr(some.to_vec())),
                (
                    client::Event::End {
                        app_status, status, ..
                    },
                    _,
                ) => {
                    said.push(Said::End(app_status, status));
                    client.begin(1);
                }
                _ => {}
            }
            buffer.drain(..skip + len);
        }
    }
    said
}

fn all(vars: &Vars) -> Vec<Pair> {
    let owned = |(name, value): (&[u8], &[u8])| (name.to_vec(), value.to_vec());
    vars.iter().map(owned).collect()
}

/// Header, as much of the content as there is, and what is behind it.
type Record<'a> = (Result<Header, Error>, &'a [u8], &'a [u8]);

/// The first record of the input.
fn record(input: &[u8]) -> Option<Record<'_>> {
    let header = match Header::decode(*input.first_chunk()?) {
        Ok(header) => header,
        Err(error) => return Some((Err(error), b"", b"")),
    };
    let rest = &input[8..];
    let (content, rest) = rest.split_at(rest.len().min(header.content.into()));
    let rest = rest.get(header.padding.into()..).unwrap_or_default();
    Some((Ok(header), content, rest))
}

/// One request, as the plain decoder keeps it.
#[derive(Debug)]
struct Kept {
    id: u16,
    params: Vec<u8>,
    stage: u8,
}

/// What a web server says, decoded record by record over the whole input.
fn plain_server(mut input: &[u8], limits: &server::Limits, early: bool) -> Vec<Said> {
    let (mut said, mut kept) = (Vec::new(), Vec::<Kept>::new());
    while let Some((header, content, rest)) = record(input) {
        input = rest;
        let header = match header {
            Ok(header) => header,
            Err(error) => {
                said.push(Said::Failed(error));
                return said;
            }
        };
        let (kind, id) = (header.kind, header.id);
        let complete = content.len() == usize::from(header.content);
        let index = kept.iter().position(|request| request.id == id);
        let failed = match (kind, index) {
            (Kind::GetValues, _) if id == 0 => match plain_pairs(content, 1024, 32, complete) {
                Ok(_) => None,
                Err(_) => Some(Error::Values),
            },
            _ if id == 0 => None,
            (Kind::BeginRequest, Some(_)) => Some(Error::Id(id)),
            (Kind::BeginRequest, None) if header.content != 8 => Some(Error::Length(kind)),
            (Kind::BeginRequest, None) => {
                if complete && content[..2] == [0, 1] && kept.len() < limits.requests {
                    said.push(Said::Begin(id));
                    let (params, stage) = (Vec::new(), 0);
                    kept.push(Kept { id, params, stage });
                }
                None
            }
            (_, None) => None,
            (Kind::AbortRequest, Some(index)) => {
                said.push(Said::Abort(id));
                kept.remove(index);
                None
            }
            (Kind::Params | Kind::Stdin, Some(index)) => {
                let request = &mut kept[index];
                let turn = if kind == Kind::Params { 0 } else { 1 };
                match (request.stage == turn, header.content) {
                    (true, 0) if turn == 0 => {
                        let VarLimits { bytes, count } = limits.params;
                        let pairs = plain_pairs(&request.params, bytes, count, true);
                        said.push(Said::Params(id, pairs));
                        request.stage = 1;
                        if early {
                            kept.remove(index);
                        }
                        None
                    }
                    (true, 0) => {
                        said.push(Said::StdinEnd(id));
                        kept.remove(index);
                        None
                    }
                    (true, _) if turn == 0 => {
                        request.params.extend(content);
                        None
                    }
                    (true, _) => {
                        match said.last_mut() {
                            _ if content.is_empty() => {}
                            Some(Said::Stdin(last, all)) if *last == id => all.extend(content),
                            _ => said.push(Said::Stdin(id, content.to_vec())),
                        }
                        None
                    }
                    (false, 0) if request.stage > turn => None,
                    (false, _) => Some(Error::Order(kind)),
                }
            }
            (Kind::Data | Kind::Other(_), Some(_)) => None,
            (_, Some(_)) => Some(Error::Kind(kind)),
        };
        if let Some(error) = failed {
            said.push(Said::Failed(error));
            return said;
        }
    }
    said
}

/// The pairs of a whole stream; 400 or 431 where there is something wrong with the first that has it.
/// What is not complete may end anywhere.
fn plain_pairs(
    mut input: &[u8],
    bytes: usize,
    count: usize,
    complete: bool,
) -> Result<Vec<Pair>, u16> {
    let (mut pairs, mut sum) = (Vec::new(), 0);
    let length = |input: &mut &[u8]| {
        let (len, rest) = match **input {
            [short @ 0..=127, ref rest @ ..] => (usize::from(short), rest),
            [a, b, c, d, ref rest @ ..] => {
                let [a, b, c, d] = [a & 127, b, c, d].map(usize::from);
                (a << 24 | b << 16 | c << 8 | d, rest)
            }
            _ => return None,
        };
        *input = rest;
        Some(len)
    };
    while !input.is_empty() {
        let ended = if complete { Err(400) } else { Ok(Vec::new()) };
        let Some((name, value)) = length(&mut input).zip(length(&mut input)) else {
            return ended;
        };
        sum += name + value;
        if sum > bytes || pairs.len() == count {
            return Err(431);
        }
        if input.len() < name + value {
            return ended;
        }
        let (pair, rest) = input.split_at(name + value);
        if name == 0 || pair.contains(&0) {
            return Err(400);
        }
        pairs.push((pair[..name].to_vec(), pair[name..].to_vec()));
        input = rest;
    }
    Ok(pairs)
}

/// What an application answers, decoded record by record over the whole input.
fn plain_client(mut input: &[u8]) -> Vec<Said> {
    let (mut said, mut ended) = (Vec::new(), false);
    while let Some((header, content, rest)) = record(input) {
        input = rest;
        let failed = match header {
            Err(error) => Some(error),
            Ok(Header { kind, id, .. }) => match kind {
                Kind::Stdout | Kind::Stderr | Kind::EndRequest if id != 1 => Some(Error::Id(id)),
                Kind::Stdout if ended && header.is_ok_and(|header| header.content > 0) => {
                    Some(Error::Order(kind))
                }
                Kind::Stdout => {
                    ended = header.is_ok_and(|header| header.content == 0);
                    match said.last_mut() {
                        _ if content.is_empty() => {}
                        Some(Said::Stdout(all)) => all.extend(content),
                        _ => said.push(Said::Stdout(content.to_vec())),
                    }
                    None
                }
                Kind::Stderr => {
                    match said.last_mut() {
                        _ if content.is_empty() => {}
                        Some(Said::Stderr(all)) => all.extend(content),
                        _ => said.push(Said::Stderr(content.to_vec())),
                    }
                    None
                }
                Kind::EndRequest if header.is_ok_and(|header| header.content != 8) => {
                    Some(Error::Length(kind))
                }
                Kind::EndRequest => {
                    if let &[a, b, c, d, status, ..] = content {
                        if content.len() == 8 {
                            let app_status = u32::from_be_bytes([a, b, c, d]);
                            said.push(Said::End(app_status, status.into()));
                            ended = false;
                        }
                    }
                    None
                }
                _ => Some(Error::Kind(kind)),
            },
        };
        if let Some(error) = failed {
            said.push(Said::Failed(error));
            return said;
        }
    }
    said
}

/// Pieces of the input as names and values, written and read again; no pair is divided.
fn pairs_come_back(pieces: &[&[u8]]) {
    let texts: Vec<Vec<u8>> = pieces
        .iter()
        .map(|piece| piece.iter().copied().filter(|&byte| byte != 0).collect())
        .filter(|text: &Vec<u8>| !text.is_empty())
        .collect();
    let sent: Vec<Pair> = texts
        .chunks(2)
        .map(|pair| (pair[0].clone(), pair.get(1).cloned().unwrap_or_default()))
        .collect();
    let vars: Vars = sent.iter().map(|(name, value)| (name, value)).collect();
    let mut out = Vec::new();
    fastcgi::begin(&mut out, 7, fastcgi::Role::Responder, true);
    fastcgi::params(&mut out, 7, &vars).expect("short");
    let mut rest = &out[16..];
    while let Some((Ok(header), content, behind)) = record(rest) {
        assert_eq!((header.kind, header.id), (Kind::Params, 7));
        assert_eq!(rest.len() % 8, 0);
        assert!(plain_pairs(content, usize::MAX, usize::MAX, true).is_ok());
        rest = behind;
    }
    let limits = server::Limits {
        params: VarLimits {
            bytes: usize::MAX,
            count: usize::MAX,
        },
        ..server::Limits::default()
    };
    let (said, _) = serve(&[&out], &limits, false);
    assert_eq!(said, [Said::Begin(7), Said::Params(7, Ok(sent))]);
}
