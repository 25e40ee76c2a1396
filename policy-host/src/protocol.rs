//! The host's side of the waPC protocol, for any WebAssembly engine: the functions that a guest imports.
//!
//! Source: the [waPC protocol](https://wapc.io/docs/spec/).

use std::sync::Arc;

use anyhow::Result;
use wapc::ModuleState;

/// The name under which a guest exports its linear memory.
pub const MEMORY: &str = "memory";

/// A running guest that calls a function of its host.
pub trait Guest {
    /// Returns the request and the responses of the call that the guest is in.
    fn state(&self) -> Arc<ModuleState>;

    /// Fills `bytes` from the guest's memory.
    ///
    /// # Errors
    /// If the guest has no memory, or if the bytes are not all in it.
    fn read_memory(&mut self, start: usize, bytes: &mut [u8]) -> Result<()>;

    /// Writes `bytes` into the guest's memory.
    ///
    /// # Errors
    /// As [`Guest::read_memory`].
    fn write_memory(&mut self, start: usize, bytes: &[u8]) -> Result<()>;
}

fn read(guest: &mut impl Guest, start: i32, length: i32) -> Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(length)?];
    guest.read_memory(usize::try_from(start)?, &mut bytes)?;
    Ok(bytes)
}

fn read_text(guest: &mut impl Guest, start: i32, length: i32) -> Result<String> {
    Ok(String::from_utf8(read(guest, start, length)?)?)
}

fn write(guest: &mut impl Guest, start: i32, bytes: &[u8]) -> Result<()> {
    guest.write_memory(usize::try_from(start)?, bytes)
}

/// `__guest_request`: gives the guest the operation and the payload.
///
/// # Errors
/// As all functions here: if an address, a length or a text is not one that the guest may pass. The call is a trap then.
pub fn guest_request(guest: &mut impl Guest, operation: i32, payload: i32) -> Result<()> {
    let Some(request) = guest.state().get_guest_request() else { return Ok(()) };
    write(guest, payload, &request.msg)?;
    write(guest, operation, request.operation.as_bytes())
}

/// `__guest_response`: takes the guest's response.
///
/// # Errors
/// As [`guest_request`].
pub fn guest_response(guest: &mut impl Guest, start: i32, length: i32) -> Result<()> {
    let response = read(guest, start, length)?;
    guest.state().set_guest_response(response);
    Ok(())
}

/// `__guest_error`: takes the guest's error.
///
/// # Errors
/// As [`guest_request`].
pub fn guest_error(guest: &mut impl Guest, start: i32, length: i32) -> Result<()> {
    let error = read_text(guest, start, length)?;
    guest.state().set_guest_error(error);
    Ok(())
}

/// `__host_call`: calls the host. Each parameter is an address and a length. Returns 1 if the host has a response, and 0 if it
/// has an error.
///
/// # Errors
/// As [`guest_request`].
pub fn host_call(
    guest: &mut impl Guest,
    binding: (i32, i32),
    namespace: (i32, i32),
    operation: (i32, i32),
    payload: (i32, i32),
) -> Result<i32> {
    let binding = read_text(guest, binding.0, binding.1)?;
    let namespace = read_text(guest, namespace.0, namespace.1)?;
    let operation = read_text(guest, operation.0, operation.1)?;
    let payload = read(guest, payload.0, payload.1)?;
    Ok(guest.state().do_host_call(&binding, &namespace, &operation, &payload).unwrap_or(0))
}

/// `__host_response_len`: returns the length of the host's response, in bytes.
///
/// # Errors
/// As [`guest_request`].
pub fn host_response_len(guest: &impl Guest) -> Result<i32> {
    Ok(i32::try_from(guest.state().host_response_len())?)
}

/// `__host_response`: gives the guest the host's response.
///
/// # Errors
/// As [`guest_request`].
pub fn host_response(guest: &mut impl Guest, start: i32) -> Result<()> {
    guest.state().with_host_response(|response| write(guest, start, response)).unwrap_or(Ok(()))
}

/// `__host_error_len`: returns the length of the host's error, in bytes.
///
/// # Errors
/// As [`guest_request`].
pub fn host_error_len(guest: &impl Guest) -> Result<i32> {
    Ok(i32::try_from(error_of_host(guest).len())?)
}

/// `__host_error`: gives the guest the host's error.
///
/// # Errors
/// As [`guest_request`].
pub fn host_error(guest: &mut impl Guest, start: i32) -> Result<()> {
    let error = error_of_host(guest);
    write(guest, start, error.as_bytes())
}

fn error_of_host(guest: &impl Guest) -> String {
    guest.state().get_host_error().unwrap_or_default()
}

/// `__console_log`: takes a line for the host's log.
///
/// # Errors
/// As [`guest_request`].
pub fn console_log(guest: &mut impl Guest, start: i32, length: i32) -> Result<()> {
    let message = read_text(guest, start, length)?;
    guest.state().do_console_log(&message);
    Ok(())
}

/// Links the functions of this module into the `Linker` of an engine with the interface of wasmtime. `$caller` is the engine's
/// type of a guest that calls its host, `$guest` makes a [`Guest`] of it, and `$error` makes the engine's error of an
/// [`anyhow::Error`]. The result is that of the engine's `func_wrap`.
#[macro_export]
macro_rules! link_wapc {
    ($linker:expr, $caller:ty, $guest:path, $error:expr) => {{
        use $crate::protocol;
        use $crate::wapc::HOST_NAMESPACE;
        use $crate::wapc::wapc_functions as names;
        let linker = $linker;
        linker.func_wrap(
            HOST_NAMESPACE,
            names::GUEST_REQUEST_FN,
            |caller: $caller, operation: i32, payload: i32| {
                protocol::guest_request(&mut $guest(caller), operation, payload).map_err($error)
            },
        )?;
        linker.func_wrap(HOST_NAMESPACE, names::GUEST_RESPONSE_FN, |caller: $caller, start: i32, length: i32| {
            protocol::guest_response(&mut $guest(caller), start, length).map_err($error)
        })?;
        linker.func_wrap(HOST_NAMESPACE, names::GUEST_ERROR_FN, |caller: $caller, start: i32, length: i32| {
            protocol::guest_error(&mut $guest(caller), start, length).map_err($error)
        })?;
        linker.func_wrap(
            HOST_NAMESPACE,
            names::HOST_CALL,
            |caller: $caller, b: i32, b_len: i32, n: i32, n_len: i32, o: i32, o_len: i32, p: i32, p_len: i32| {
                protocol::host_call(&mut $guest(caller), (b, b_len), (n, n_len), (o, o_len), (p, p_len)).map_err($error)
            },
        )?;
        linker.func_wrap(HOST_NAMESPACE, names::HOST_RESPONSE_LEN_FN, |caller: $caller| {
            protocol::host_response_len(&$guest(caller)).map_err($error)
        })?;
        linker.func_wrap(HOST_NAMESPACE, names::HOST_RESPONSE_FN, |caller: $caller, start: i32| {
            protocol::host_response(&mut $guest(caller), start).map_err($error)
        })?;
        linker.func_wrap(HOST_NAMESPACE, names::HOST_ERROR_LEN_FN, |caller: $caller| {
            protocol::host_error_len(&$guest(caller)).map_err($error)
        })?;
        linker.func_wrap(HOST_NAMESPACE, names::HOST_ERROR_FN, |caller: $caller, start: i32| {
            protocol::host_error(&mut $guest(caller), start).map_err($error)
        })?;
        linker.func_wrap(HOST_NAMESPACE, names::HOST_CONSOLE_LOG, |caller: $caller, start: i32, length: i32| {
            protocol::console_log(&mut $guest(caller), start, length).map_err($error)
        })
    }};
}
