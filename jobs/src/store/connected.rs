//! What has a connection: a reader, or a transaction.

use keepwell_workers::database::{Connection, Reader, Transaction};

/// Something with a connection.
pub(super) trait Connected {
    fn connection(&mut self) -> Connection<'_>;
}

impl Connected for Reader {
    fn connection(&mut self) -> Connection<'_> {
        Reader::connection(self)
    }
}

impl Connected for Transaction {
    fn connection(&mut self) -> Connection<'_> {
        Transaction::connection(self)
    }
}
