//! The variables of a request in front of its content, by SCGI and by uwsgi: however they are cut, they
//! are what a plain decoder finds in the whole, or refused where it finds something wrong; and written
//! again they are the same.

use super::control::Control;
use ferricorn_gateway::codec::vars::{VarLimits, Vars};
use ferricorn_gateway::codec::{scgi as scgi_codec, uwsgi as uwsgi_codec};

/// Name and value.
type Pair = (Vec<u8>, Vec<u8>);

/// Variables, bytes that they took, and what the codec says besides; or the status of a refusal.
type Told = Result<Option<(Vec<Pair>, usize, u64)>, u16>;

fn limits(control: &Control) -> VarLimits {
    VarLimits {
        bytes: [40, 200, 65536][usize::from(control.tune) % 3],
        count: [3, 6, 512][usize::from(control.tune >> 2) % 3],
    }
}

fn all(vars: &Vars) -> Vec<Pair> {
    let owned = |(name, value): (&[u8], &[u8])| (name.to_vec(), value.to_vec());
    vars.iter().map(owned).collect()
}

/// Reads the input as what a web server says by SCGI.
pub fn scgi(data: &[u8]) {
    let Some((control, input)) = Control::split(data) else {
        return;
    };
    let limits = limits(&control);
    let whole = read_scgi(&[input], limits);
    assert_eq!(read_scgi(&control.cut(input), limits), whole);
    let bytes: Vec<&[u8]> = input.chunks(1).collect();
    assert_eq!(read_scgi(&bytes, limits), whole);
    match (&whole, plain_scgi(input, limits)) {
        // It is refused at the first byte that tells; the plain decoder looks at all of them.
        (Err(_), None) | (Ok(None), None) => {}
        (Ok(told), plain) => assert_eq!(*told, plain),
        (Err(_), Some(_)) => panic!("refused: {whole:?}"),
    }
    if let Ok(Some((pairs, _, length))) = whole {
        let vars: Vars = pairs.iter().map(|(name, value)| (name, value)).collect();
        let mut out = Vec::new();
        scgi_codec::write(&mut out, &vars, length).expect("it was read");
        let unlimited = VarLimits {
            bytes: usize::MAX,
            count: usize::MAX,
        };
        let again = read_scgi(&[&out], unlimited).expect("ours").expect("whole");
        let mut others = pairs;
        others.retain(|(name, _)| !matches!(&name[..], b"CONTENT_LENGTH" | b"SCGI"));
        assert_eq!(
            (&again.0[2..], again.1, again.2),
            (&others[..], out.len(), length)
        );
    }
}

fn read_scgi(pieces: &[&[u8]], limits: VarLimits) -> Told {
    let (mut reader, mut vars, mut total) = (scgi_codec::Reader::new(), Vars::new(), 0);
    for piece in pieces {
        match reader.next(piece, limits, &mut vars) {
            Ok(scgi_codec::Step::NeedMore) => total += piece.len(),
            Ok(scgi_codec::Step::Complete {
                consumed,
                content_length,
            }) => return Ok(Some((all(&vars), total + consumed, content_length))),
            Err(reject) => {
                let again = reader.next(b"x", limits, &mut vars);
                assert_eq!(again, Err(reject));
                return Err(reject.status.as_u16());
            }
        }
    }
    Ok(None)
}

fn plain_scgi(input: &[u8], limits: VarLimits) -> Option<(Vec<Pair>, usize, u64)> {
    let colon = input.iter().position(|&byte| byte == b':')?;
    let digits = std::str::from_utf8(&input[..colon]).ok()?;
    let length: usize = digits.parse().ok()?;
    if digits != length.to_string() || length > limits.bytes {
        return None;
    }
    let (text, rest) = input[colon + 1..].split_at_checked(length)?;
    let parts: Vec<&[u8]> = text.strip_suffix(b"\0")?.split(|&byte| byte == 0).collect();
    if parts.len() % 2 != 0 || rest.first() != Some(&b',') {
        return None;
    }
    let pairs = parts
        .chunks(2)
        .map(|pair| (pair[0].to_vec(), pair[1].to_vec()));
    let pairs: Vec<Pair> = pairs.collect();
    for (index, (name, _)) in pairs.iter().enumerate() {
        let twice = pairs[..index].iter().any(|(other, _)| other == name);
        if name.is_empty() || twice && !name.starts_with(b"HTTP_") {
            return None;
        }
    }
    let named = |name: &[u8]| pairs.iter().find(|(other, _)| other == name);
    let (first, value) = &pairs[0];
    let number = value.iter().all(u8::is_ascii_digit) && first == b"CONTENT_LENGTH";
    let content_length = std::str::from_utf8(value).ok()?.parse().ok()?;
    let version = named(b"SCGI")?;
    let fits = number && version.1 == b"1" && pairs.len() <= limits.count;
    fits.then_some((pairs, colon + 1 + length + 1, content_length))
}

/// Reads the input as what a web server says by uwsgi.
pub fn uwsgi(data: &[u8]) {
    let Some((control, input)) = Control::split(data) else {
        return;
    };
    let limits = uwsgi_codec::Limits {
        modifiers: [&[0][..], &[0, 30, 9]][usize::from(control.tune >> 7)],
        vars: limits(&control),
    };
    let whole = read_uwsgi(&[input], &limits);
    assert_eq!(read_uwsgi(&control.cut(input), &limits), whole);
    let bytes: Vec<&[u8]> = input.chunks(1).collect();
    assert_eq!(read_uwsgi(&bytes, &limits), whole);
    match (&whole, plain_uwsgi(input, &limits)) {
        (Err(_), None) | (Ok(None), None) => {}
        (Ok(told), plain) => assert_eq!(*told, plain),
        (Err(_), Some(_)) => panic!("refused: {whole:?}"),
    }
    if let Ok(Some((pairs, len, modifier))) = whole {
        let vars: Vars = pairs.iter().map(|(name, value)| (name, value)).collect();
        let mut out = Vec::new();
        uwsgi_codec::write(&mut out, modifier as u8, &vars).expect("it was read");
        // But for modifier2, which means nothing here.
        assert_eq!((&out[..3], &out[4..]), (&input[..3], &input[4..len]));
    }
}

fn read_uwsgi(pieces: &[&[u8]], limits: &uwsgi_codec::Limits) -> Told {
    let (mut reader, mut vars, mut total) = (uwsgi_codec::Reader::new(), Vars::new(), 0);
    for piece in pieces {
        match reader.next(piece, limits, &mut vars) {
            Ok(uwsgi_codec::Step::NeedMore) => total += piece.len(),
            Ok(uwsgi_codec::Step::Complete { consumed, modifier }) => {
                return Ok(Some((all(&vars), total + consumed, modifier.into())));
            }
            Err(reject) => {
                let again = reader.next(b"x", limits, &mut vars);
                assert_eq!(again, Err(reject));
                return Err(reject.status.as_u16());
            }
        }
    }
    Ok(None)
}

fn plain_uwsgi(input: &[u8], limits: &uwsgi_codec::Limits) -> Option<(Vec<Pair>, usize, u64)> {
    let [modifier, low, high, _] = *input.first_chunk()?;
    let size = usize::from(u16::from_le_bytes([low, high]));
    if !limits.modifiers.contains(&modifier) || size > limits.vars.bytes {
        return None;
    }
    let mut packet = input.get(4..4 + size)?;
    let mut pairs = Vec::new();
    while !packet.is_empty() {
        let mut text = || {
            let (length, rest) = packet.split_first_chunk()?;
            let (text, rest) = rest.split_at_checked(u16::from_le_bytes(*length).into())?;
            packet = rest;
            Some(text.to_vec())
        };
        let (name, value) = (text()?, text()?);
        let known = [&b"UWSGI_SCHEME"[..], b"UWSGI_ROUTER"].contains(&&name[..]);
        let magic = name.starts_with(b"UWSGI_") && !known;
        if name.is_empty() || magic || name.contains(&0) || value.contains(&0) {
            return None;
        }
        pairs.push((name, value));
    }
    let fits = pairs.len() <= limits.vars.count;
    fits.then_some((pairs, 4 + size, modifier.into()))
}
