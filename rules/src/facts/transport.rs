//! How clients talk to an MCP server, and the limit that `stdio` sets.

use crate::named::named;

/// The most replicas that a `stdio` server supports: the proxy is attached to the standard input and output of one
/// process, so that no client ever reaches a second pod.
pub const STDIO_REPLICAS: u32 = 1;

named! {
    /// `spec.transport`. The names are those in a custom resource and on the label `toolhive-transport`.
    ///
    /// Source: ToolHive's CRD, where the field is an enum of these three names and defaults to `stdio`.
    pub enum Transport {
        /// One client over standard input and output; never more than one replica.
        Stdio = "stdio",
        /// Server-sent events over HTTP.
        Sse = "sse",
        /// Streamable HTTP.
        StreamableHttp = "streamable-http",
    }
}

/// Returns whether `requested` replicas are more than this transport supports.
pub fn exceeds_stdio_cap(transport: Transport, requested: u32) -> bool {
    transport == Transport::Stdio && requested > STDIO_REPLICAS
}
