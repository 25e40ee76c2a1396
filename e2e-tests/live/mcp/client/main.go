// Load for the live tests: sessions of the official SDK that each call a tool at an interval, until the program gets SIGTERM. Then it
// prints, as JSON, what its sessions went through.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

func main() {
	url := flag.String("url", "", "the MCP endpoint")
	sessions := flag.Int("sessions", 20, "how many sessions")
	interval := flag.Duration("interval", 250*time.Millisecond, "the time from one call of a session to the next")
	timeout := flag.Duration("timeout", 15*time.Second, "how long a call may take")
	source := flag.String("source", "", "the address that the first session calls from; each other has the next one")
	stream := flag.Bool("stream", false, "hold a stream for messages of the server")
	whole := flag.Bool("whole", false, "record the start of the sessions too")
	ready := flag.String("ready", "", "the file that is created once every session has had an answer")
	flag.Parse()

	first, err := firstAddress(*source)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	report := newReport()
	if *whole {
		report.begin()
	}
	var answered, all sync.WaitGroup
	for i := range *sessions {
		answered.Add(1)
		address := first
		first = first.Next()
		user := &user{endpoint: *url, timeout: *timeout, transport: newTransport(address), report: report, stream: *stream}
		all.Go(func() {
			// The sessions spread over the interval.
			time.Sleep(*interval * time.Duration(i) / time.Duration(*sessions))
			user.run(stop, *interval, answered.Done)
		})
	}
	go func() {
		answered.Wait()
		if !*whole {
			report.begin()
		}
		if *ready != "" {
			if err := os.WriteFile(*ready, nil, 0o644); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
		}
	}()
	all.Wait()
	if err := json.NewEncoder(os.Stdout).Encode(report.summary()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// firstAddress reads an address; the invalid address for none.
func firstAddress(text string) (netip.Addr, error) {
	if text == "" {
		return netip.Addr{}, nil
	}
	return netip.ParseAddr(text)
}
