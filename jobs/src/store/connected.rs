//! What has a connection: a reader, its view of one moment, a transaction, or a copy of the whole.

use keepwell_workers::database::{Connection, Reader, Snapshot, SqliteCopy, Transaction};

/// Something with a connection.
pub(crate) trait Connected {
    fn connection(&mut self) -> Connection<'_>;
}

impl Connected for Reader {
    fn connection(&mut self) -> Connection<'_> {
        Reader::connection(self)
    }
}

impl Connected for Snapshot<'_> {
    fn connection(&mut self) -> Connection<'_> {
        Snapshot::connection(self)
    }
}

impl Connected for Transaction {
    fn connection(&mut self) -> Connection<'_> {
        Transaction::connection(self)
    }
}

impl Connected for SqliteCopy {
    fn connection(&mut self) -> Connection<'_> {
        SqliteCopy::connection(self)
    }
}
