//! The head of what a program answers: shown longer and longer it is decided once; what is accepted can
//! be sent to a client, with nothing about a connection in it; written down by us, it says the same.

use super::control::Control;
use ferricorn_gateway::codec::cgi_head::{self, Answer, Form, HeadReader, Kind};
use ferricorn_gateway::codec::{BadAnswer, HeadLimits};
use ferricorn_http::{Defaults, Length};

const PERSONAL: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "status",
];

/// Reads the input as a head.
pub fn check(data: &[u8]) {
    let Some((control, input)) = Control::split(data) else {
        return;
    };
    let limits = HeadLimits {
        size: [40, 200, 65536][usize::from(control.tune) % 3],
        fields: [2, 5, 256][usize::from(control.tune >> 2) % 3],
    };
    let whole = read(&[input], limits);
    for pieces in [control.cut(input), input.chunks(1).collect()] {
        let cut = read(&pieces, limits);
        assert_eq!(format!("{cut:?}"), format!("{whole:?}"));
    }
    if let Ok(Some((end, answer))) = whole {
        assert!(end <= limits.size && answer.fields.len() <= limits.fields);
        sound(&answer);
        let head = &input[..end];
        assert!(head.ends_with(b"\n\n") || head.ends_with(b"\n\r\n"));
        written_again(&answer);
    }
}

fn read(pieces: &[&[u8]], limits: HeadLimits) -> Result<Option<(usize, Answer)>, BadAnswer> {
    let (mut reader, mut buffer) = (HeadReader::new(), Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        let read = reader.next(&buffer, limits)?;
        if read.is_some() {
            return Ok(read);
        }
    }
    Ok(None)
}

fn sound(answer: &Answer) {
    for name in PERSONAL {
        // `Status` is a field like any other behind a status line, but not for the client.
        assert!(!answer.fields.contains_key(name), "{name}");
    }
    assert!(!answer.status.is_informational());
    let lengths = answer.fields.get_all("content-length").iter();
    let lengths: Vec<_> = lengths.map(|length| length.to_str().ok()).collect();
    match answer.length {
        Some(length) => assert_eq!(lengths, [Some(length.to_string().as_str())]),
        None => assert_eq!(lengths, []),
    }
    if let Kind::LocalRedirect(path) = &answer.kind {
        assert!(path.starts_with('/') && !path.starts_with("//"));
        assert_eq!(answer.fields.len(), 1);
    }
}

fn written_again(answer: &Answer) {
    for form in [Form::Cgi, Form::Http] {
        let mut out = b"before".to_vec();
        let length = match answer.length {
            Some(length) => Length::Known(length),
            None => Length::Unknown,
        };
        let defaults = Defaults::default();
        let (status, fields) = (answer.status, &answer.fields);
        let written = cgi_head::write(&mut out, form, false, status, fields, length, &defaults);
        assert!(written.is_ok(), "an answer can be sent: {written:?}");
        let head = out.strip_prefix(b"before").expect("what was there stays");
        // More fields are there than there were: those of the framing.
        let limits = HeadLimits {
            size: usize::MAX,
            fields: 1024,
        };
        let (end, again) = match HeadReader::new().next(head, limits) {
            Ok(Some(read)) => read,
            other => panic!("{other:?} of {:?}", String::from_utf8_lossy(head)),
        };
        assert_eq!((end, again.form), (head.len(), form));
        assert_eq!(again.status, status);
        for (name, value) in fields {
            // One of several, where there may be one; and the length of what has no content.
            let single = matches!(
                name.as_str(),
                "content-type" | "date" | "server" | "content-length"
            );
            let kept = again
                .fields
                .get_all(name)
                .iter()
                .any(|other| other == value);
            assert!(single || kept, "{name} is gone");
        }
    }
}
