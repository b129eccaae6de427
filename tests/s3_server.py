#!/usr/bin/python3 -B
"""A strict S3 for tests, in memory: it works out each signature by itself, takes no body whose digest is another than was
signed, and is as strange as it is told to be. Prints its port. POST /_next/HOW/N: the next N requests that are signed
right are treated so:
  503, 429, 500   answered with that
  cut             answered with half of the body, or with half of a head
  drop            done, and then not answered
  moved           301
  late-error      200, with an error as its body
  slow            a second later
  other           with one bit of the body flipped
  as-always       as always
GET /_planned: of how many that is so; POST /_calm: likewise, and from now on as always. GET /_uploads: their names; POST
/_upload/SECONDS/KEY: one is begun so long ago. GET /_keys: all of them, with their sizes. POST /_age/SECONDS/KEY: it was
changed so long ago; POST /_flip/KEY: the lowest bit in its middle is another."""

import collections
import email.utils
import hashlib
import hmac
import http.server
import sys
import threading
import time
import urllib.parse
import uuid
import xml.sax.saxutils

KEY, SECRET, REGION, BUCKET = "AKIAEXAMPLE", "the/secret+of=tests", "eu-test-1", "bucket"
PAGE = 3  # keys of a list: few, so that all lists have several

objects, changed, uploads, plan = {}, {}, collections.defaultdict(dict), collections.deque()
lock = threading.Lock()


def encoded(text, safe=""):
    return urllib.parse.quote(text, safe="-._~" + safe)


def flipped(body):
    middle = len(body) // 2
    return body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]


def keep(key, body):
    objects[key], changed[key] = body, time.time()


class Refused(Exception):
    def __init__(self, status, code):
        super().__init__(code)
        self.status, self.code = status, code


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm, wbufsize = True, 65536  # an answer is one packet, and goes at once

    def log_message(self, *_):
        pass

    def say(self, status, body=b"", **fields):
        how = self.how
        if how == "drop":
            self.close_connection = True
            return
        whole = len(body) if "Content-Length" not in fields else fields.pop("Content-Length")
        self.send_response(status)
        for name, value in fields.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(whole))
        self.end_headers()
        if how == "cut":
            self.close_connection = True
            body = body[: len(body) // 2]
        if how == "other" and body:
            body = flipped(body)
        if self.command != "HEAD":
            self.wfile.write(body)

    def say_xml(self, text, status=200):
        self.say(status, b'<?xml version="1.0" encoding="UTF-8"?>\n' + text.encode(), Content_Type="application/xml")

    def say_error(self, status, code):
        self.say_xml(f"<Error><Code>{code}</Code><Message>said &lt;{code}&gt;</Message></Error>", status)

    # ---- who asks ----

    def check(self, body):
        """By the manual, and not by the program that is tested."""
        path, _, query = self.path.partition("?")
        pairs = sorted(pair.partition("=")[::2] for pair in query.split("&") if pair)
        scheme, _, rest = self.headers["Authorization"].partition(" ")
        parts = dict(part.strip().partition("=")[::2] for part in rest.split(","))
        if scheme != "AWS4-HMAC-SHA256" or set(parts) != {"Credential", "SignedHeaders", "Signature"}:
            raise Refused(400, "AuthorizationHeaderMalformed")
        key, day, region, service, end = parts["Credential"].split("/")
        names = parts["SignedHeaders"].split(";")
        if names != sorted(names) or not {"host", "x-amz-content-sha256", "x-amz-date"} <= set(names):
            raise Refused(403, "SignatureDoesNotMatch")
        if any(name.startswith("x-amz-") and name not in names for name in map(str.lower, self.headers)):
            raise Refused(403, "AccessDenied")
        when = self.headers["x-amz-date"]
        if abs(time.time() - time.mktime(time.strptime(when + " UTC", "%Y%m%dT%H%M%SZ %Z")) + time.timezone) > 900:
            raise Refused(403, "RequestTimeTooSkewed")
        if key != KEY or (service, end) != ("s3", "aws4_request") or not when.startswith(day):
            raise Refused(403, "InvalidAccessKeyId")
        if region != REGION:
            raise Refused(400, "AuthorizationHeaderMalformed")
        sha = self.headers["x-amz-content-sha256"]
        if urllib.parse.unquote(path) != path and encoded(urllib.parse.unquote(path), "/") != path:
            raise Refused(403, "SignatureDoesNotMatch")
        canonical = "\n".join([
            self.command, path, "&".join(f"{k}={v}" for k, v in pairs),
            *(f"{name}:{' '.join(self.headers[name].split())}" for name in names), "", ";".join(names), sha])
        signed = "\n".join(["AWS4-HMAC-SHA256", when, f"{day}/{region}/s3/aws4_request",
                            hashlib.sha256(canonical.encode()).hexdigest()])
        with_ = ("AWS4" + SECRET).encode()
        for word in (day, region, "s3", "aws4_request", signed):
            with_ = hmac.digest(with_, word.encode(), "sha256")
        if with_.hex() != parts["Signature"]:
            raise Refused(403, "SignatureDoesNotMatch")
        if hashlib.sha256(body).hexdigest() != sha:
            raise Refused(400, "XAmzContentSHA256Mismatch")

    # ---- what is asked ----

    def answer(self):
        self.how = None
        length = int(self.headers["Content-Length"] or 0)
        body = self.rfile.read(length)
        if len(body) != length:
            self.close_connection = True
            return
        if self.path.startswith("/_next/"):
            _, _, how, count = self.path.split("/")
            plan.extend([how] * int(count))
            self.say(200)
            return
        if self.path == "/_uploads":
            self.say(200, " ".join(sorted(uploads)).encode())
            return
        if self.path == "/_planned":
            self.say(200, str(len(plan)).encode())
            return
        if self.path == "/_calm":
            self.say(200, str(len(plan)).encode())
            plan.clear()
            return
        if self.path == "/_keys":
            self.say(200, "".join(f"{key} {len(body)}\n" for key, body in sorted(objects.items())).encode())
            return
        if self.path.startswith("/_age/"):
            _, _, seconds, key = self.path.split("/", 3)
            changed[key] -= int(seconds)
            self.say(200)
            return
        if self.path.startswith("/_upload/"):
            _, _, seconds, key = self.path.split("/", 3)
            uploads[f"{uuid.uuid4()}+/="] = {"key": key, "begun": time.time() - int(seconds)}
            self.say(200)
            return
        if self.path.startswith("/_flip/"):
            key = self.path.removeprefix("/_flip/")
            objects[key] = flipped(objects[key])
            self.say(200)
            return
        try:
            self.check(body)
            path, _, query = self.path.partition("?")
            _, bucket, key = (urllib.parse.unquote(path) + "/").split("/", 2)
            if bucket != BUCKET:
                raise Refused(404, "NoSuchBucket")
            self.how = plan.popleft() if plan else None
            if self.how in ("503", "429", "500"):
                raise Refused(int(self.how), "SlowDown")
            if self.how == "moved":
                raise Refused(301, "PermanentRedirect")
            if self.how == "late-error":
                raise Refused(200, "InternalError")
            if self.how == "slow":
                time.sleep(1)
            self.do(key[:-1], dict(urllib.parse.parse_qsl(query, keep_blank_values=True)), body)
        except Refused as why:
            self.say_error(why.status, why.code)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer

    def do(self, key, query, body):
        if self.command in ("GET", "HEAD"):
            self.get(key) if key else self.list_uploads(query) if "uploads" in query else self.list(query)
        elif self.command == "PUT":
            self.put(key, query, body)
        elif self.command == "POST":
            self.upload(key, query, body)
        elif query:
            uploads.pop(query["uploadId"], None)
            self.say(204)
        else:
            objects.pop(key, None)
            self.say(204)

    def get(self, key):
        if key not in objects:
            raise Refused(404, "NoSuchKey")
        whole = objects[key]
        asked = self.headers["Range"]
        if self.command == "HEAD":
            when = email.utils.formatdate(changed[key], usegmt=True)
            self.say(200, **{"Content-Length": len(whole), "Last-Modified": when})
        elif asked:
            first, last = map(int, asked.removeprefix("bytes=").split("-"))
            if first >= len(whole):
                raise Refused(416, "InvalidRange")
            self.say(206, whole[first : last + 1])
        else:
            self.say(200, whole)

    def put(self, key, query, body):
        if "uploadId" in query:
            if query["uploadId"] not in uploads:
                raise Refused(404, "NoSuchUpload")
            uploads[query["uploadId"]][int(query["partNumber"])] = body
        elif source := self.headers["x-amz-copy-source"]:
            if source != self.path or self.headers["x-amz-metadata-directive"] != "REPLACE":
                raise Refused(400, "InvalidRequest")
            if key not in objects:
                raise Refused(404, "NoSuchKey")
            keep(key, objects[key])
            self.say_xml("<CopyObjectResult><ETag/></CopyObjectResult>")
            return
        else:
            with lock:
                if self.headers["If-None-Match"] == "*" and key in objects:
                    raise Refused(412, "PreconditionFailed")
                keep(key, body)
        self.say(200, ETag=f'"{hashlib.md5(body).hexdigest()}"')

    def upload(self, key, query, body):
        if "uploads" in query:
            name = f"{uuid.uuid4()}+/="
            uploads[name] = {"key": key, "begun": time.time()}
            self.say_xml(f"<InitiateMultipartUploadResult><UploadId>{name}</UploadId></InitiateMultipartUploadResult>")
            return
        if query["uploadId"] not in uploads:
            raise Refused(404, "NoSuchUpload")
        parts = {n: part for n, part in uploads[query["uploadId"]].items() if isinstance(n, int)}
        want = "".join(
            f'<Part><PartNumber>{n}</PartNumber><ETag>"{hashlib.md5(part).hexdigest()}"</ETag></Part>'
            for n, part in sorted(parts.items()))
        if body.decode() != f"<CompleteMultipartUpload>{want}</CompleteMultipartUpload>":
            raise Refused(400, "InvalidPart")
        keep(key, b"".join(part for _, part in sorted(parts.items())))
        del uploads[query["uploadId"]]
        self.say_xml("<CompleteMultipartUploadResult><Key/></CompleteMultipartUploadResult>")

    def list_uploads(self, query):
        rows = ""
        for name, upload in sorted(uploads.items()):
            if upload["key"].startswith(query["prefix"]):
                begun = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(upload["begun"]))
                rows += f"<Upload><Key>{upload['key']}</Key><UploadId>{name}</UploadId><Initiated>{begun}</Initiated></Upload>"
        self.say_xml(f"<ListMultipartUploadsResult>{rows}</ListMultipartUploadsResult>")

    def list(self, query):
        names = sorted(k for k in list(objects) if k.startswith(query["prefix"]) and k > query.get("continuation-token", ""))
        quote = xml.sax.saxutils.escape
        rows = "".join(f"<Contents><Key>{quote(k)}</Key><Size>{len(objects[k])}</Size></Contents>" for k in names[:PAGE])
        more = f"<NextContinuationToken>{quote(names[PAGE - 1])}</NextContinuationToken>" if len(names) > PAGE else ""
        truncated = "true" if more else "false"
        self.say_xml(f"<ListBucketResult><IsTruncated>{truncated}</IsTruncated>{more}{rows}</ListBucketResult>")


if __name__ == "__main__":
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    print(server.server_address[1], flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        sys.exit(0)
