#!/usr/bin/env bash
# One refused connection ends the session of python mcp and fastmcp for good, also where the server still knows it.
#
# In python mcp the caller's own code in `async with Client(...)` is cancelled: the call that met the closed port raises
# CancelledError, which `except Exception` around it does not catch, the rest of the block does not run, and the block ends
# with an ExceptionGroup that holds httpx2.ConnectError. fastmcp raises an error from the call (MCPError, code -32000,
# "Connection closed"), but all later calls in the block raise httpx2.ConnectError and send nothing. The server here stops
# listening for the time of one call, as a Service does whose only proxy is replaced, and keeps its sessions: a plain HTTP
# request with the id of the same session succeeds afterwards.
#
# Seen with mcp 2.3.0 and fastmcp 4.2.3 (Python 3.11.7) on 28 November 2026.
# Needs Python 3.11. It takes about a minute, because packages are installed.
# Exits with 0 if this is still so, and with 1 if the behaviour is another one.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check --no-compile mcp==2.3.0 fastmcp==4.2.3

cat >sample.py <<'SAMPLE'
import asyncio, importlib, json, sys, threading, urllib.request, uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

sessions, log, server, port = [], [], None, 0


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *arguments):
        pass

    def answer(self, status, body=None, **headers):
        data = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(data)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):  # no stream for messages of the server
        self.answer(405)

    def do_DELETE(self):
        self.answer(204)

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        session, method, id = self.headers.get("Mcp-Session-Id"), request["method"], request.get("id")
        log.append(method)
        if session and session not in sessions:
            error = {"code": -32001, "message": "Session not found"}
            return self.answer(404, {"jsonrpc": "2.0", "id": id, "error": error})
        if id is None:
            return self.answer(202)
        if method == "initialize":
            sessions.append(uuid.uuid4().hex)
            result = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "sample", "version": "1"}}
            return self.answer(200, {"jsonrpc": "2.0", "id": id, "result": result}, Mcp_Session_Id=sessions[-1])
        if method == "tools/call" and session:
            return self.answer(200, {"jsonrpc": "2.0", "id": id, "result": {"content": [{"type": "text", "text": "pong"}]}})
        if method == "tools/list" and session:
            return self.answer(200, {"jsonrpc": "2.0", "id": id, "result": {"tools": [{"name": "ping", "inputSchema": {"type": "object"}}]}})
        self.answer(200, {"jsonrpc": "2.0", "id": id, "error": {"code": -32601, "message": "Method not found"}})


def listen():
    global server, port
    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    port = server.server_port
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()


def stop():
    server.shutdown()
    server.server_close()


def plain_call():
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "ping", "arguments": {}}}
    headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream",
               "MCP-Protocol-Version": "2025-11-25", "Mcp-Session-Id": sessions[-1]}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/mcp", json.dumps(body).encode(), headers)
    return json.load(urllib.request.urlopen(request))["result"]["content"][0]["text"]


async def main(package):
    client = importlib.import_module(package).Client(f"http://127.0.0.1:{port}/mcp")
    say = lambda *words: print(f"{package}:", *words)

    async def call():
        try:
            return (await client.call_tool("ping", {})).content[0].text
        except Exception as error:
            return f"{type(error).__name__}, {error}"

    try:
        async with client:
            say("before:", await call())
            stop()
            try:
                say("refused:", await call())
            except BaseException as error:
                say("refused:", type(error).__name__, "which is not an Exception")
                raise
            listen()
            log.clear()
            await asyncio.sleep(0.5)  # until the client's session has ended
            say("later:", await call())
            say("later:", await call(), log)
    except BaseException as error:
        inner = [type(one).__name__ for one in getattr(error, "exceptions", [])]
        say("the block ends with", type(error).__name__, *inner)
    if server.fileno() < 0:
        listen()
    say("plain HTTP in the same session:", plain_call())


listen()
asyncio.run(main(sys.argv[1]))
SAMPLE

for package in mcp fastmcp; do venv/bin/python sample.py $package; done | tee seen
cat >expected <<'EXPECTED'
mcp: before: pong
mcp: refused: CancelledError which is not an Exception
mcp: the block ends with ExceptionGroup ConnectError
mcp: plain HTTP in the same session: pong
fastmcp: before: pong
fastmcp: refused: MCPError, Connection closed
fastmcp: later: ConnectError, All connection attempts failed
fastmcp: later: ConnectError, All connection attempts failed []
fastmcp: the block ends with ConnectError
fastmcp: plain HTTP in the same session: pong
EXPECTED
if ! diff expected seen; then
	echo "CHANGED: a refused connection has another effect (<: before, >: now)" >&2
	exit 1
fi
echo "as described: a refused connection ends the client's session, which the server still knows"
