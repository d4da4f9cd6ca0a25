//! Rows that are written by one statement, in few sizes.

/// Rows of one statement. Groups are cut into pieces of these sizes, so that few distinct statements exist and each
/// stays prepared.
const ROWS_PER_STATEMENT: [usize; 7] = [64, 32, 16, 8, 4, 2, 1];

/// `rows` in pieces of 64, 32, 16, 8, 4, 2 and 1.
pub fn pieces<T>(mut rows: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let size = ROWS_PER_STATEMENT.into_iter().find(|size| *size <= rows.len())?;
        let (piece, rest) = rows.split_at(size);
        rows = rest;
        Some(piece)
    })
}
