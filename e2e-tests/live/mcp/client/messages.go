package main

import "regexp"

// variable is what differs from one error to the next of the same cause: ports, addresses and the ids of sessions.
var variable = regexp.MustCompile(`\d+\.\d+\.\d+\.\d+(:\d+)?|[0-9A-Z]{26}|[0-9a-f]{8}-[0-9a-f-]{27}`)

func withoutAddresses(message string) string { return variable.ReplaceAllString(message, "…") }
