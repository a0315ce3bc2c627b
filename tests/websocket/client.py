"""A client of the example `websocket` with another implementation of RFC 6455 (python3-websockets).

  client.py URL           talks in all the ways that there are, and closes
  client.py URL leave     waits for the server's goodbye, and prints its code

Says "open" when it is connected, "well" at the end."""
import asyncio
import sys

import websockets


async def talk(socket):
    async def echo(message, expected=None):
        await socket.send(message)
        got = await socket.recv()
        assert got == (message if expected is None else expected), (type(got), got[:100])

    for text in ["", "hello", "Grüße, 世界", "x" * 125, "x" * 126, "x" * 65535, "x" * 65536]:
        await echo(text)
    for size in [0, 1, 126, 65536, 1 << 20]:
        await echo(bytes(n * 7 % 251 for n in range(size)))
    await echo(["Gr", "ü", "", "ße"], "Grüße")
    await echo([b"a" * 70000, b"b"], b"a" * 70000 + b"b")
    for data in [b"", b"x" * 125]:
        await asyncio.wait_for(await socket.ping(data), 20)
    await asyncio.gather(*(socket.send(str(n)) for n in range(100)))
    assert [await socket.recv() for _ in range(100)] == [str(n) for n in range(100)]
    await socket.close(4000, "enough")
    assert socket.close_code == 4000, socket.close_code


async def too_much(url):
    async with websockets.connect(url, max_size=None) as socket:
        try:
            await socket.send(b"x" * ((1 << 20) + 1))
            await socket.recv()
            raise AssertionError("that was too much")
        except websockets.ConnectionClosed:
            assert socket.close_code == 1009, socket.close_code


async def leave(socket):
    try:
        print("heard", await socket.recv(), flush=True)
        raise AssertionError("nobody spoke")
    except websockets.ConnectionClosed:
        print("code", socket.close_code, flush=True)


async def main(url, what="talk"):
    async with websockets.connect(url, max_size=None, ping_interval=None, close_timeout=20) as socket:
        print("open", flush=True)
        await (leave if what == "leave" else talk)(socket)
    if what == "talk":
        await too_much(url)
    print("well", flush=True)


asyncio.run(asyncio.wait_for(main(*sys.argv[1:]), 50))
