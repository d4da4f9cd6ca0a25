//! Settings that are one of a few words.

use crate::schema::{Kind, SettingType};

/// Declares an enum whose variants are written as one word each.
macro_rules! choice {
    (
        $(#[doc = $about:literal])*
        pub enum $name:ident { $($(#[doc = $doc:literal])* $variant:ident = $word:literal,)* }
    ) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $($(#[doc = $doc])* #[serde(rename = $word)] $variant,)*
        }

        impl $name {
            /// The word in the configuration.
            pub const fn name(self) -> &'static str {
                match self {
                    $($name::$variant => $word,)*
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.name())
            }
        }

        impl SettingType for $name {
            const KIND: Kind = Kind::Choice(&[$($word),*]);
        }
    };
}

choice! {
    /// What kind of installation this is.
    pub enum Environment {
        /// Somebody's machine. Secrets are made up where none are given.
        Development = "development",
        /// A rehearsal. Secrets are made up where none are given.
        Staging = "staging",
        /// People rely on it. Every secret must be given.
        Production = "production",
    }
}

choice! {
    /// One part of what the daemon does.
    pub enum Role {
        /// Takes webhooks and answers the app: the public listener, which today is there whatever the roles are.
        Receiver = "receiver",
        /// Runs jobs.
        Workers = "workers",
        /// Makes jobs appear when their time comes: those of `schedules`, and those that see to grace periods that end.
        Schedules = "schedules",
        /// Serves operators: their listener and the command line's socket.
        Console = "console",
    }
}

choice! {
    /// What a line of the log looks like.
    pub enum LogFormat {
        /// Pretty on a terminal, JSON elsewhere.
        Auto = "auto",
        /// One JSON object per line.
        Json = "json",
        /// For people.
        Pretty = "pretty",
    }
}

choice! {
    /// A time that a compliance report is about once it is over.
    pub enum ReportPeriod {
        /// An hour.
        Hour = "hour",
        /// A day of the calendar.
        Day = "day",
        /// A month of the calendar.
        Month = "month",
    }
}

choice! {
    /// What becomes of ticks of a schedule that were missed.
    pub enum MissedTicks {
        /// They are left out.
        Skip = "skip",
        /// The last of them fires.
        Once = "once",
        /// They all fire.
        All = "all",
    }
}

choice! {
    /// What becomes of a tick of a schedule while the job of the one before is owed.
    pub enum OverlappingTicks {
        /// Its job waits.
        Wait = "wait",
        /// It is left out.
        Skip = "skip",
        /// Its job runs beside.
        Allow = "allow",
    }
}
