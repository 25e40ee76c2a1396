// What is built in place of modules that no version is served of, or not the one that ToolHive asks for, where this file was
// made. scripts/toolhive appends a line to go.mod only where the module on its left cannot be downloaded. redisconn is a
// stand-in, written for these tests: nothing can be concluded from it about connections to Redis.
replace (
	github.com/getsentry/sentry-go/otel/otlp => github.com/getsentry/sentry-go/otel/otlp v0.49.0
	github.com/jwx-go/jwkfetch/v4 => github.com/jwx-go/jwkfetch/v4 v4.0.3
	github.com/stacklok/toolhive-core/redisconn => ./redisconn
	golang.org/x/exp/event => golang.org/x/exp/event v0.0.0-20260611194520-c48552f49976
	golang.org/x/exp/jsonrpc2 => golang.org/x/exp/jsonrpc2 v0.0.0-20260709172345-9ea1abe57597
)
