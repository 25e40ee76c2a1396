//! Reads and changes JSON that came from outside and was not validated.
//!
//! **Malformed fields are tolerated.** Only bad syntax is an error. A field with a wrong type becomes
//! [`Field::Malformed`](mcp_scaling_rules::Field), and it is the API server that refuses the object for it: its validation
//! runs after mutating webhooks and names the field. If the policy failed here, it would deny requests for fields that are
//! none of its business.
//!
//! | file | does |
//! |---|---|
//! | `read.rs` | reads the members that matter, in one pass |
//! | `text.rs` | converts the text of one value |
//! | `edit.rs` | sets values in the text of an object and leaves every other byte as it is |
//! | `write.rs` | writes objects and lists |

mod edit;
mod read;
mod text;
mod write;

pub(crate) use edit::{Edit, apply};
pub(crate) use read::{Destination, View, read, view};
pub(crate) use text::JsonText;
pub(crate) use write::{append, joined, list, object, quoted};
