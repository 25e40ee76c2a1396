package main

import (
	"sync"
	"time"
)

// bin is the width of the bins in which calls are counted over time.
const bin = 100 * time.Millisecond

// maxErrors is how many different messages are kept.
const maxErrors = 12

// report collects what all sessions go through, from the moment when each of them has had an answer.
type report struct {
	lock   sync.Mutex
	begun  time.Time
	result Summary
}

// Summary is what the program prints.
type Summary struct {
	// Begun is the time of the first bin.
	Begun time.Time `json:"begun"`
	// Good and Failed are numbers of calls.
	Good   int `json:"good"`
	Failed int `json:"failed"`
	// Lost is how many users' sessions were unknown (404), and Ended for how many the SDK gave up a session for another
	// reason.
	Lost  int `json:"lost"`
	Ended int `json:"ended"`
	// StateGone is how many users got an answer from a server that did not know the earlier calls of their session.
	StateGone int `json:"stateGone"`
	// LongestGap is the longest time from one good answer of a session to its next, in seconds.
	LongestGap float64 `json:"longestGap"`
	// Errors counts the failed calls by their messages.
	Errors map[string]int `json:"errors"`
	// GoodBins and FailedBins count calls by the time when they began, in bins of 100 ms.
	GoodBins   []int `json:"goodBins"`
	FailedBins []int `json:"failedBins"`
}

func newReport() *report { return &report{result: Summary{Errors: map[string]int{}}} }

// begin starts the record; what came before belongs to the start of the sessions.
func (r *report) begin() {

	r.lock.Lock()
	defer r.lock.Unlock()
	r.begun = time.Now()
	r.result.Begun = r.begun
}

// change calls a function with the lock, once the record has begun.
func (r *report) change(record func()) {
	r.lock.Lock()
	defer r.lock.Unlock()
	if !r.begun.IsZero() {
		record()
	}
}

func (r *report) good(at time.Time) {
	r.change(func() {
		r.result.Good++
		r.result.GoodBins = r.add(r.result.GoodBins, at)
	})
}

func (r *report) failed(at time.Time, err error) {
	r.change(func() {
		r.result.Failed++
		r.result.FailedBins = r.add(r.result.FailedBins, at)
		message := withoutAddresses(err.Error())
		if _, known := r.result.Errors[message]; !known && len(r.result.Errors) == maxErrors {
			message = "other"
		}
		r.result.Errors[message]++
	})
}

func (r *report) lost()      { r.change(func() { r.result.Lost++ }) }
func (r *report) ended()     { r.change(func() { r.result.Ended++ }) }
func (r *report) stateGone() { r.change(func() { r.result.StateGone++ }) }

func (r *report) waited(since, until time.Time) {
	r.change(func() {
		if since.Before(r.begun) {
			since = r.begun
		}
		r.result.LongestGap = max(r.result.LongestGap, until.Sub(since).Seconds())
	})
}

func (r *report) add(bins []int, at time.Time) []int {
	index := max(0, int(at.Sub(r.begun)/bin))
	for len(bins) <= index {
		bins = append(bins, 0)
	}
	bins[index]++
	return bins
}

func (r *report) summary() Summary {
	r.lock.Lock()
	defer r.lock.Unlock()
	return r.result
}
