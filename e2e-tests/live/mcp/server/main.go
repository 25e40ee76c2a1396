// An MCP server that keeps state in memory: it counts the calls of each session, as a server with a login, a cursor or a cache
// in its process does. What answers another count than the client expects has lost the session's state. With the argument stdio it
// speaks over its standard streams, where all sessions of a proxy are one.
package main

import (
	"context"
	"log"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

type noArguments struct{}

// Count is the answer of the tool: how often this session has called it, and which pod says so.
type Count struct {
	Count int64  `json:"count"`
	Pod   string `json:"pod"`
}

// newServer makes the server of one session.
func newServer(pod string) *mcp.Server {
	var calls atomic.Int64
	server := mcp.NewServer(&mcp.Implementation{Name: "counter", Version: "1"}, nil)
	mcp.AddTool(server, &mcp.Tool{Name: "count", Description: "Counts the calls of this session."},
		func(context.Context, *mcp.CallToolRequest, noArguments) (*mcp.CallToolResult, Count, error) {
			return nil, Count{Count: calls.Add(1), Pod: pod}, nil
		})
	return server
}

func main() {
	pod, err := os.Hostname()
	if err != nil {
		log.Fatal(err)
	}
	if len(os.Args) > 1 && os.Args[1] == "stdio" {
		log.Fatal(newServer(pod).Run(context.Background(), &mcp.StdioTransport{}))
	}
	port := os.Getenv("MCP_PORT") // ToolHive sets it
	if port == "" {
		port = "8080"
	}
	if text := os.Getenv("START_DELAY"); text != "" {
		delay, err := time.ParseDuration(text)
		if err != nil {
			log.Fatal(err)
		}
		time.Sleep(delay)
	}
	handler := mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return newServer(pod) }, nil)
	mux := http.NewServeMux()
	mux.Handle("/mcp", handler)
	log.Printf("%s serves on port %s", pod, port)
	log.Fatal(http.ListenAndServe(":"+port, mux))
}
