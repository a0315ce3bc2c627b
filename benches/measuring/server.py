"""A server under test: started, found ready, looked at, ended. It ends only what it started."""
import json
import os
import select
import signal
import socket
import subprocess
import time

PATH = "/plaintext"
REQUEST = f"GET {PATH} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def parents():
    """The parent of every process."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as stat:
                    # The name in parentheses may hold anything.
                    found[int(name)] = int(stat.read().rpartition(")")[2].split()[1])
            except OSError:
                pass
    return found


def descendants(root):
    """`root` and all its children's children, parents first."""
    table, tree = parents(), [root]
    for pid in tree:
        tree += [child for child, parent in table.items() if parent == pid]
    return tree


def cargo(*words):
    """What cargo writes, run where this project is."""
    here = os.path.dirname(os.path.abspath(__file__))
    run = subprocess.run(["cargo", *words], cwd=here, stdout=subprocess.PIPE, text=True)
    if run.returncode:
        raise Failed(f"cargo {' '.join(words)} failed")
    return run.stdout


def build(name, say, example=False):
    """Builds a program, and finds it wherever cargo puts it."""
    kind = "--example" if example else "--bin"
    say(f"cargo build --release {kind} {name}")
    output = cargo("build", "--release", "--locked", kind, name, "--message-format", "json-render-diagnostics")
    for line in output.splitlines():
        message = json.loads(line)
        if message.get("executable") and message["target"]["name"] == name:
            return message["executable"]
    raise Failed(f"cargo did not build {name}")


def compile_c(name, directory):
    """Builds a program from `benches/NAME.c`."""
    program = os.path.join(directory, name)
    source = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), f"{name}.c")
    if subprocess.run(["cc", "-O3", "-o", program, source, "-lm"]).returncode:
        raise Failed(f"cc could not build {name}")
    return program


class Server:
    """One running server. `command` has `{port}` where the port belongs, or makes the words from a
    port; `under` goes before it: the tool that runs it. It is ready when it answers `request`."""

    def __init__(self, name, command, cpu=None, under=(), request=REQUEST):
        self.name, self.request = name, request
        self.port = free_port()
        self.under = bool(under)
        words = command(self.port) if callable(command) else [word.format(port=self.port) for word in command]
        words = [*under, *words]
        # What the caller has set for a Ferricorn of their own is not meant for this one.
        environment = {k: v for k, v in os.environ.items() if not k.startswith("FERRICORN_")}
        pin = None if cpu is None else lambda: os.sched_setaffinity(0, {cpu})
        self.log = os.memfd_create("log")
        # In a session of its own: Apache ends its whole process group.
        self.process = subprocess.Popen(words, cwd="/", env=environment, preexec_fn=pin, start_new_session=True,
                                        stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        try:
            self.wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def wait_until_ready(self, limit=60):
        end = time.monotonic() + limit
        while time.monotonic() < end:
            try:
                with Client(self) as client:
                    client.socket.sendall(self.request)
                    self.answer = client.receive()
                return
            except OSError:
                if self.process.poll() is not None:
                    break
                time.sleep(0.02)
        text = self.said()[:4096].decode(errors="replace").strip()
        raise Failed(f"{self.name} does not answer: {text or 'it says nothing'}")

    def said(self):
        """All that it has written so far."""
        return os.pread(self.log, os.fstat(self.log).st_size, 0)

    def root(self):
        """The server's first process: below the tool that runs it, if one does."""
        pid = self.process.pid
        if self.under:
            with open(f"/proc/{pid}/stat") as stat:
                tool = stat.read().partition("(")[2].rpartition(")")[0]
            # strace is the parent of what it runs; valgrind becomes it.
            if tool == "strace":
                pid = descendants(pid)[1]
        return pid

    def serving(self):
        """The processes that serve: the workers where there is a master, else the only one."""
        tree = descendants(self.root())
        return tree[1:] or tree

    def stop(self):
        """Asks the first process to end, and waits for all of them; kills those that stay."""
        if self.log is None:
            return
        # By descriptor: a number may be another process's by the time it is used.
        handles = []
        for pid in descendants(self.process.pid):
            try:
                handles.append(os.pidfd_open(pid))
            except ProcessLookupError:
                pass
        try:
            if self.process.poll() is None:
                os.kill(self.root(), signal.SIGTERM)
            end = time.monotonic() + 15
            for handle in handles:
                if not select.select([handle], [], [], max(0, end - time.monotonic()))[0]:
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
        finally:
            for handle in handles:
                os.close(handle)
            self.process.wait()
            os.close(self.log)
            self.log = None


class Client:
    """One keep-alive connection that sends a request and waits for its whole answer. With `quiet` the server
    does not see it before its first request: the handshake ends with that."""

    def __init__(self, server, quiet=False):
        self.socket = socket.socket()
        self.socket.settimeout(60)
        if quiet:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
        self.socket.connect(("127.0.0.1", server.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        self.socket.close()

    def ask(self, path=PATH):
        """The head of the answer, as lines; the content is read and dropped."""
        self.send(path=path)
        return self.receive()

    def send(self, depth=1, path=PATH):
        """This many requests at once."""
        self.socket.sendall(REQUEST.replace(PATH.encode(), path.encode(), 1) * depth)

    def receive(self):
        lines, length = [], 0
        while (line := self.file.readline().strip()):
            lines.append(line.decode("latin-1"))
            name, _, value = lines[-1].partition(":")
            if name.lower() == "content-length":
                length = int(value)
        if not lines or len(self.file.read(length)) < length:
            raise ConnectionError("the server closed the connection")
        return lines


class Failed(Exception):
    """Something cannot be measured, and why."""
