//! How clients talk to an MCP server, and the limit that `stdio` sets.

/// The most replicas that a `stdio` server supports: the proxy is attached to the standard input and output of one
/// process, so that no client ever reaches a second pod.
pub const STDIO_REPLICAS: u32 = 1;

/// `spec.transport`.
///
/// Source: ToolHive's CRD, where the field is an enum of these three names and defaults to `stdio`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// One client over standard input and output; never more than one replica.
    Stdio,
    /// Server-sent events over HTTP.
    Sse,
    /// Streamable HTTP.
    StreamableHttp,
}

impl Transport {
    /// The transport with this name in a custom resource or on the label `toolhive-transport`. The case of the letters
    /// counts, as it does in the CRD; any other name is `None`.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "stdio" => Some(Self::Stdio),
            "sse" => Some(Self::Sse),
            "streamable-http" => Some(Self::StreamableHttp),
            _ => None,
        }
    }

    /// The name of the transport in a custom resource.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stdio => "stdio",
            Self::Sse => "sse",
            Self::StreamableHttp => "streamable-http",
        }
    }
}

/// Whether `requested` replicas are more than this transport supports.
pub fn exceeds_stdio_cap(transport: Transport, requested: u32) -> bool {
    transport == Transport::Stdio && requested > STDIO_REPLICAS
}
