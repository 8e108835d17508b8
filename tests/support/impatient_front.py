# SPDX-License-Identifier: Apache-2.0
"""Something in front of a server that gives calls up, as a gateway does: the server works on, unheard."""

import http.client
import threading
from concurrent import futures
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc


class Front:
    """Where it is, and whether it waits for inference requests; those that it gave up stay with the server."""

    def __init__(self, address):
        self.address, self.is_patient, self.given_up = address, True, []


@contextmanager
def http_front(target):
    """A front that answers 504 where it has no patience, and whatever ``target`` answers otherwise."""

    class Carrier(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def carry(self):
            upstream = http.client.HTTPConnection(target)
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name: value for name, value in self.headers.items() if name != "Host"}
            upstream.request(self.command, self.path, body, headers)
            if self.path.endswith("/infer") and not front.is_patient:
                front.given_up.append(upstream)
                self.answer(504, {}, b"<html>504 Gateway Time-out</html>")
            else:
                answer = upstream.getresponse()
                self.answer(answer.status, answer.headers, answer.read())
                upstream.close()

        do_GET = do_POST = carry  # noqa: N815  # the names that the base class calls

        def answer(self, status, headers, body):
            self.send_response(status)
            for name in ("Inference-Header-Content-Length", "Content-Type"):
                if name in headers:
                    self.send_header(name, headers[name])
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Carrier) as server:
        server.daemon_threads = True
        front = Front(f"127.0.0.1:{server.server_port}")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield front
        server.shutdown()
    for upstream in front.given_up:
        upstream.close()


@contextmanager
def grpc_front(target):
    """A front that answers UNAVAILABLE where it has no patience, and whatever ``target`` answers otherwise."""

    class Carrier(grpc.GenericRpcHandler):
        def service(self, details):
            def carry(message, context):
                call = channel.unary_unary(details.method).future(message)
                if details.method.endswith("ModelInfer") and not front.is_patient:
                    front.given_up.append(call)
                    context.abort(grpc.StatusCode.UNAVAILABLE, "upstream request timeout")
                try:
                    return call.result()
                except grpc.RpcError as error:
                    return context.abort(error.code(), error.details())

            return grpc.unary_unary_rpc_method_handler(carry)

    with grpc.insecure_channel(target) as channel:
        server = grpc.server(futures.ThreadPoolExecutor(4), handlers=(Carrier(),))
        front = Front(f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}")
        server.start()
        yield front
        server.stop(None).wait()
        for call in front.given_up:
            call.result()  # nothing is cancelled
