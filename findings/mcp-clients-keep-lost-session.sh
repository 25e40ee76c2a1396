#!/usr/bin/env bash
# None of six MCP clients opens a new session when the server answers 404 for the one it has, and each goes on to fail.
#
# The MCP specification (2025-11-25, transports, session management) says that a client that receives 404 for a request
# with a session id MUST start a new session by sending a new InitializeRequest without one. The server here forgets its
# sessions once, as one without storage does that restarts, and would open new ones. The clients of six packages report the
# 404 to the caller, send no `initialize`, and fail in the same way later. All but the Client of python mcp can be connected anew by the caller: by entering the context of fastmcp's client again, with
# close and connect in TypeScript, Connect in go-sdk, Initialize in mcp-go.
#
# The columns: what is sent to connect, the first call after the loss, a call 1.5 seconds later, what was sent for the two,
# and a call after the caller has connected the same object again. `pong` is a call that succeeds.
#
# Seen with mcp 2.3.0 and fastmcp 4.2.3 (Python 3.11.7), @modelcontextprotocol/sdk 1.32.2 and @modelcontextprotocol/client
# 2.4.0 (Node.js 20.20.2), go-sdk 1.8.0 and mcp-go 1.2.1 (Go 1.26.8) on 28 November 2026.
# Needs Python 3.11, Node.js 20 with npm, and Go. It takes one or two minutes, because packages are installed.
# Exits with 0 if this is still so, and with 1 if the behaviour is another one.
set -euo pipefail
work=$(mktemp -d)
trap 'kill ${server:-} 2>/dev/null || true; rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check --no-compile mcp==2.3.0 fastmcp==4.2.3 &
python=$!
npm install --silent --no-audit --no-fund @modelcontextprotocol/sdk@1.32.2 @modelcontextprotocol/client@2.4.0 >/dev/null

cat >server.py <<'SERVER'
import json, uuid
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

    def do_GET(self):
        if self.path == "/mcp":  # no stream for messages of the server
            return self.answer(405)
        asked = " ".join(log)
        log.clear()
        if self.path == "/forget":
            sessions.clear()
        self.answer(200, asked)

    def do_DELETE(self):
        self.answer(204)

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        session, method, id = self.headers.get("Mcp-Session-Id"), request["method"], request.get("id")
        if not method.startswith("notifications/"):
            log.append(method)
        if session and session not in sessions:
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
            return self.answer(200, {"jsonrpc": "2.0", "id": id, "result": {"content": [{"type": "text", "text": "pong"}]}})
        if method == "tools/list" and session:
            return self.answer(200, {"jsonrpc": "2.0", "id": id, "result": {"tools": [{"name": "ping", "inputSchema": {"type": "object"}}]}})
        self.answer(200, {"jsonrpc": "2.0", "id": id, "error": {"code": -32601, "message": "Method not found"}})


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(f"http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
SERVER

cat >client.py <<'CLIENT'
import asyncio, importlib, json, sys, urllib.request

package, server = sys.argv[1:]
Client = importlib.import_module(package).Client


def control(word):
    return json.load(urllib.request.urlopen(f"{server}/{word}"))


async def call(client):
    try:
        return (await client.call_tool("ping", {})).content[0].text
    except Exception as error:
        return f"{type(error).__name__} {error.error.code}"


async def main():
    client = Client(f"{server}/mcp")
    control("log")
    async with client:
        start = control("log")
        assert await call(client) == "pong"
        control("forget")
        first = await call(client)
        await asyncio.sleep(1.5)
        later = await call(client)
        sent = control("log")
    try:
        async with client:
            again = await call(client)
    except RuntimeError as error:
        again = str(error)
    print(f"| {package} | {start} | {first} | {later} | {sent} | {again} |")


asyncio.run(main())
CLIENT

cat >client.mjs <<'CLIENT'
import assert from 'node:assert'
const [name, server] = process.argv.slice(2)
const { Client, StreamableHTTPClientTransport } = name === 'sdk'
  ? { ...await import('@modelcontextprotocol/sdk/client/index.js'), ...await import('@modelcontextprotocol/sdk/client/streamableHttp.js') }
  : await import('@modelcontextprotocol/client')
const control = async word => (await fetch(`${server}/${word}`)).json()
const client = new Client({ name: 'sample', version: '1' }, name === 'client-auto' ? { versionNegotiation: { mode: 'auto' } } : {})
const connect = () => client.connect(new StreamableHTTPClientTransport(new URL(`${server}/mcp`)))
const call = () => client.callTool({ name: 'ping', arguments: {} })
  .then(result => result.content[0].text, error => `${error.constructor.name} ${error.status ?? error.code}`)
await control('log')
await connect()
const start = await control('log')
assert.equal(await call(), 'pong')
await control('forget')
const first = await call()
await new Promise(resolve => setTimeout(resolve, 1500))
const later = await call()
const sent = await control('log')
await client.close()
await connect()
console.log(`| ${[name, start, first, later, sent, await call()].join(' | ')} |`)
await client.close()
CLIENT

cat >main.go <<'CLIENT'
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"
	"github.com/mark3labs/mcp-go/mcp"
	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func control(word string) (asked string) {
	response := must(http.Get(os.Args[1] + "/" + word))
	defer response.Body.Close()
	must(0, json.NewDecoder(response.Body).Decode(&asked))
	return asked
}

func tell(err error) string {
	var rpc *jsonrpc.Error
	switch {
	case err == nil:
		return "pong"
	case errors.Is(err, transport.ErrSessionTerminated):
		return "ErrSessionTerminated"
	case errors.As(err, &rpc):
		return fmt.Sprint("jsonrpc.Error ", rpc.Code)
	}
	return err.Error()
}

func run(name string, connect, call func() error) {
	control("log")
	must(0, connect())
	start := control("log")
	must(0, call())
	control("forget")
	first := tell(call())
	time.Sleep(1500 * time.Millisecond)
	later := tell(call())
	sent := control("log")
	must(0, connect())
	fmt.Printf("| %s | %s | %s | %s | %s | %s |\n", name, start, first, later, sent, tell(call()))
}

func main() {
	ctx := context.Background()
	official := sdk.NewClient(&sdk.Implementation{Name: "sample", Version: "1"}, nil)
	var session *sdk.ClientSession
	run("go-sdk", func() (err error) {
		session, err = official.Connect(ctx, &sdk.StreamableClientTransport{Endpoint: os.Args[1] + "/mcp"}, nil)
		return err
	}, func() error {
		_, err := session.CallTool(ctx, &sdk.CallToolParams{Name: "ping"})
		return err
	})
	other := must(client.NewStreamableHttpClient(os.Args[1] + "/mcp"))
	must(0, other.Start(ctx))
	run("mcp-go", func() error {
		_, err := other.Initialize(ctx, mcp.InitializeRequest{})
		return err
	}, func() error {
		_, err := other.CallTool(ctx, mcp.CallToolRequest{Params: mcp.CallToolParams{Name: "ping"}})
		return err
	})
}
CLIENT
go mod init sample 2>/dev/null
go get github.com/modelcontextprotocol/go-sdk@v1.8.0 github.com/mark3labs/mcp-go@v1.2.1 2>/dev/null
go build -mod=mod -o client . 2>/dev/null
wait $python

venv/bin/python server.py >address &
server=$!
until [ -s address ]; do sleep 0.1; done
url=$(cat address)

{
	for package in mcp fastmcp; do venv/bin/python client.py $package "$url"; done
	for name in sdk client client-auto; do node client.mjs $name "$url"; done
	./client "$url"
} | tee seen
cat >expected <<'EXPECTED'
| mcp | server/discover initialize | MCPError -32001 | MCPError -32001 | tools/call tools/call | Client is already entered; cannot reenter |
| fastmcp | server/discover initialize | MCPError -32001 | MCPError -32001 | tools/call tools/call | pong |
| sdk | initialize | StreamableHTTPError 404 | StreamableHTTPError 404 | tools/call tools/call | pong |
| client | initialize | SdkHttpError 404 | SdkHttpError 404 | tools/call tools/call | pong |
| client-auto | server/discover initialize | SdkHttpError 404 | SdkHttpError 404 | tools/call tools/call | pong |
| go-sdk | server/discover initialize | jsonrpc.Error -32001 | jsonrpc.Error -32001 | tools/call tools/call | pong |
| mcp-go | server/discover initialize | ErrSessionTerminated | ErrSessionTerminated | tools/call | pong |
EXPECTED
if ! diff expected seen; then
	echo "CHANGED: a client behaves in another way (<: before, >: now)" >&2
	exit 1
fi
echo "as described: after a 404 no client opens a new session by itself, and all fail until the caller connects anew"
