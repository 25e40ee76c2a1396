package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// withSessions is the last version of the protocol that has sessions.
const withSessions = "2025-11-25"

// user has one session at a time. Where the session is gone it opens a new one, as a careful program does; the SDK does not.
type user struct {
	endpoint  string
	timeout   time.Duration
	transport *transport
	report    *report
	// stream says whether the session holds a stream for messages of the server.
	stream bool

	session *mcp.ClientSession
	// counted is the last count that the server answered in this session.
	counted int64
	// wasLost, hasEnded and lostState say whether this has happened to the user already: users are counted, and not how often it
	// happens to one.
	wasLost, hasEnded, lostState bool
	// answered is the time of the last good answer.
	answered time.Time
}

func (u *user) run(stop context.Context, interval time.Duration, first func()) {
	u.answered = time.Now()
	for ticks := time.NewTicker(interval); ; {
		err := u.call()
		if err == nil && first != nil {
			first()
			first = nil
		}
		select {
		case <-stop.Done():
			// A session that has had no answer at the end has waited until now.
			u.report.waited(u.answered, time.Now())
			if u.session != nil {
				_ = u.session.Close()
			}
			return
		case <-ticks.C:
		}
	}
}

// call makes one call and records how it ended.
func (u *user) call() error {
	begun := time.Now()
	count, err := u.count()
	if err != nil {
		u.report.failed(begun, err)
		if u.transport.gone.Swap(false) || errors.Is(err, mcp.ErrSessionMissing) {
			if !u.wasLost {
				u.wasLost = true
				u.report.lost()
			}
			u.forget()
		} else if errors.Is(err, mcp.ErrConnectionClosed) {
			if !u.hasEnded {
				u.hasEnded = true
				u.report.ended()
			}
			u.forget()
		}
		return err
	}
	now := time.Now()
	u.report.good(begun)
	u.report.waited(u.answered, now)
	u.answered = now
	// A call whose answer got lost has counted as well, so that a count may be higher than expected, but never lower.
	if count <= u.counted && !u.lostState {
		u.lostState = true
		u.report.stateGone()
	}
	u.counted = count
	return nil
}

func (u *user) forget() {
	if u.session != nil {
		_ = u.session.Close()
	}
	u.session = nil
	u.counted = 0
}

func (u *user) count() (int64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), u.timeout)
	defer cancel()
	if u.session == nil {
		client := mcp.NewClient(&mcp.Implementation{Name: "live-tests", Version: "1"}, nil)
		transport := &mcp.StreamableClientTransport{Endpoint: u.endpoint, HTTPClient: &http.Client{Transport: u.transport}, DisableStandaloneSSE: !u.stream}
		session, err := client.Connect(ctx, transport, &mcp.ClientSessionOptions{ProtocolVersion: withSessions})
		if err != nil {
			return 0, fmt.Errorf("cannot open a session: %s", err)
		}
		u.session = session
	}
	result, err := u.session.CallTool(ctx, &mcp.CallToolParams{Name: "count"})
	if err != nil {
		return 0, err
	}
	structured, err := json.Marshal(result.StructuredContent)
	if err != nil {
		return 0, err
	}
	var answer struct{ Count int64 }
	if err := json.Unmarshal(structured, &answer); err != nil || answer.Count == 0 {
		return 0, fmt.Errorf("not an answer: %s", structured)
	}
	return answer.Count, nil
}
