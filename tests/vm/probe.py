"""The engine of a model, or a person's command: tries what the limits of a unit are about, writes what came
of it into a file, a line of each, and then serves, where it is told to.

    probe.py TOLD ADDRESS [NAME SIMULATOR PORT OPEN-PORT]"""

import os
import socket
import sys

OUTSIDE_PORT = 9000  # of a server that is none of ours


def connect(address):
    with socket.create_connection((address, OUTSIDE_PORT), timeout=5) as s:
        return s.recv(5)


def family(number):
    return socket.socket(number, socket.SOCK_SEQPACKET if number == socket.AF_ALG else socket.SOCK_STREAM).close()


def device(path):
    os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC))


def trials(address):
    yield "speak over loopback", lambda: connect("127.0.0.1")
    yield "speak to an address", lambda: connect(address)
    yield "make a socket of a family that nobody needs", lambda: family(socket.AF_ALG)
    yield "open a device that all may open", lambda: device("/dev/fuse")
    yield "open its GPU", lambda: device("/dev/nvidia0")
    yield "open another's GPU", lambda: device("/dev/nvidia1")


def listen_everywhere(port):
    """As the workers of engines do; for as long as the engine lives."""
    server = socket.create_server(("0.0.0.0", port))
    if os.fork() == 0:
        while True:
            server.accept()[0].sendall(b"heard")


def main(told, address, *serve):
    with open(told, "w") as out:
        for what, trial in trials(address):
            try:
                trial()
                out.write(f"{what}: done\n")
            except OSError as e:
                out.write(f"{what}: {e.strerror or e}\n")
    if serve:
        name, simulator, port, open_port = serve
        listen_everywhere(int(open_port))
        os.execv(simulator, [simulator, "--port", port, "--served-model-name", name])


main(*sys.argv[1:])
