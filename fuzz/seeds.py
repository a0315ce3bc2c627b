#!/usr/bin/env python3
"""Writes the first corpora: every raw case of tests/conformance, in front of it the control bytes.

    python3 fuzz/seeds.py [DIRECTORY]      (fuzz/corpus where none is named)

Files are named by their SHA-1, as libFuzzer names what it finds.
"""

import hashlib
import json
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
CASES = HERE.parent / "tests/conformance/cases.jsonl"
LONGEST = 3000

# Kind of limits, tuning of small ones, four sizes of pieces: see src/control.rs.
DEFAULT, UNLIMITED, SMALL = bytes([0, 0, 2, 9, 0, 30]), bytes([5, 0, 4, 4, 1, 99]), bytes([2, 77, 7, 1, 3, 12])
LINES = [
    b"UNKNOWN",
    b"UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535",
    b"TCP4 192.0.2.1 198.51.100.1 51000 80",
    b"TCP6 2001:db8::1 ::ffff:192.0.2.1 0 65535",
]
FORWARDED = [
    b'for=192.0.2.60;proto=http;by=203.0.113.43;host="a.example:8443"',
    b'For="[2001:db8:cafe::17]:4711", for=unknown, for="_gazonk:_port"',
    b'for="1.2.3.4:80" ; ext="\\"q,;\\\\", proto=https;;host=h',
    b"1.2.3.4, 1.2.3.4:80, 2001:db8::1, [2001:db8::1]:80, unknown, ::ffff:1.2.3.4",
]


def cases():
    for line in CASES.read_text().splitlines():
        case = json.loads(line)
        raw = case["raw"]
        for name, (text, times) in (case.get("repeat") or {}).items():
            raw = raw.replace(name, text * times)
        if len(raw) <= LONGEST:
            yield raw.encode("latin-1")


def boundaries():
    """Parts exactly as long as small limits permit, and one byte longer: see src/control.rs."""
    for tune in range(0, 60, 7):
        control = bytes([2, tune, 255, 255, 255, 255])
        for more in (0, 1):
            rest = b" HTTP/1.1\r\nHost:h\r\n\r\n"
            yield "head", control + b"GET /" + b"a" * (tune % 23 + more) + rest
            field = b"Host:".ljust(7 + tune % 29 + more, b"h")
            yield "head", control + b"GET / HTTP/1.1\r\n" + field + b"\r\n\r\n"
            trailer = b"A:".ljust(max(tune % 31 - 2, 2) + more, b"b")
            yield "chunked", control + b"0\r\n" + trailer + b"\r\n\r\n"
            extension = b";a".ljust(max(tune % 7, 2) + more, b"b")
            yield "chunked", control + b"0" + extension + b"\r\n\r\n"
    for target in (b"HTTP://H", b"hTTp://h:80?q", b"HTTPS://h/"):
        yield "head", DEFAULT + b"GET " + target + b" HTTP/1.1\r\nHost: h\r\n\r\n"


def in_turn():
    """What several connections bring, one after the other."""
    host, agent = b"Host: h\r\n", b"User-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n"
    get, end = b"GET /a?b HTTP/1.1\r\n", b"\r\n"
    usual = get + host + agent + end
    others = [
        usual.replace(b"/a?b", b"/c"),
        usual.replace(b"Host: h", b"Host: other"),
        usual.replace(b"1.1", b"1.0"),
        usual.replace(b"GET", b"HEAD"),
        get + agent + host + end,
        get + host + end,
        get + host + b"Content-Length: 3\r\n\r\nabc" + usual,
        get + host + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n" + usual,
        get + host + host + end,
        get + host + b"Upgrade: x\r\nConnection: upgrade\r\nx_y: z\r\n" + end,
        usual[:-2],
        b"\r\n" + usual,
    ]
    for kind, other in enumerate(others):
        control = bytes([kind & 3, 0x55 << (kind & 1) & 255, 9, 200, 30, 2])
        yield control + b"\0".join([usual, other, usual, usual, other])


def write(directory, data):
    directory.mkdir(parents=True, exist_ok=True)
    (directory / hashlib.sha1(data).hexdigest()).write_bytes(data)


def main():
    root = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "corpus"
    for raw in cases():
        head, separator, rest = raw.partition(b"\r\n\r\n")
        write(root / "head", DEFAULT + head + separator)
        write(root / "connection", DEFAULT + raw + b"GET /?probe HTTP/1.1\r\nHost: h\r\n\r\n")
        write(root / "connection", SMALL + raw)
        if b"chunked" in head:
            write(root / "chunked", UNLIMITED + rest)
            write(root / "chunked", SMALL + rest)
    for target, data in boundaries():
        write(root / target, data)
    for data in in_turn():
        write(root / "recall", data)
    # Request kind, status, length, three fields, three pieces of body, an end with a trailer.
    fields = bytes([3, 12, 1]) + b"v" + bytes([0, 1]) + b"5" + bytes([2, 5]) + b"close"
    body = bytes([4]) + b"ab" + bytes([7]) + b"cde" + bytes([240, 1, 13, 1]) + b"t"
    for kind in range(64):
        for status in (0, 1, 3, 100, 104, 105, 204, 300):
            for length in (10, 1):
                start = bytes([kind, status >> 8, status & 255, length])
                write(root / "response", start + fields + body)
                write(root / "response", start + bytes([0]) + body)
    signature = b"\r\n\r\n\0\r\nQUIT\n"
    v4, v6 = bytes(8) + b"\x10\x92\0\x50", bytes(32) + b"\x10\x92\0\x50"
    unix = b"/from".ljust(108, b"\0") + b"\0to".ljust(108, b"\0")
    tls = b"\x20\0\x0f\x01\0\0\0\0\x21\0\x07TLSv1.3"
    for command, family, block in ((0x20, 0, b""), (0x21, 0x11, v4), (0x21, 0x21, v6), (0x21, 0x31, unix)):
        for extra in (b"", b"\x04\0\x01\0", b"\x02\0\x01h" + tls, b"\x01\0\x02h2", b"\x03\0\x04\0\0\0\0"):
            rest = block + extra
            header = signature + bytes([command, family]) + len(rest).to_bytes(2, "big") + rest
            for kind in (b"\0", b"\x80"):  # the second with its checksum made right
                write(root / "proxy", kind + header + b"GET /")
    for line in LINES:
        write(root / "proxy", b"\0PROXY " + line + b"\r\nGET /")
    for line in FORWARDED:
        write(root / "forwarded", line)


if __name__ == "__main__":
    main()
