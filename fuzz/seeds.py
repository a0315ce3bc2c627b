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


def cases():
    for line in CASES.read_text().splitlines():
        case = json.loads(line)
        raw = case["raw"]
        for name, (text, times) in (case.get("repeat") or {}).items():
            raw = raw.replace(name, text * times)
        if len(raw) <= LONGEST:
            yield raw.encode("latin-1")


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
    # Request kind, status, length, three fields, three pieces of body, an end with a trailer.
    fields = bytes([3, 12, 1]) + b"v" + bytes([0, 1]) + b"5" + bytes([2, 5]) + b"close"
    body = bytes([4]) + b"ab" + bytes([7]) + b"cde" + bytes([240, 1, 13, 1]) + b"t"
    for kind in range(64):
        for status in (0, 1, 3, 100, 104, 105, 204, 300):
            for length in (10, 1):
                start = bytes([kind, status >> 8, status & 255, length])
                write(root / "response", start + fields + body)
                write(root / "response", start + bytes([0]) + body)


if __name__ == "__main__":
    main()
