#!/usr/bin/python3 -SE
"""An OpenAI-compatible server for `engine: command`, which does what a test asks of it.

    up_server.py PORT [deaf] [workers=N] [strays=N]

deaf: SIGTERM is not heard. Workers are children, as engines have them; strays are children in a session
of their own whose parent has ended. Neither hears SIGTERM, and none ends by itself.

    GET  /health, /pids              /pids: its own and those of its workers and strays
    POST /v1/chat/completions
    POST /exit?N, /say?TEXT, /spew?N exits with N; a line on stdout; N lines of 1,000 bytes"""

import http.server
import json
import os
import signal
import socketserver
import sys
import urllib.parse

pids = [os.getpid()]


def wait_for_ever(parent_is_near):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if not parent_is_near:
        os.setsid()
    while True:
        signal.pause()


def start_worker():
    pid = os.fork()
    if pid == 0:
        wait_for_ever(True)
    pids.append(pid)


def start_stray():
    ours, theirs = os.pipe()
    between = os.fork()
    if between == 0:
        stray = os.fork()
        if stray == 0:
            os.close(theirs)
            wait_for_ever(False)
        os.write(theirs, str(stray).encode())
        os._exit(0)
    os.waitpid(between, 0)
    pids.append(int(os.read(ours, 20)))


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, value, status=200):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        known = {"/health": {}, "/pids": pids}
        self.answer(known.get(self.path), 200 if self.path in known else 404)

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        what, _, value = self.path.partition("?")
        if what == "/exit":
            os._exit(int(value))
        if what == "/say":
            print(urllib.parse.unquote(value), flush=True)
        if what == "/spew":
            for i in range(int(value)):
                os.write(1, b"%06d %s\n" % (i, b"x" * 992))
        self.answer({"choices": [{"message": {"content": "yes"}}], "usage": {"completion_tokens": 1}})

    def log_message(self, *words):
        pass


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True


def main():
    if "deaf" in sys.argv:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for word in sys.argv[2:]:
        kind, _, count = word.partition("=")
        for _ in range(int(count or 0)):
            {"workers": start_worker, "strays": start_stray}[kind]()
    server = Server(("127.0.0.1", int(sys.argv[1])), Handler)
    print("serving", flush=True)
    server.serve_forever()


main()
