"""What is measured: each workload is a row of one table."""
from typing import NamedTuple

# What a server may be able to do, and a workload may need.
ONE, KEEP, CLOSE, PIPELINE, JSON, CONTENT, POST, SLOW, MANY, IDLE = (
    "one connection", "keep-alive", "close", "pipelining", "JSON", "content", "POST", "slow", "many connections",
    "10 000 connections")

KIB, MIB = 1 << 10, 1 << 20

# What Chromium sends for a page, without Host: 13 fields.
BROWSER = (
    "Connection: keep-alive\r\n"
    'sec-ch-ua: "Chromium";v="140", "Not=A?Brand";v="24"\r\n'
    "sec-ch-ua-mobile: ?0\r\n"
    'sec-ch-ua-platform: "Linux"\r\n'
    "Upgrade-Insecure-Requests: 1\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/140.0.0.0 Safari/537.36\r\n"
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n"
    "Sec-Fetch-Site: none\r\n"
    "Sec-Fetch-Mode: navigate\r\n"
    "Sec-Fetch-Dest: document\r\n"
    "Accept-Encoding: gzip, deflate, br, zstd\r\n"
    "Accept-Language: en-GB,en;q=0.9\r\n"
    "Cookie: session=4f2a9c0b7d1e8835a6c4\r\n")


class Workload(NamedTuple):
    """One load on each server that has what it `needs`. `content` is how many bytes are answered,
    `blocks` how many blocks of it are measured, as a share of the usual number."""
    key: str
    title: str
    needs: frozenset
    path: str = "/plaintext"
    fields: str = ""
    body: int = 0
    content: int = 13
    connections: int = 64
    depth: int = 1
    blocks: float = 1

    @property
    def close(self):
        return CLOSE in self.needs

    def request(self):
        """The bytes of one request."""
        fields = "Connection: close\r\n" if self.close else self.fields
        if self.body:
            fields += f"Content-Type: application/octet-stream\r\nContent-Length: {self.body}\r\n"
        method = "POST" if self.body else "GET"
        return f"{method} {self.path} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n".encode() + b"x" * self.body

    def bare(self, program):
        """The bare loop that answers this workload."""
        # Where a read is not a request, it has to know how long one is.
        length = len(self.request()) if self.depth > 1 or self.body else 0
        return [program, "{port}", str(length), str(self.content), *(["close"] if self.close else [])]


def row(key, title, *needs, **more):
    return Workload(key, title, frozenset(needs), **more)


WORKLOADS = [
    row("plaintext", "plaintext, 13 bytes", KEEP),
    row("browser", "a browser's request of 14 fields", KEEP, fields=BROWSER),
    row("pipelined", "plaintext, pipelined by 16", KEEP, PIPELINE, depth=16),
    row("close", "a connection per request", CLOSE),
    row("json", "JSON", KEEP, JSON, path="/json", content=27, blocks=0.5),
    row("10k", "10 KiB", KEEP, CONTENT, path="/10k", content=10 * KIB, blocks=0.5),
    row("1m", "1 MiB, 16 connections", KEEP, CONTENT, path="/1m", content=MIB, connections=16, blocks=0.5),
    row("post10k", "POST of 10 KiB", KEEP, POST, path="/upload", body=10 * KIB, content=5, blocks=0.5),
    row("post1m", "POST of 1 MiB, 16 connections", KEEP, POST, path="/upload", body=MIB, content=7, connections=16,
        blocks=0.5),
    row("c1", "plaintext, 1 connection", ONE, connections=1, blocks=0.5),
    row("c16", "plaintext, 16 connections", KEEP, connections=16, blocks=0.5),
    row("c256", "plaintext, 256 connections", KEEP, MANY, connections=256, blocks=0.5),
    row("c1024", "plaintext, 1024 connections", KEEP, MANY, connections=1024, blocks=0.5),
]
BY_KEY = {workload.key: workload for workload in WORKLOADS}

# Latency at an offered rate: shares of the slowest one's capacity.
SHARES = [0.2, 0.5, 0.8]
LATENCY_NEEDS = frozenset([KEEP, MANY])
# Requests per second of which a hundredth sleeps 100 ms: half of one worker that does one at a time.
MIXED_RATE, MIXED_SHARE = 500, 0.01
MIXED_NEEDS = frozenset([KEEP, SLOW])
IDLE_CONNECTIONS = 10_000
IDLE_NEEDS = frozenset([KEEP, IDLE])
