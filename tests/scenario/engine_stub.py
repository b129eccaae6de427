"""engine_stub.py PORT [WORD...]: an engine for `engine: command` that does as its words say.

    exit=N          ends with N before it listens
    signal=N        dies of that signal before it listens
    hold-start      does not listen before SIGUSR1
    hold=TEXT       a chat about TEXT is answered after SIGUSR1
    answer=N        chats are answered with that status
    deny-sigterm    SIGTERM does nothing
    worker          has one, who does not end with it
    stray           the same, in a session of its own
    flood           writes two megabytes to its log before it listens
    endless         the same without an end of line, then one word more

POST /exit?N ends it, POST /deaf closes its port; on SIGTERM it answers what it has begun."""

import http.server
import json
import os
import signal
import socket
import sys
import threading

WORDS = dict(word.partition("=")[::2] for word in sys.argv[2:])
released = threading.Event()
begun = 0
change = threading.Condition()


def say(text):
    print(text, file=sys.stderr, flush=True)


def count(by):
    global begun
    with change:
        begun += by
        change.notify_all()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, **body):
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.answer(200 if self.path == "/health" else 404)

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path, _, query = self.path.partition("?")
        if path == "/exit":
            os._exit(int(query))
        if path == "/deaf":
            self.answer(200)
            self.wfile.flush()
            self.close_connection = True
            server.deaf = True
            server.socket.shutdown(socket.SHUT_RDWR)
            return
        self.chat(json.loads(body)["messages"][-1]["content"])

    def chat(self, text):
        say(f"is asked about {text}")
        count(1)
        if text == WORDS.get("hold"):
            released.wait()
        status = int(WORDS.get("answer", 200))
        self.answer(status, choices=[{"message": {"role": "assistant", "content": "pong"}}])
        count(-1)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    deaf = False

    def handle_error(self, *_):
        pass


def stop():
    say("was told to stop")
    with change:
        change.wait_for(lambda: begun == 0)
    os._exit(0)


def work(own_session):
    pid = os.fork()
    if pid:
        return say(f"worker {pid}")
    if own_session:
        os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        signal.pause()


signal.signal(signal.SIGUSR1, lambda *_: released.set())
if "deny-sigterm" in WORDS:
    signal.signal(signal.SIGTERM, lambda *_: say("does not stop"))
else:
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=stop).start())
if "flood" in WORDS:
    for i in range(20000):
        print(f"line {i} ".ljust(100, "."), file=sys.stderr)
if "endless" in WORDS:
    sys.stderr.write("x" * 20_000_000 + "\nand then\n")
if "exit" in WORDS:
    say("this is the last line")
    os._exit(int(WORDS["exit"]))
if "signal" in WORDS:
    os.kill(os.getpid(), int(WORDS["signal"]))
for own_session, word in enumerate(("worker", "stray")):
    if word in WORDS:
        work(own_session)
if "hold-start" in WORDS:
    say("waits")
    released.wait()
    released.clear()
with Server(("127.0.0.1", int(sys.argv[1])), Handler) as server:
    while not server.deaf:
        server.handle_request()
    while True:
        signal.pause()
