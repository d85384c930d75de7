//! Whose fault an error is, which decides the exit code.

use std::fmt;
use std::process::ExitCode;

use aegis::ErrorKind;
use anyhow::Error;

/// Marks an error of the command itself as one of usage or input. Those of the libraries tell their kind.
#[derive(Debug)]
pub(crate) struct Input(pub(crate) String);

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Input {}

/// An [`Input`] error with this message.
pub(crate) fn input(message: impl fmt::Display) -> Error {
    Error::new(Input(message.to_string()))
}

/// Adds what was being read, and the blame.
pub(crate) trait BlameInput<T> {
    /// Marks the error as one of input, `what` being the thing at fault.
    fn blame_input(self, what: impl fmt::Display) -> anyhow::Result<T>;
}

impl<T, E> BlameInput<T> for Result<T, E>
where
    Self: anyhow::Context<T, E>,
{
    fn blame_input(self, what: impl fmt::Display) -> anyhow::Result<T> {
        anyhow::Context::context(self, Input(what.to_string()))
    }
}

/// 2 for what the user can mend by other arguments, files or keys; 1 for any other failure.
pub(crate) fn exit_code(error: &Error) -> ExitCode {
    let mendable = match aegis::kind_of(error.as_ref()) {
        Some(kind) => matches!(kind, ErrorKind::Input | ErrorKind::KeySet | ErrorKind::Unsupported),
        None => error.downcast_ref::<Input>().is_some(),
    };
    ExitCode::from(if mendable { 2 } else { 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_decides_whatever_was_said_about_it_since() {
        use aegis_hal::Error::{Device, OutOfMemory, Unsupported, WrongDevice};
        let failed = |e: aegis_hal::Error| aegis_circuits::Error::Ckks(e.into());
        let code = |e| exit_code(&Error::new(failed(e)).context("evaluation failed"));
        let full = OutOfMemory { asked: 8, limit: None, live: 0 };
        assert_eq!([Device("gone".into()), full].map(code), [ExitCode::from(1); 2]);
        assert_eq!([WrongDevice, Unsupported("mod_up")].map(code), [ExitCode::from(2); 2]);
        let foreign = aegis_nn::Error::MissingKeys(aegis_ckks::Error::WrongRing { have: 2, want: 4 });
        assert_eq!(exit_code(&foreign.into()), ExitCode::from(2));
        let blamed = Err::<(), _>(failed(Device("gone".into()))).blame_input("eval.keys").unwrap_err();
        assert_eq!(exit_code(&blamed), ExitCode::from(1));
        let bug = aegis_circuits::Error::NoResult { circuit: "a sum" };
        assert_eq!(exit_code(&bug.into()), ExitCode::from(1));
    }

    #[test]
    fn blame_survives_further_context() {
        use anyhow::Context;
        let io = || Err::<(), _>(std::io::Error::other("gone"));
        let error = io().blame_input("query.ct").context("while encrypting").unwrap_err();
        assert!(error.downcast_ref::<Input>().is_some());
        assert_eq!(exit_code(&error), ExitCode::from(2));
        assert_eq!(format!("{error:#}"), "while encrypting: query.ct: gone");
        assert_eq!(exit_code(&io().context("x").unwrap_err()), ExitCode::from(1));
    }
}
