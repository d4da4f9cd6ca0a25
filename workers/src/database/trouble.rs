//! What a database's error says about the database: whether it will pass, and in words that help an operator.

use std::{error::Error, fmt, io};

/// What is wrong with the database as a whole, rather than with one statement. The same statement may well work once
/// it is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Trouble {
    /// It does not answer, or has no connection to spare.
    Away = 1,
    /// Somebody else's transaction was in the way of this one, and only of this one.
    Contended,
    /// Another process holds the database's lock.
    Locked,
    /// There is no room for more.
    Full,
    /// It can be read and not written.
    ReadOnly,
    /// The disk under it cannot be read or written.
    Disk,
    /// What is in it makes no sense.
    Damaged,
}

impl Trouble {
    /// All of them, in the order of their numbers.
    const ALL: [Trouble; 7] = [
        Trouble::Away,
        Trouble::Contended,
        Trouble::Locked,
        Trouble::Full,
        Trouble::ReadOnly,
        Trouble::Disk,
        Trouble::Damaged,
    ];

    /// What `error` says; `None` if it is about the statement itself.
    pub fn of(error: &sqlx::Error) -> Option<Self> {
        if let sqlx::Error::Database(error) = error {
            return error.code().and_then(|code| Self::of_code(&code));
        }
        let own_fault = matches!(
            error,
            sqlx::Error::RowNotFound
                | sqlx::Error::ColumnDecode { .. }
                | sqlx::Error::Decode(_)
                | sqlx::Error::Encode(_)
                | sqlx::Error::TypeNotFound { .. }
                | sqlx::Error::ColumnNotFound(_)
        );
        (!own_fault).then_some(Trouble::Away)
    }

    /// Whether what keeps a database from being opened may well be over later: it is away, busy, or its disk fails.
    /// `false` if somebody has to put something right first: an address that leads nowhere, a user or a password that
    /// the server does not know, something there that is no database. `error` may be what came of it.
    pub fn passes(error: &(dyn Error + 'static)) -> bool {
        use io::ErrorKind::{InvalidInput, PermissionDenied, Unsupported};
        match error.downcast_ref::<sqlx::Error>() {
            Some(sqlx::Error::Database(error)) => error.code().is_some_and(|code| Self::code_passes(&code)),
            Some(sqlx::Error::Io(error)) => {
                !matches!(error.kind(), InvalidInput | PermissionDenied | Unsupported)
            }
            Some(error) => matches!(
                error,
                sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed
            ),
            None => error.source().is_some_and(Self::passes),
        }
    }

    fn code_passes(code: &str) -> bool {
        let names_nothing = if code.len() == 5 {
            // Not even a user or a password that the server knows.
            code.starts_with("28")
        } else {
            // No such folder, or none that may be used.
            code.parse::<i32>().is_ok_and(|code| code & 0xff == 14)
        };
        let passing =
            [Trouble::Away, Trouble::Contended, Trouble::Locked, Trouble::Full, Trouble::Disk].map(Some);
        !names_nothing && passing.contains(&Self::of_code(code))
    }

    fn of_code(code: &str) -> Option<Self> {
        if code.len() != 5 {
            // SQLite: the low byte says what, the rest says where.
            return match code.parse::<i32>().ok()? & 0xff {
                5 | 6 => Some(Trouble::Locked),
                8 => Some(Trouble::ReadOnly),
                10 => Some(Trouble::Disk),
                11 | 26 => Some(Trouble::Damaged),
                13 => Some(Trouble::Full),
                14 => Some(Trouble::Away),
                _ => None,
            };
        }
        // PostgreSQL: the first two characters are the class.
        match (&code[..2], code) {
            // Somebody has cancelled the statement, or it took too long.
            (_, "57014") => None,
            (_, "53100") => Some(Trouble::Full),
            (_, "25006") => Some(Trouble::ReadOnly),
            (_, "55P03") | ("40", _) => Some(Trouble::Contended),
            (_, "58030") => Some(Trouble::Disk),
            (_, "XX001" | "XX002") => Some(Trouble::Damaged),
            // Connection, log-in, resources, operator, system; or it stood open for too long while this process did
            // not go on, and the connection is gone.
            ("08" | "28" | "53" | "57" | "58", _) | (_, "25P03") => Some(Trouble::Away),
            _ => None,
        }
    }

    /// Whether only the transaction that met it has to come again: to all others, the database is well.
    pub fn is_one_transactions(self) -> bool {
        self == Trouble::Contended
    }

    /// The trouble with this number.
    pub(crate) fn numbered(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|trouble| *trouble as u8 == number)
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Trouble::Away => "the database does not answer, or has no connection to spare",
            Trouble::Contended => "other transactions stand in the way",
            Trouble::Locked => "another process holds the database's lock",
            Trouble::Full => "the database's disk is full",
            Trouble::ReadOnly => "the database can only be read",
            Trouble::Disk => "the database's disk gives errors",
            Trouble::Damaged => "the database is damaged",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_told_from_what_will_not() {
        for (code, trouble) in [
            ("40001", Some(Trouble::Contended)),
            ("40P01", Some(Trouble::Contended)),
            ("55P03", Some(Trouble::Contended)),
            ("57P01", Some(Trouble::Away)),
            ("53300", Some(Trouble::Away)),
            ("53100", Some(Trouble::Full)),
            ("25006", Some(Trouble::ReadOnly)),
            ("25P03", Some(Trouble::Away)),
            ("XX001", Some(Trouble::Damaged)),
            ("57014", None),
            ("23505", None),
            ("22021", None),
            ("5", Some(Trouble::Locked)),
            ("261", Some(Trouble::Locked)),
            ("8", Some(Trouble::ReadOnly)),
            ("778", Some(Trouble::Disk)),
            ("13", Some(Trouble::Full)),
            ("26", Some(Trouble::Damaged)),
            ("19", None),
            ("2067", None),
        ] {
            assert_eq!(Trouble::of_code(code), trouble, "{code}");
        }
        assert_eq!(Trouble::of(&sqlx::Error::PoolTimedOut), Some(Trouble::Away));
        assert_eq!(Trouble::of(&sqlx::Error::RowNotFound), None);
    }

    #[test]
    fn what_is_waited_for_is_told_from_what_somebody_has_to_put_right() {
        for (code, passes) in [
            ("57P03", true),
            ("53300", true),
            ("08006", true),
            ("53100", true),
            ("5", true),
            ("10", true),
            ("28P01", false),
            ("28000", false),
            ("3D000", false),
            ("42501", false),
            ("25006", false),
            ("14", false),
            ("26", false),
            ("8", false),
        ] {
            assert_eq!(Trouble::code_passes(code), passes, "{code}");
        }
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        assert!(Trouble::passes(&sqlx::Error::Io(refused())));
        assert!(Trouble::passes(&sqlx::Error::PoolTimedOut));
        assert!(!Trouble::passes(&sqlx::Error::Io(io::ErrorKind::PermissionDenied.into())));
        assert!(!Trouble::passes(&sqlx::Error::Configuration(refused().into())));
        assert!(!Trouble::passes(&refused()), "nothing says that this is about a database");
    }

    #[test]
    fn every_trouble_is_found_by_its_number() {
        for trouble in Trouble::ALL {
            assert_eq!(Trouble::numbered(trouble as u8), Some(trouble));
        }
        assert_eq!(Trouble::numbered(0), None);
    }
}
