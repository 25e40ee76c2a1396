#!/usr/bin/env bash
# The TypeScript clients open a session, and lose it, with a server that speaks MCP 2026-07-28 without sessions.
#
# A server of python mcp 2.3.0 speaks both 2026-07-28, which has no sessions, and the older revisions, which have. The
# client of python mcp asks for 2026-07-28 first, and does not notice a restart of the server.
# @modelcontextprotocol/client 2.4.0 does that only with `versionNegotiation: { mode: 'auto' }`. By default it sends
# `initialize`, gets 2025-11-25 and a session, and all of its calls after a restart fail with 404. The package
# @modelcontextprotocol/sdk 1.32.2 has no such option, and fails likewise.
#
# Seen with @modelcontextprotocol/sdk 1.32.2, @modelcontextprotocol/client 2.4.0 (Node.js 20.20.2) and mcp 2.3.0
# (Python 3.11.7) on 28 November 2026.
# Needs Python 3.11 and Node.js 20 with npm. It takes one or two minutes, because packages are installed.
# Exits with 0 if this is still so, and with 1 if the behaviour is another one.
set -euo pipefail
work=$(mktemp -d)
trap 'kill ${server:-} 2>/dev/null || true; rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check --no-compile mcp==2.3.0 &
python=$!
npm install --silent --no-audit --no-fund @modelcontextprotocol/sdk@1.32.2 @modelcontextprotocol/client@2.4.0 >/dev/null
wait $python

cat >server.py <<'SERVER'
import sys
from mcp.server.mcpserver import MCPServer

server = MCPServer("sample")


@server.tool()
def ping() -> str:
    return "pong"


server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
SERVER

# Both clients call, wait for a line on their input (the server has been restarted by then), and call twice.
cat >client.py <<'CLIENT'
import asyncio, sys
from mcp import Client


async def main():
    async with Client(sys.argv[1]) as client:
        async def call():
            try:
                return (await client.call_tool("ping", {})).content[0].text
            except Exception as error:
                return f"{type(error).__name__}, {error}"

        print(f"mcp, {client.protocol_version}:", await call(), end="; ", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        print("after the restart:", await call(), "and", await call())


asyncio.run(main())
CLIENT
cat >client.mjs <<'CLIENT'
import { once } from 'node:events'
const [name, url] = process.argv.slice(2)
const { Client, StreamableHTTPClientTransport } = name === 'sdk'
  ? { ...await import('@modelcontextprotocol/sdk/client/index.js'), ...await import('@modelcontextprotocol/sdk/client/streamableHttp.js') }
  : await import('@modelcontextprotocol/client')
const options = name === 'client-auto' ? { versionNegotiation: { mode: 'auto' } } : {}
const client = new Client({ name: 'sample', version: '1' }, options)
const transport = new StreamableHTTPClientTransport(new URL(url))
await client.connect(transport)
const call = () => client.callTool({ name: 'ping', arguments: {} })
  .then(result => result.content[0].text, error => `${error.constructor.name} ${error.status ?? error.code}`)
process.stdout.write(`${name}, ${transport.protocolVersion}: ${await call()}; `)
await once(process.stdin, 'data')
console.log('after the restart:', await call(), 'and', await call())
process.exit()
CLIENT

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
url=http://127.0.0.1:$port/mcp
start() {
	venv/bin/python server.py "$port" >>log 2>&1 &
	server=$!
	until (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do
		kill -0 $server
		sleep 0.1
	done
}
restart() {
	kill -9 $server
	wait $server 2>/dev/null || true
	start
}

start
mkfifo go
for client in "venv/bin/python client.py" "node client.mjs sdk" "node client.mjs client" "node client.mjs client-auto"; do
	: >out
	$client "$url" <go >out &
	run=$!
	exec 3>go
	until grep -q ';' out; do
		kill -0 $run
		sleep 0.1
	done
	restart
	echo >&3
	wait $run
	exec 3>&-
	cat out
done >seen
cat seen
cat >expected <<'EXPECTED'
mcp, 2026-07-28: pong; after the restart: pong and pong
sdk, 2025-11-25: pong; after the restart: StreamableHTTPError 404 and StreamableHTTPError 404
client, 2025-11-25: pong; after the restart: SdkHttpError 404 and SdkHttpError 404
client-auto, 2026-07-28: pong; after the restart: pong and pong
EXPECTED
if ! diff expected seen; then
	echo "CHANGED: a client negotiates or behaves in another way (<: before, >: now)" >&2
	exit 1
fi
echo "as described: only the TypeScript clients keep to sessions, unless client 2.4.0 is told to negotiate"
