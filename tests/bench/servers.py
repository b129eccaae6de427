"""Servers side by side: each gets one worker, pinned to one core where there are two or more; wrk has
another. They are measured in turns, so that what else the machine does strikes all alike."""

import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import time

CONNECTIONS = 32
PATH = os.environ["PATH"] + ":/usr/sbin"

NGINX = """
daemon off;
worker_processes 1;
pid {dir}/nginx.pid;
error_log stderr crit;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    default_type application/json;
    tcp_nodelay on;
    sendfile on;
    open_file_cache max=10;
    client_body_temp_path {dir}/1; proxy_temp_path {dir}/2; fastcgi_temp_path {dir}/3;
    uwsgi_temp_path {dir}/4; scgi_temp_path {dir}/5;
    server {{
        listen 127.0.0.1:{port};
        location /v1/models {{ return 200 '{body}'; }}
        location /file {{ root {dir}; }}
    }}
}}
"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def find(program):
    return shutil.which(program, path=PATH)


def pinned(core, command):
    if len(os.sched_getaffinity(0)) < 2 or not find("taskset"):
        return command
    cores = sorted(os.sched_getaffinity(0))
    return ["taskset", "-c", str(cores[core])] + command


class Server:
    """A process that serves; leaving the context ends it. Without a port it tells it on a line. lua:
    a file that says what wrk asks for, where that is more than GET."""

    def __init__(self, name, command, port=None, path="/v1/models", lua=None, core=0):
        self.name, self.command, self.port, self.path, self.lua = name, command, port, path, lua
        self.core = core
        self.tells_port = port is None
        self.rates, self.costs = [], []

    def __enter__(self):
        out = subprocess.PIPE if self.tells_port else subprocess.DEVNULL
        self.process = subprocess.Popen(pinned(self.core, self.command), stdin=subprocess.PIPE, stdout=out,
                                        start_new_session=True)
        if self.tells_port:
            self.port = int(self.process.stdout.readline())
        until = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return self
            except OSError:
                if time.monotonic() > until or self.process.poll() is not None:
                    self.__exit__()
                    raise RuntimeError(f"{self.name} does not listen")
                time.sleep(0.05)

    def __exit__(self, *_):
        self.process.stdin.close()
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()

    def stats(self):
        """Of each process of its group, what /proc/PID/stat has behind the name."""
        for pid in [d for d in os.listdir("/proc") if d.isdigit()]:
            try:
                with open(f"/proc/{pid}/stat") as f:
                    fields = f.read().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(fields[2]) == self.process.pid:
                yield fields

    def cpu_seconds(self):
        return sum(int(f[11]) + int(f[12]) for f in self.stats()) / os.sysconf("SC_CLK_TCK")

    def resident_bytes(self):
        return sum(int(f[21]) for f in self.stats()) * os.sysconf("SC_PAGE_SIZE")

    def wrk(self, seconds):
        script = ["-s", self.lua] if self.lua else []
        return ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}", *script,
                f"http://127.0.0.1:{self.port}{self.path}"]

    def measure(self, seconds):
        before = self.cpu_seconds()
        out = subprocess.run(pinned(1, self.wrk(seconds)), stdout=subprocess.PIPE, check=True,
                             text=True).stdout
        cost = self.cpu_seconds() - before
        if "Non-2xx" in out or "Socket errors" in out:
            raise RuntimeError(f"{self.name}: {out}")
        self.rates.append(float(re.search(r"Requests/sec:\s*([\d.]+)", out)[1]))
        self.costs.append(cost / int(re.search(r"(\d+) requests in", out)[1]) * 1e6)


def nginx_command(directory, port, body):
    """Serves the body from its configuration, and from a file; None: there is no nginx."""
    with open(f"{directory}/file", "w") as f:
        f.write(body)
    with open(f"{directory}/nginx.conf", "w") as f:
        f.write(NGINX.format(dir=directory, port=port, body=body))
    nginx = find("nginx")
    return nginx and [nginx, "-p", directory, "-e", "stderr", "-c", f"{directory}/nginx.conf"]


def measure_all(table, rounds, seconds):
    for _ in range(rounds):
        for server in table:
            with server:
                server.measure(seconds)


def show(table, rounds, seconds):
    """Medians, and the processor time that one answer cost, which depends less on the neighbours than
    the rate does; then the commands."""
    print(f"{'server':16} {'answers/s':>10} {'to ours':>8} {'lowest':>10} {'highest':>10}"
          f" {'us of CPU':>10}")
    ours = statistics.median(table[0].rates)
    for s in table:
        rate = statistics.median(s.rates)
        print(f"{s.name:16} {rate:10.0f} {rate / ours:8.2f} {min(s.rates):10.0f}"
              f" {max(s.rates):10.0f} {statistics.median(s.costs):10.2f}")
    print(f"\nmedians of {rounds} runs of {seconds} s")
    for s in table:
        print(f"  {s.name}: {' '.join(pinned(0, s.command))}\n    "
              f"{' '.join(pinned(1, s.wrk(seconds)))}")
