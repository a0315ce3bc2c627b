//! `/__hdr`: a response made to order, to see what a handler can and cannot put on the wire.
//!
//! The query has the status as `s=200%20OK`, each field as `h=Name|Value`, the body as `b=`, all
//! percent-encoded; with `g` the body is streamed and its length not declared. What the `http` crate
//! refuses is an error of the handler, never repaired here.

use std::io::Write;

use ferricorn::http::{HeaderName, HeaderValue, StatusCode, header::CONTENT_TYPE};
use ferricorn::{Body, Error, Request, Response};

pub fn respond(request: &Request) -> Result<Response, Error> {
    let mut response = Response::default();
    let (mut body, mut streamed) = (Vec::new(), false);
    for pair in request.query().unwrap_or_default().split('&') {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        match key {
            "s" => *response.status_mut() = status(&decode(value)?)?,
            "h" => {
                let (name, value) = value.split_once('|').unwrap_or((value, ""));
                let name = HeaderName::from_bytes(&decode(name)?)?;
                let value = HeaderValue::from_bytes(&decode(value)?)?;
                response.headers_mut().append(name, value);
            }
            "b" => body = decode(value)?,
            "g" => streamed = true,
            _ => {}
        }
    }
    response
        .headers_mut()
        .entry(CONTENT_TYPE)
        .or_insert(HeaderValue::from_static("text/plain"));
    *response.body_mut() = match streamed {
        false => Body::from(body),
        true => Body::stream(move |exchange| {
            exchange.write_all(&body)?;
            // Out with it before its end, and so its length, is known.
            exchange.flush()?;
            Ok(())
        }),
    };
    Ok(response)
}

/// A status and its reason. The server writes a reason of its own; one with a line end in it is
/// refused all the same, not dropped.
fn status(line: &[u8]) -> Result<StatusCode, Error> {
    let end = line.iter().position(|&byte| byte == b' ');
    let (code, reason) = line.split_at(end.unwrap_or(line.len()));
    HeaderValue::from_bytes(reason)?;
    Ok(StatusCode::from_bytes(code)?)
}

/// Percent-decoding, once.
fn decode(text: &str) -> Result<Vec<u8>, Error> {
    let mut pieces = text.split('%');
    let mut bytes = pieces.next().unwrap_or_default().as_bytes().to_vec();
    for piece in pieces {
        let bad = || Error::msg("% without two digits");
        let (digits, rest) = piece.split_at_checked(2).ok_or_else(bad)?;
        bytes.push(u8::from_str_radix(digits, 16)?);
        bytes.extend(rest.as_bytes());
    }
    Ok(bytes)
}
