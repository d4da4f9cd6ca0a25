//! The head of the chain: where it begins and ends. It carries a code, so that nobody can cut the tail off and say
//! that it always ended there.

use keepwell_workers::{
    database::{Database, SqliteCopy, Transaction, turn::Urgency},
    on_connection,
    seal::KeyRing,
};

use super::{
    super::connected::Connected,
    block::{BEGINNING, ChainEnd, code, is_code},
    keys::{CodeKey, KeyRow},
    sealer::AuditError,
};

/// Where the chain begins and ends.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(super) struct Head {
    /// The oldest block that retention has left.
    pub(super) first_block: i64,
    /// 0 before the first one.
    pub(super) last_block: i64,
    pub(super) last_position: i64,
    /// Of the last block.
    pub(super) hash: Vec<u8>,
    pub(super) audit_key: i64,
    pub(super) code: Vec<u8>,
}

impl ChainEnd {
    /// The end of the chain in `database`.
    pub async fn of(database: &Database) -> Result<Self, sqlx::Error> {
        let mut reader = database.reader(Urgency::General).await?;
        Ok(Head::read(&mut reader).await?.end())
    }

    /// The end of the chain in `copy`. An error if there is no trail in it.
    pub async fn of_copy(copy: &mut SqliteCopy) -> Result<Self, sqlx::Error> {
        Ok(Head::read(copy).await?.end())
    }
}

const COLUMNS: &str = "first_block, last_block, last_position, hash, audit_key, code";

impl Head {
    pub(super) async fn read(connected: &mut impl Connected) -> Result<Self, sqlx::Error> {
        let sql = format!("SELECT {COLUMNS} FROM audit_head WHERE id = 1");
        on_connection!(connected, |connection| {
            sqlx::query_as(sqlx::AssertSqlSafe(sql)).fetch_one(connection).await
        })
    }

    /// Reads it and keeps everybody else who adds to the chain waiting until the transaction ends.
    pub(super) async fn take(transaction: &mut Transaction) -> Result<Self, sqlx::Error> {
        let sql = format!("UPDATE audit_head SET last_block = last_block WHERE id = 1 RETURNING {COLUMNS}");
        on_connection!(transaction, |connection| {
            sqlx::query_as(sqlx::AssertSqlSafe(sql)).fetch_one(connection).await
        })
    }

    pub(super) async fn write(&self, transaction: &mut Transaction) -> Result<(), sqlx::Error> {
        const SQL: &str = "UPDATE audit_head SET first_block = $1, last_block = $2, last_position = $3, hash = $4, \
             audit_key = $5, code = $6 WHERE id = 1";
        on_connection!(transaction, |connection| {
            sqlx::query(SQL)
                .bind(self.first_block)
                .bind(self.last_block)
                .bind(self.last_position)
                .bind(&self.hash)
                .bind(self.audit_key)
                .bind(&self.code)
                .execute(connection)
                .await
                .map(|_| ())
        })
    }

    /// Gives it its code.
    pub(super) fn signed(mut self, key: &CodeKey) -> Self {
        self.audit_key = key.id;
        self.code = code(key, b"head", &self.canonical());
        self
    }

    /// Whether it is as keepwell left it: signed with the newest of all `keys` of the trail, whose making signs it
    /// anew. One that nobody has signed yet says that there is no chain.
    pub(super) fn prove(&self, keys: &[KeyRow], ring: &KeyRing) -> Result<(), AuditError> {
        let genuine = match keys.last() {
            Some(newest) => self.is_signed_by(&newest.open(ring)?),
            None => self.audit_key == 0 && self.is_empty(),
        };
        if genuine { Ok(()) } else { Err(AuditError::Tampered) }
    }

    /// Whether its code was made by `key`.
    pub(super) fn is_signed_by(&self, key: &CodeKey) -> bool {
        self.audit_key == key.id && is_code(key, b"head", &self.canonical(), &self.code)
    }

    /// Whether there is no chain yet.
    fn is_empty(&self) -> bool {
        (self.first_block, self.last_block, self.last_position) == (1, 0, 0) && self.hash == BEGINNING
    }

    /// Where the blocks that are there begin and end, whatever this one says: one that nobody can believe is not to
    /// hide what else is wrong.
    pub(super) async fn or_found(self, connected: &mut impl Connected) -> Result<Self, sqlx::Error> {
        const LAST: &str = "SELECT number, last_position, hash, (SELECT MIN(number) FROM audit_blocks) \
             FROM audit_blocks ORDER BY number DESC LIMIT 1";
        let last: Option<(i64, i64, Vec<u8>, i64)> = on_connection!(connected, |connection| {
            sqlx::query_as(LAST).fetch_optional(connection).await
        })?;
        let (last_block, last_position, hash, first) = last.unwrap_or((0, 0, BEGINNING.to_vec(), 1));
        let first_block = self.first_block.clamp(1, first.max(1));
        Ok(Self { first_block, last_block, last_position, hash, ..self })
    }

    pub(super) fn end(&self) -> ChainEnd {
        ChainEnd { block: self.last_block, hash: hex::encode(&self.hash) }
    }

    fn canonical(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(56);
        for number in [self.first_block, self.last_block, self.last_position] {
            bytes.extend(number.to_be_bytes());
        }
        bytes.extend_from_slice(&self.hash);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use keepwell_workers::seal::SealingKey;
    use zeroize::Zeroizing;

    use super::{super::keys::key_context, *};

    #[test]
    fn a_head_is_genuine_only_with_the_code_of_the_newest_key() {
        let ring = KeyRing::new(SealingKey::new("a", &Zeroizing::new([1; 32])), []);
        let keys = [1, 2].map(|id| CodeKey { id, bytes: vec![id as u8; 32].into() });
        let rows = keys.clone().map(|key| {
            let sealed = ring.seal(&key_context(key.id), &key.bytes).unwrap();
            KeyRow { id: key.id, made_under: "a".to_owned(), key_id: "a".to_owned(), sealed: sealed.bytes }
        });
        let empty = Head {
            first_block: 1,
            last_block: 0,
            last_position: 0,
            hash: BEGINNING.to_vec(),
            audit_key: 0,
            code: Vec::new(),
        };
        assert!(empty.prove(&[], &ring).is_ok());
        assert!(empty.prove(&rows, &ring).is_err(), "from the first key on it is signed");
        let head = Head { last_block: 3, ..empty };
        assert!(head.prove(&[], &ring).is_err());
        assert!(head.clone().signed(&keys[1]).prove(&rows, &ring).is_ok());
        let forged = head.clone().signed(&keys[0]);
        assert!(forged.prove(&rows[..1], &ring).is_ok(), "as it was before the rotation");
        assert!(matches!(forged.prove(&rows, &ring), Err(AuditError::Tampered)));
        let other = KeyRing::new(SealingKey::new("b", &Zeroizing::new([1; 32])), []);
        let unknown = head.signed(&keys[1]).prove(&rows, &other);
        assert!(matches!(unknown, Err(AuditError::KeyUnknown(key)) if key == "a"));
    }
}
