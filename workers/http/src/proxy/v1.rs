//! Version 1: one line of text (proxy-protocol.txt section 2.1).

use super::{Preface, ProxyAddresses, ProxyHeader, tcp};
use crate::reject::Reject;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Bytes of the longest line, its CRLF included.
const LONGEST: usize = 107;
/// Characters of the longest addresses.
const LONGEST_V4: usize = 15;
const LONGEST_V6: usize = 45;

pub(super) fn parse(input: &[u8]) -> Result<Preface, Reject> {
    let mut line = Line { input, at: 0 };
    match line.read() {
        Ok(addresses) => Ok(Preface::Complete {
            len: line.at,
            header: ProxyHeader {
                addresses,
                tls: false,
            },
        }),
        Err(Stop::NeedMore) if input.len() < LONGEST => Ok(Preface::NeedMore),
        Err(Stop::NeedMore) => Err(Reject::bad("PROXY line is longer than 107 bytes")),
        Err(Stop::Bad(reason)) => Err(Reject::bad(reason)),
    }
}

/// Why reading stopped.
enum Stop {
    NeedMore,
    Bad(&'static str),
}

/// The line, read from the front; of a longer input no more than a line can have.
struct Line<'a> {
    input: &'a [u8],
    at: usize,
}

impl<'a> Line<'a> {
    fn read(&mut self) -> Result<ProxyAddresses, Stop> {
        self.exactly(b"PROXY ", "PROXY line does not begin with PROXY")?;
        match self.next()? {
            b'T' => {
                self.exactly(b"CP", "PROXY protocol is not TCP4, TCP6 or UNKNOWN")?;
                match self.next()? {
                    b'4' => self.addresses(LONGEST_V4, |text| {
                        text.parse::<Ipv4Addr>().ok().map(IpAddr::from)
                    }),
                    b'6' => self.addresses(LONGEST_V6, |text| {
                        text.parse::<Ipv6Addr>().ok().map(IpAddr::from)
                    }),
                    _ => Err(Stop::Bad("PROXY protocol is not TCP4, TCP6 or UNKNOWN")),
                }
            }
            b'U' => {
                self.exactly(b"NKNOWN", "PROXY protocol is not TCP4, TCP6 or UNKNOWN")?;
                self.rest()
            }
            _ => Err(Stop::Bad("PROXY protocol is not TCP4, TCP6 or UNKNOWN")),
        }
    }

    /// Behind `TCP4` or `TCP6`. Exactly one blank between two parts.
    fn addresses(
        &mut self,
        longest: usize,
        parse: impl Fn(&str) -> Option<IpAddr>,
    ) -> Result<ProxyAddresses, Stop> {
        self.exactly(b" ", "PROXY line lacks a blank")?;
        let of_address = |byte: u8| byte.is_ascii_hexdigit() || byte == b':' || byte == b'.';
        let mut address = || {
            let text = self.part(longest, b' ', of_address)?;
            parse(text).ok_or(Stop::Bad("PROXY address is invalid"))
        };
        let (source, destination) = (address()?, address()?);
        let source_port = port(self.part(5, b' ', |byte| byte.is_ascii_digit())?)?;
        let port = port(self.part(5, b'\r', |byte| byte.is_ascii_digit())?)?;
        self.exactly(b"\n", "PROXY line does not end with CRLF")?;
        Ok(tcp(
            SocketAddr::new(source, source_port),
            SocketAddr::new(destination, port),
        ))
    }

    /// Behind `UNKNOWN`: whatever stands before the CRLF is to be ignored.
    fn rest(&mut self) -> Result<ProxyAddresses, Stop> {
        const WRONG: &str = "PROXY line does not end with CRLF";
        match self.next()? {
            b'\r' => {}
            b' ' => loop {
                match self.next()? {
                    b'\r' => break,
                    b'\n' => return Err(Stop::Bad(WRONG)),
                    _ => {}
                }
            },
            _ => return Err(Stop::Bad("PROXY protocol is not TCP4, TCP6 or UNKNOWN")),
        }
        self.exactly(b"\n", WRONG)?;
        Ok(ProxyAddresses::Unknown)
    }

    fn next(&mut self) -> Result<u8, Stop> {
        let line = &self.input[..self.input.len().min(LONGEST)];
        let byte = line.get(self.at).ok_or(Stop::NeedMore)?;
        self.at += 1;
        Ok(*byte)
    }

    fn exactly(&mut self, text: &[u8], wrong: &'static str) -> Result<(), Stop> {
        for byte in text {
            if self.next()? != *byte {
                return Err(Stop::Bad(wrong));
            }
        }
        Ok(())
    }

    /// A part of such bytes, at least one and at most `longest`, and the byte `end` behind it.
    fn part(&mut self, longest: usize, end: u8, of: impl Fn(u8) -> bool) -> Result<&'a str, Stop> {
        let start = self.at;
        loop {
            let byte = self.next()?;
            let len = self.at - start - 1;
            if byte == end && len > 0 {
                let part = &self.input[start..start + len];
                // All of its bytes are ASCII.
                return Ok(std::str::from_utf8(part).unwrap_or_default());
            }
            if !of(byte) || len == longest {
                return Err(Stop::Bad("PROXY address or port is invalid"));
            }
        }
    }
}

/// Up to five digits: 0 to 65535, without zeros in front.
fn port(digits: &str) -> Result<u16, Stop> {
    let canonical = digits == "0" || !digits.starts_with('0');
    let port = digits.parse().ok().filter(|_| canonical);
    port.ok_or(Stop::Bad("PROXY port is invalid"))
}
