//! Records as they are sent, by either side. Appends to a buffer, and decides nothing.

use super::pairs::write_pairs;
use super::record::{Header, Kind, LONGEST_CONTENT, PADDING, ProtocolStatus, Role};
use crate::codec::vars::{Unsendable, Vars};

/// `FCGI_KEEP_CONN`
pub(super) const KEEP_CONN: u8 = 1;

fn record(out: &mut Vec<u8>, kind: Kind, id: u16, content: &[u8; 8]) {
    out.extend_from_slice(&Header::of(kind, id, 8).encode());
    out.extend_from_slice(content);
}

/// The web server begins a request (section 5.1). `keep`: the application is to leave the connection
/// open behind its answer.
pub fn begin(out: &mut Vec<u8>, id: u16, role: Role, keep: bool) {
    let [high, low] = u16::from(role).to_be_bytes();
    let flags = if keep { KEEP_CONN } else { 0 };
    let content = [high, low, flags, 0, 0, 0, 0, 0];
    record(out, Kind::BeginRequest, id, &content);
}

/// All variables of a request, and the end of them (section 5.2). No pair is divided over records.
///
/// # Errors
/// [`Unsendable`], and `out` is as it was.
pub fn params(out: &mut Vec<u8>, id: u16, vars: &Vars) -> Result<(), Unsendable> {
    write_pairs(out, Kind::Params, id, vars)?;
    end_stream(out, Kind::Params, id);
    Ok(())
}

/// Content of a stream (section 5.3), in as many records as it takes, padded. Nothing for no content: an
/// empty record is the end.
pub fn stream(out: &mut Vec<u8>, kind: Kind, id: u16, content: &[u8]) {
    for some in content.chunks(LONGEST_CONTENT) {
        // At most LONGEST_CONTENT, 16 bits.
        let header = Header::of(kind, id, some.len() as u16);
        out.extend_from_slice(&header.encode());
        out.extend_from_slice(some);
        out.extend_from_slice(&PADDING[..header.padding.into()]);
    }
}

/// The end of a stream.
pub fn end_stream(out: &mut Vec<u8>, kind: Kind, id: u16) {
    out.extend_from_slice(&Header::of(kind, id, 0).encode());
}

/// The web server wants no answer any more (section 5.4).
pub fn abort(out: &mut Vec<u8>, id: u16) {
    out.extend_from_slice(&Header::of(Kind::AbortRequest, id, 0).encode());
}

/// The application is done with a request (section 5.5). `app_status` is what a CGI program would have
/// exited with.
pub fn end_request(out: &mut Vec<u8>, id: u16, app_status: u32, status: ProtocolStatus) {
    let [a, b, c, d] = app_status.to_be_bytes();
    let content = [a, b, c, d, status.into(), 0, 0, 0];
    record(out, Kind::EndRequest, id, &content);
}

/// The application does not know this type of management records (section 4.2).
pub fn unknown_type(out: &mut Vec<u8>, kind: Kind) {
    let content = [kind.into(), 0, 0, 0, 0, 0, 0, 0];
    record(out, Kind::UnknownType, 0, &content);
}
