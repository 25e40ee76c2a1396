#!/usr/bin/env bash
# call_tool of python mcp and fastmcp raises "Session not found" although the tool has run and the server has answered.
#
# After the first answer of a tool that was not listed yet, the client asks for `tools/list` to see whether the tool has an
# output schema. If the session is lost between the two requests, the error of `tools/list` is raised in place of the
# tool's result, and looks like the error of a call that did not run. A caller that calls again in a new session runs the
# tool twice. With list_tools before the call there is no second request, and the result is returned. The tool here has no
# output schema; the server forgets its sessions after each answer of the tool, as one does that restarts in that moment.
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
import asyncio, importlib, json, sys, threading, uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

sessions, log = set(), []


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
        if not method.startswith("notifications/"):
            log.append(method)
        if session and session not in sessions:
            log[-1] += " (404)"
            error = {"code": -32001, "message": "Session not found"}
            return self.answer(404, {"jsonrpc": "2.0", "id": id, "error": error})
        if id is None:
            return self.answer(202)
        if method == "initialize":
            session = uuid.uuid4().hex
            sessions.add(session)
            result = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "sample", "version": "1"}}
            return self.answer(200, {"jsonrpc": "2.0", "id": id, "result": result}, Mcp_Session_Id=session)
        if method == "tools/call" and session:
            sessions.clear()
            return self.answer(200, {"jsonrpc": "2.0", "id": id, "result": {"content": [{"type": "text", "text": "done"}]}})
        if method == "tools/list" and session:
            return self.answer(200, {"jsonrpc": "2.0", "id": id, "result": {"tools": [{"name": "work", "inputSchema": {"type": "object"}}]}})
        self.answer(200, {"jsonrpc": "2.0", "id": id, "error": {"code": -32601, "message": "Method not found"}})


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()


async def main(package):
    Client = importlib.import_module(package).Client
    for listed in False, True:
        async with Client(f"http://127.0.0.1:{server.server_port}/mcp") as client:
            if listed:
                await client.list_tools()
            log.clear()
            try:
                result = (await client.call_tool("work", {})).content[0].text
            except Exception as error:
                result = f"{type(error).__name__}, {error}"
            print(f"{package}, {'listed before' if listed else 'not listed'}: {result}; the server got: {', '.join(log)}")


asyncio.run(main(sys.argv[1]))
SAMPLE

for package in mcp fastmcp; do venv/bin/python sample.py $package; done | tee seen
cat >expected <<'EXPECTED'
mcp, not listed: MCPError, Session not found; the server got: tools/call, tools/list (404)
mcp, listed before: done; the server got: tools/call
fastmcp, not listed: MCPError, Session not found; the server got: tools/call, tools/list (404)
fastmcp, listed before: done; the server got: tools/call
EXPECTED
if ! diff expected seen; then
	echo "CHANGED: a session that is lost after the tool's answer has another effect (<: before, >: now)" >&2
	exit 1
fi
echo "as described: the tool has run, and the call raises \"Session not found\""
