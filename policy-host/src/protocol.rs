//! The host's side of the waPC protocol, for any WebAssembly engine: the functions that a guest imports.
//!
//! Source: the [waPC protocol](https://wapc.io/docs/spec/).

use std::sync::Arc;

use anyhow::Result;
use wapc::ModuleState;
use wapc::wapc_functions as names;

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

/// A function that the host provides. Its parameters and its result are of the type i32.
pub struct HostFunction {
    /// The name under which a guest imports it.
    pub name: &'static str,
    /// The number of its parameters.
    pub parameters: usize,
    /// Says whether it returns the result of `call`, or nothing.
    pub has_result: bool,
    /// Calls it with its parameters. It fails if an address, a length or a text is not one that the guest may pass; that is a
    /// trap of the guest.
    pub call: fn(&mut dyn Guest, &[i32]) -> Result<i32>,
}

/// All functions of the protocol.
pub static FUNCTIONS: [HostFunction; 9] = [
    HostFunction {
        name: names::GUEST_REQUEST_FN,
        parameters: 2,
        has_result: false,
        call: |guest, parameters| guest_request(guest, parameters.try_into()?).map(|()| 0),
    },
    HostFunction {
        name: names::GUEST_RESPONSE_FN,
        parameters: 2,
        has_result: false,
        call: |guest, parameters| guest_response(guest, parameters.try_into()?).map(|()| 0),
    },
    HostFunction {
        name: names::GUEST_ERROR_FN,
        parameters: 2,
        has_result: false,
        call: |guest, parameters| guest_error(guest, parameters.try_into()?).map(|()| 0),
    },
    HostFunction {
        name: names::HOST_CALL,
        parameters: 8,
        has_result: true,
        call: |guest, parameters| host_call(guest, parameters.try_into()?),
    },
    HostFunction {
        name: names::HOST_RESPONSE_LEN_FN,
        parameters: 0,
        has_result: true,
        call: |guest, _| host_response_len(guest),
    },
    HostFunction {
        name: names::HOST_RESPONSE_FN,
        parameters: 1,
        has_result: false,
        call: |guest, parameters| host_response(guest, parameters.try_into()?).map(|()| 0),
    },
    HostFunction {
        name: names::HOST_ERROR_LEN_FN,
        parameters: 0,
        has_result: true,
        call: |guest, _| host_error_len(guest),
    },
    HostFunction {
        name: names::HOST_ERROR_FN,
        parameters: 1,
        has_result: false,
        call: |guest, parameters| host_error(guest, parameters.try_into()?).map(|()| 0),
    },
    HostFunction {
        name: names::HOST_CONSOLE_LOG,
        parameters: 2,
        has_result: false,
        call: |guest, parameters| console_log(guest, parameters.try_into()?).map(|()| 0),
    },
];

fn read(guest: &mut dyn Guest, start: i32, length: i32) -> Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(length)?];
    guest.read_memory(usize::try_from(start)?, &mut bytes)?;
    Ok(bytes)
}

fn read_text(guest: &mut dyn Guest, start: i32, length: i32) -> Result<String> {
    Ok(String::from_utf8(read(guest, start, length)?)?)
}

fn write(guest: &mut dyn Guest, start: i32, bytes: &[u8]) -> Result<()> {
    guest.write_memory(usize::try_from(start)?, bytes)
}

/// `__guest_request`: gives the guest the operation and the payload.
fn guest_request(guest: &mut dyn Guest, [operation, payload]: [i32; 2]) -> Result<()> {
    let Some(request) = guest.state().get_guest_request() else { return Ok(()) };
    write(guest, payload, &request.msg)?;
    write(guest, operation, request.operation.as_bytes())
}

/// `__guest_response`: takes the guest's response.
fn guest_response(guest: &mut dyn Guest, [start, length]: [i32; 2]) -> Result<()> {
    let response = read(guest, start, length)?;
    guest.state().set_guest_response(response);
    Ok(())
}

/// `__guest_error`: takes the guest's error.
fn guest_error(guest: &mut dyn Guest, [start, length]: [i32; 2]) -> Result<()> {
    let error = read_text(guest, start, length)?;
    guest.state().set_guest_error(error);
    Ok(())
}

/// `__host_call`: calls the host. Each parameter is an address and a length. Returns 1 if the host has a response, and 0 if it
/// has an error.
fn host_call(guest: &mut dyn Guest, parameters: [i32; 8]) -> Result<i32> {
    let [binding, binding_length, namespace, namespace_length, operation, operation_length, payload, payload_length] =
        parameters;
    let binding = read_text(guest, binding, binding_length)?;
    let namespace = read_text(guest, namespace, namespace_length)?;
    let operation = read_text(guest, operation, operation_length)?;
    let payload = read(guest, payload, payload_length)?;
    Ok(guest.state().do_host_call(&binding, &namespace, &operation, &payload).unwrap_or(0))
}

/// `__host_response_len`: returns the length of the host's response, in bytes.
fn host_response_len(guest: &dyn Guest) -> Result<i32> {
    Ok(i32::try_from(guest.state().host_response_len())?)
}

/// `__host_response`: gives the guest the host's response.
fn host_response(guest: &mut dyn Guest, [start]: [i32; 1]) -> Result<()> {
    guest.state().with_host_response(|response| write(guest, start, response)).unwrap_or(Ok(()))
}

/// `__host_error_len`: returns the length of the host's error, in bytes.
fn host_error_len(guest: &dyn Guest) -> Result<i32> {
    Ok(i32::try_from(error_of_host(guest).len())?)
}

/// `__host_error`: gives the guest the host's error.
fn host_error(guest: &mut dyn Guest, [start]: [i32; 1]) -> Result<()> {
    let error = error_of_host(guest);
    write(guest, start, error.as_bytes())
}

fn error_of_host(guest: &dyn Guest) -> String {
    guest.state().get_host_error().unwrap_or_default()
}

/// `__console_log`: takes a line for the host's log.
fn console_log(guest: &mut dyn Guest, [start, length]: [i32; 2]) -> Result<()> {
    let message = read_text(guest, start, length)?;
    guest.state().do_console_log(&message);
    Ok(())
}
