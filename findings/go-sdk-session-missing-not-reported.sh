#!/usr/bin/env bash
# go-sdk does not return ErrSessionMissing for a 404 whose body is a JSON-RPC error.
#
# mcp.ErrSessionMissing "is returned when the session is known to not be present on the server", and a 404 without a body
# gives it. Where the 404 carries a JSON-RPC error, as ToolHive and servers of other SDKs send it, go-sdk returns that error
# instead: errors.Is(err, mcp.ErrSessionMissing) is false, and a caller has to look for the code -32001 in *jsonrpc.Error.
# errors.As alone is not enough, since it also succeeds for a refused connection, with the code -32005 of the SDK's own.
# Close then sends a DELETE for the session that is gone. MCPGODEBUG=noprotocolerrorbody=1 brings ErrSessionMissing back.
#
# Seen with go-sdk 1.8.0 (Go 1.26.8) on 28 November 2026.
# Needs Go. It takes less than a minute.
# Exits with 0 if this is still so, and with 1 if the behaviour is another one.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

cat >main.go <<'PROGRAM'
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

var forgotten, body, deleted bool

// serve is a server with one session.
func serve(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodDelete {
		deleted = true
		return
	}
	if r.Method != http.MethodPost { // no stream for messages of the server
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	var request struct {
		ID     any    `json:"id,omitempty"`
		Method string `json:"method"`
	}
	if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
		panic(err)
	}
	answer := map[string]any{"jsonrpc": "2.0", "id": request.ID}
	status := http.StatusOK
	switch {
	case forgotten:
		if !body {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		status = http.StatusNotFound
		answer["error"] = map[string]any{"code": -32001, "message": "Session not found"}
	case request.ID == nil:
		w.WriteHeader(http.StatusAccepted)
		return
	case request.Method == "initialize":
		w.Header().Set("Mcp-Session-Id", "one")
		answer["result"] = map[string]any{"protocolVersion": "2025-11-25", "capabilities": map[string]any{"tools": map[string]any{}},
			"serverInfo": map[string]any{"name": "sample", "version": "1"}}
	case request.Method == "tools/call":
		answer["result"] = map[string]any{"content": []any{map[string]any{"type": "text", "text": "pong"}}}
	default:
		answer["error"] = map[string]any{"code": -32601, "message": "Method not found"}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer)
}

func main() {
	for _, loss := range []string{"404 with a JSON-RPC error", "404 without a body", "refused connection"} {
		forgotten, body, deleted = false, loss == "404 with a JSON-RPC error", false
		server := httptest.NewServer(http.HandlerFunc(serve))
		ctx := context.Background()
		client := mcp.NewClient(&mcp.Implementation{Name: "sample", Version: "1"}, nil)
		session, err := client.Connect(ctx, &mcp.StreamableClientTransport{Endpoint: server.URL}, nil)
		if err != nil {
			panic(err)
		}
		if _, err := session.CallTool(ctx, &mcp.CallToolParams{Name: "ping"}); err != nil {
			panic(err)
		}
		forgotten = true
		if loss == "refused connection" {
			server.Close()
		}
		_, err = session.CallTool(ctx, &mcp.CallToolParams{Name: "ping"})
		var rpc *jsonrpc.Error
		code := "none"
		if errors.As(err, &rpc) {
			code = fmt.Sprint(rpc.Code)
		}
		_ = session.Close()
		fmt.Printf("%s: ErrSessionMissing %t, code of jsonrpc.Error %s, DELETE %t\n", loss, errors.Is(err, mcp.ErrSessionMissing), code, deleted)
		server.Close()
	}
}
PROGRAM
go mod init sample 2>/dev/null
go get github.com/modelcontextprotocol/go-sdk@v1.8.0 2>/dev/null
go build -mod=mod -o program . 2>/dev/null

unset MCPGODEBUG
./program | tee seen
MCPGODEBUG=noprotocolerrorbody=1 ./program | sed -n '1s/^/with noprotocolerrorbody=1, /p' | tee -a seen
cat >expected <<'EXPECTED'
404 with a JSON-RPC error: ErrSessionMissing false, code of jsonrpc.Error -32001, DELETE true
404 without a body: ErrSessionMissing true, code of jsonrpc.Error none, DELETE false
refused connection: ErrSessionMissing false, code of jsonrpc.Error -32005, DELETE false
with noprotocolerrorbody=1, 404 with a JSON-RPC error: ErrSessionMissing true, code of jsonrpc.Error none, DELETE false
EXPECTED
if ! diff expected seen; then
	echo "CHANGED: other errors for a lost session (<: before, >: now)" >&2
	exit 1
fi
echo "as described: ErrSessionMissing only for a 404 without a JSON-RPC error"
