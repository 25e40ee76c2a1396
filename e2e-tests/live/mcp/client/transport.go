package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"
)

// transport sees the answers before the SDK does.
type transport struct {
	http.RoundTripper
	// gone says whether a session was answered with 404. The SDK tells it apart from other errors only where the answer has no error
	// of JSON-RPC in it, and ToolHive's has one.
	gone atomic.Bool
}

// newTransport has connections of its own, as each client of a server has, from this address if it is valid.
func newTransport(address netip.Addr) *transport {
	connections := http.DefaultTransport.(*http.Transport).Clone()
	dialer := &net.Dialer{Timeout: 10 * time.Second}
	if address.IsValid() {
		dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(address, 0))
	}
	connections.DialContext = dialer.DialContext
	return &transport{RoundTripper: connections}
}

// RoundTrip gives an answer of 500 and more to the SDK as an error of the connection: the call has failed, and the session goes on. The
// SDK would take a 500 for the end of the session, though the same session may work again a moment later.
func (t *transport) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := t.RoundTripper.RoundTrip(request)
	if err != nil {
		return response, err
	}
	if response.StatusCode == http.StatusNotFound && request.Method == http.MethodPost && request.Header.Get("Mcp-Session-Id") != "" {
		t.gone.Store(true)
	}
	if response.StatusCode < http.StatusInternalServerError {
		return response, nil
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(response.Body, 100))
	return nil, fmt.Errorf("HTTP %d: %s", response.StatusCode, body)
}
