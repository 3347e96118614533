//! Nothing but Turso's C interface: its functions become this library's exports.
pub use turso_sdk_kit::capi::*;
