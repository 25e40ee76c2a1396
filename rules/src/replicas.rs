//! How many replicas a workload gets.

/// The most replicas a `stdio` server can run: its one client owns the process's standard input and output, so a second
/// pod would never be spoken to.
pub const STDIO_REPLICAS: u32 = 1;

/// How clients talk to the MCP server: `spec.transport`.
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
    /// The transport with this name in a custom resource or on the `toolhive-transport` label. Names are matched to the
    /// letter, as the CRD's enum does; any other name is `None`.
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

/// Whether `asked` replicas are more than this transport can run.
pub fn exceeds_stdio_cap(transport: Transport, asked: u32) -> bool {
    transport == Transport::Stdio && asked > STDIO_REPLICAS
}

/// The count that a declared count comes to. Nothing declared stays nothing (an autoscaler or a person owns the count),
/// `stdio` comes to at most one, and zero stays zero.
pub fn resolve(transport: Transport, declared: Option<u32>) -> Option<u32> {
    declared.map(|count| if exceeds_stdio_cap(transport, count) { STDIO_REPLICAS } else { count })
}

/// The count that a workload gets when a request asks for `asked` replicas.
///
/// A `declared` count wins. With nothing declared, a `preserved` count does (the old one, where the request is an
/// operator's reset). Else the request gets what it asks for. All of them end at the stdio cap.
pub fn admitted(transport: Transport, asked: u32, declared: Option<u32>, preserved: Option<u32>) -> u32 {
    let count = declared.or(preserved).unwrap_or(asked);
    resolve(transport, Some(count)).unwrap_or(count)
}
