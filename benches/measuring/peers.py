"""The servers that are measured: a row each of one table, with how to find it and what it can do."""
import glob
import json
import os
import re
import shutil
import subprocess
import tempfile
from typing import Callable, NamedTuple

from .server import cargo
from .workloads import CLOSE, CONTENT, IDLE, JSON, KEEP, MANY, ONE, PIPELINE, POST, SLOW

HERE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "peers")
EVERYTHING = {ONE, KEEP, CLOSE, PIPELINE, JSON, CONTENT, POST, SLOW, MANY, IDLE}
WSGI = {ONE, KEEP, CLOSE, JSON, CONTENT, POST, SLOW}
OURS, APPLICATION, THREADS = "ferricorn hello", "ferricorn app", "ferricorn threads"

# What --install installs: Debian packages by the command or file that they bring, packages of PyPI, of
# our Cargo project. apache2-bin and nginx start no service by themselves.
PACKAGES = {"nginx": "nginx-light", "apache2": "apache2-bin", "strace": "strace", "valgrind": "valgrind",
            "/usr/include/ev.h": "libev-dev", "/usr/include/python3*/Python.h": "python3-dev",
            "/usr/lib/python3*/ensurepip": "python3-venv"}
PYPI = ["gunicorn", "granian", "bjoern", "fastwsgi", "uWSGI"]
CRATES = {"peer-hyper": "hyper", "peer-actix": "actix-web", "peer-may": "may_minihttp"}


class Place:
    """Where things are: `target` for what is built, `directory` for this run, `binary` and `app` of ours."""

    def __init__(self, directory, binary=None, app=None):
        self.target = os.path.join(target_directory(), "benches")
        self.directory, self.binary, self.app = directory, binary, app
        # A server that drops root reads its files there.
        os.chmod(directory, 0o755)
        files = os.path.join(directory, "files")
        os.makedirs(files)
        for name, content in [("plaintext", b"Hello, World!"), ("10k", b"x" * (10 << 10)), ("1m", b"x" * (1 << 20))]:
            with open(os.path.join(files, name), "wb") as file:
                file.write(content)

    def in_venv(self, program):
        path = os.path.join(self.target, "venv", "bin", program)
        if not os.path.exists(path):
            raise Missing("is not installed: benches/run --install")
        return path


class Missing(Exception):
    """A server that is not here, and why."""


class Peer(NamedTuple):
    """`command` gives the words that start it, or makes them from a port; `version` says which it is.
    `far` is one that is several times off: a few blocks show that, and it takes part in no more."""
    name: str
    can: set
    command: Callable
    version: Callable
    note: str = ""
    far: bool = False

    def does(self, needs):
        return needs <= self.can


def target_directory():
    metadata = cargo("metadata", "--no-deps", "--format-version", "1", "--offline")
    return json.loads(metadata)["target_directory"]


def output(*command):
    """What a program says, on whichever output; nothing if it cannot be run."""
    try:
        run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=30)
        return run.stdout.strip()
    except OSError:
        return ""


# Ours.

def ours(words, app=False):
    def command(place):
        binary = place.app if app else place.binary
        options = ["--workers", "1", "--worker-connections", "12000", "--keep-alive", "600", "--bind", "127.0.0.1:{port}"]
        command = [binary, *words, *options]
        if "-k" in words and subprocess.run([*command[:-2], "--check-config"], stdout=subprocess.DEVNULL,
                                            stderr=subprocess.DEVNULL).returncode:
            raise Missing("this Ferricorn does not have that class")
        return command
    return command


def our_version(place):
    return output(place.binary, "--version").partition(" ")[2]


# Rust.

def rust(package):
    def command(place):
        path = os.path.join(place.target, "peers", "release", package)
        if not os.path.exists(path):
            raise Missing("is not built: benches/run --install")
        return [path, "{port}"]
    return command


def locked(crate):
    def version(_):
        with open(os.path.join(HERE, "Cargo.lock")) as lock:
            return re.search(rf'name = "{crate}"\nversion = "(.*)"', lock.read())[1]
    return version


# C.

def system(program):
    path = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if not path:
        raise Missing("is not installed: benches/run --install")
    return path


def configured(place, name, port, **more):
    """A file of `benches/peers`, filled in, in a directory of its own."""
    directory = tempfile.mkdtemp(prefix=f"{name}-", dir=place.directory)
    os.chmod(directory, 0o755)
    os.symlink(os.path.join(place.directory, "files"), os.path.join(directory, "files"))
    values = {"directory": directory, "port": port, **more}
    with open(os.path.join(HERE, name)) as file:
        text = re.sub("@(\\w+)@", lambda found: str(values[found[1]]), file.read())
    path = os.path.join(directory, name)
    with open(path, "w") as file:
        file.write(text)
    return directory, path


def nginx(fixed):
    def command(place):
        program = system("nginx")

        def start(port):
            user = "user root;" if os.geteuid() == 0 else ""
            directory, path = configured(place, "nginx.conf", port, user=user, fixed=fixed)
            return [program, "-p", directory, "-c", path, "-e", "stderr"]
        return start
    return command


def nginx_version(_):
    return output(system("nginx"), "-v").partition("/")[2]


def apache(mpm):
    def command(place):
        program = system("apache2")
        modules = "/usr/lib/apache2/modules"
        if not os.path.exists(f"{modules}/mod_mpm_{mpm}.so"):
            raise Missing(f"has no mpm_{mpm} in {modules}")

        def start(port):
            user = "User nobody\nGroup nogroup" if os.geteuid() == 0 else ""
            directory, path = configured(place, "apache.conf", port, user=user, mpm=mpm, modules=modules)
            return [program, "-d", directory, "-f", path, "-D", "FOREGROUND"]
        return start
    return command


def apache_version(_):
    return output(system("apache2"), "-v").partition("/")[2].partition(" ")[0]


# Python.

def python(program, *words):
    def command(place):
        return [place.in_venv(program), *words]
    return command


def module(name):
    def version(place):
        line = f"import importlib.metadata; print(importlib.metadata.version('{name}'))"
        return output(place.in_venv("python"), "-c", line)
    return version


def script(name):
    def command(place):
        interpreter = place.in_venv("python")
        if not glob.glob(os.path.join(place.target, "venv", "lib", "*", "site-packages", f"{name}-*-info")):
            raise Missing("is not installed: benches/run --install")
        return [interpreter, os.path.join(HERE, "wsgi.py"), name, "{port}"]
    return command


def gunicorn(*words):
    return python("gunicorn", "--chdir", HERE, "--workers", "1", "--keep-alive", "600", "--backlog", "4096",
                  "--worker-tmp-dir", "/dev/shm", "--log-level", "critical", "--bind", "127.0.0.1:{port}", *words, "wsgi:app")


def uwsgi(option):
    return python("uwsgi", option, "127.0.0.1:{port}", "--master", "--processes", "1", "--disable-logging", "--die-on-term",
                  "--listen", "1024", "--chdir", HERE, "--module", "wsgi:app", "--need-app")


PEERS = [
    Peer(OURS, {ONE, KEEP, CLOSE, PIPELINE, MANY, IDLE}, ours(["hello"]), our_version),
    Peer(APPLICATION, EVERYTHING, ours([], app=True), our_version, "class sync, routes in blocking code"),
    Peer(THREADS, EVERYTHING, ours(["-k", "threads", "--threads", "4"], app=True), our_version, "class threads, 4 threads"),
    Peer("hyper", EVERYTHING, rust("peer-hyper"), locked("hyper"), "tokio on one thread; /slow sleeps without holding it"),
    Peer("actix-web", EVERYTHING, rust("peer-actix"), locked("actix-web"), "one worker; /slow sleeps without holding it"),
    Peer("may_minihttp", EVERYTHING - {CLOSE}, rust("peer-may"), locked("may_minihttp"),
         "one worker; /slow sleeps without holding it; does not read Connection: close"),
    Peer("nginx", {ONE, KEEP, CLOSE, PIPELINE, MANY, IDLE}, nginx("/"), nginx_version, "`return 200`"),
    Peer("nginx, files", {ONE, KEEP, CLOSE, PIPELINE, CONTENT}, nginx("/none"), nginx_version,
         "files, open_file_cache"),
    Peer("Apache event", {ONE, KEEP, CLOSE, PIPELINE, CONTENT}, apache("event"), apache_version, "files, 128 threads", far=True),
    Peer("Apache prefork", {ONE, KEEP, CLOSE, PIPELINE, CONTENT}, apache("prefork"), apache_version, "files, 100 processes at most", far=True),
    Peer("gunicorn sync", {CLOSE}, gunicorn("--worker-class", "sync"), module("gunicorn"), "WSGI; keeps no connection", far=True),
    Peer("gunicorn gthread", WSGI, gunicorn("--worker-class", "gthread", "--threads", "4"), module("gunicorn"),
         "WSGI, 4 threads", far=True),
    Peer("granian", WSGI, python("granian", "--interface", "wsgi", "--workers", "1", "--no-access-log", "--log-level", "error",
                                 "--working-dir", HERE, "--host", "127.0.0.1", "--port", "{port}", "wsgi:app"),
         module("granian"), "WSGI", far=True),
    Peer("bjoern", WSGI - {SLOW}, script("bjoern"), module("bjoern"), "WSGI", far=True),
    Peer("fastwsgi", WSGI - {SLOW}, script("fastwsgi"), module("fastwsgi"), "WSGI", far=True),
    Peer("uWSGI http11-socket", {ONE}, uwsgi("--http11-socket"), module("uWSGI"), "WSGI; one connection at a time", far=True),
    Peer("uWSGI http-socket", {CLOSE}, uwsgi("--http-socket"), module("uWSGI"), "WSGI; keeps no connection", far=True),
]


def find(place, wanted, say):
    """The servers that are here, with their commands, and why the others are not."""
    found, missing = {}, {}
    for peer in PEERS:
        if wanted and peer.name not in wanted:
            continue
        try:
            found[peer.name] = peer, peer.command(place)
        except Missing as reason:
            missing[peer.name] = str(reason)
            say(f"{peer.name} {reason}; left out")
    return found, missing


def install(say):
    """Installs what can be installed. What cannot is said, and does not stop the rest."""
    target = os.path.join(target_directory(), "benches")
    lacking = sorted({package for need, package in PACKAGES.items()
                      if not (glob.glob(need) if need.startswith("/") else shutil.which(need, path=f"{os.environ['PATH']}:/usr/sbin"))})
    if lacking and os.geteuid() == 0 and shutil.which("apt-get"):
        attempt(say, ["apt-get", "update", "-qq"])
        for package in lacking:
            attempt(say, ["apt-get", "install", "-qq", "--yes", "--no-install-recommends", package],
                    env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})
    elif lacking:
        say(f"please install: {' '.join(lacking)}")
    for package in CRATES:
        attempt(say, ["cargo", "build", "--release", "--locked", "--package", package,
                      "--target-dir", os.path.join(target, "peers")], cwd=HERE)
    venv = os.path.join(target, "venv")
    python = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else "python3"
    if not os.path.exists(os.path.join(venv, "bin", "pip")):
        attempt(say, [python, "-m", "venv", venv])
    for package in PYPI:
        attempt(say, [os.path.join(venv, "bin", "pip"), "install", "--quiet", package])


def attempt(say, command, **more):
    say(" ".join(command))
    try:
        if subprocess.run(command, stdin=subprocess.DEVNULL, **more).returncode:
            say("  failed; the run does without")
    except OSError as error:
        say(f"  failed ({error}); the run does without")


def versions(found, place):
    return {name: peer.version(place) for name, (peer, _) in found.items()}
