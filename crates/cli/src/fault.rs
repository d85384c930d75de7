//! Whose fault an error is, which decides the exit code.

use std::fmt;
use std::process::ExitCode;

use anyhow::Error;

/// Marks an error as one of usage or input, which the user can mend: exit code 2. Everything else is a failure: 1.
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

/// 2 for usage and input, 1 for any other failure: that of a device too, wherever it was met.
pub(crate) fn exit_code(error: &Error) -> ExitCode {
    let blamed = error.downcast_ref::<Input>().is_some() && !error.chain().any(aegis::is_of_device);
    ExitCode::from(if blamed { 2 } else { 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_never_the_users_fault() {
        let failed = |e: aegis_hal::Error| aegis_circuits::Error::Ckks(e.into());
        let blamed = |e| Err::<(), _>(failed(e)).blame_input("eval.keys").unwrap_err();
        let codes = [aegis_hal::Error::Device("gone".into()), aegis_hal::Error::WrongDevice].map(blamed);
        assert_eq!(codes.map(|e| exit_code(&e)), [ExitCode::from(1), ExitCode::from(2)]);
    }

    #[test]
    fn blame_survives_further_context() {
        use anyhow::Context;
        let io = || Err::<(), _>(std::io::Error::other("gone"));
        let error = io().blame_input("query.ct").context("while encrypting").unwrap_err();
        assert!(error.downcast_ref::<Input>().is_some());
        assert_eq!(format!("{error:#}"), "while encrypting: query.ct: gone");
        assert!(io().context("x").unwrap_err().downcast_ref::<Input>().is_none());
    }
}
