//! What the command line said.

use std::process::Output;

use serde_json::Value;

/// One run of a command.
#[derive(Debug)]
pub struct Said {
    /// The exit code.
    pub code: i32,
    /// The data.
    pub data: String,
    /// The talk.
    pub talk: String,
}

impl Said {
    /// Reads what a command left.
    pub fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| std::str::from_utf8(bytes).expect("UTF-8").to_owned();
        Self {
            code: output.status.code().expect("it ended by itself"),
            data: text(&output.stdout),
            talk: text(&output.stderr),
        }
    }

    /// The data of a command that did what was asked for.
    #[track_caller]
    pub fn done(self) -> String {
        assert_eq!((self.code, self.talk.as_str()), (0, ""), "{self:?}");
        self.data
    }

    /// The data of a command that did what was asked for, and warned of what has `words` in it and of nothing else.
    #[track_caller]
    pub fn warned(self, words: &str) -> String {
        let warnings: Vec<&str> = self.talk.lines().collect();
        assert!(self.code == 0 && warnings.len() == 1, "{self:?}");
        assert!(warnings[0].starts_with("warning: ") && warnings[0].contains(words), "{self:?}");
        self.data
    }

    /// The data of a command that did what was asked for, with `--json`.
    #[track_caller]
    pub fn json(self) -> Value {
        serde_json::from_str(&self.done()).expect("JSON")
    }

    /// Fails the test unless the command ended with `code` and told people all of `words`, and programs nothing.
    #[track_caller]
    pub fn refused(self, code: i32, words: &[&str]) {
        assert_eq!((self.code, self.data.as_str()), (code, ""), "{self:?}");
        for word in words {
            assert!(self.talk.contains(word), "{word} in {}", self.talk);
        }
    }
}
