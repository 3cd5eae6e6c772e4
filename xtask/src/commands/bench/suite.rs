//! What is measured: cells of a case, a number of callers and a pool.

use std::fmt;

use mongo_client_bench_harness::Case;

/// Everybody's `maxPoolSize`, unless the cell says otherwise.
const POOL: usize = 10;

/// A case under a load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Cell {
    pub(super) case: Case,
    pub(super) concurrency: usize,
    pub(super) pool: usize,
}

impl Cell {
    fn new(case: Case, concurrency: usize) -> Self {
        Self {
            case,
            concurrency,
            pool: POOL,
        }
    }

    /// Whether one operation moves many documents.
    pub(super) fn is_bulk(self) -> bool {
        self.case.documents() > 1
    }

    /// Whether the operations leave documents behind.
    pub(super) fn inserts(self) -> bool {
        matches!(
            self.case,
            Case::InsertOne | Case::InsertMany | Case::InsertManyLarge
        )
    }

    /// Half of the operations per caller whose allocations are counted.
    pub(super) fn counted(self) -> u64 {
        match (self.is_bulk(), self.concurrency) {
            (true, 1) => 2,
            (true, _) => 1,
            (false, 1) => 400,
            (false, 2..=64) => 40,
            (false, _) => 10,
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} c{}", self.case, self.concurrency)?;
        if self.pool == POOL {
            Ok(())
        } else {
            write!(f, " pool {}", self.pool)
        }
    }
}

/// Twelve cells that stand for all.
pub(super) fn short() -> Vec<Cell> {
    [
        (Case::Ping, 1),
        (Case::Ping, 64),
        (Case::FindOneTyped, 1),
        (Case::FindOneTyped, 8),
        (Case::FindOneTyped, 64),
        (Case::FindOneBigDocument, 8),
        (Case::InsertOne, 8),
        (Case::UpdateOne, 8),
        (Case::FindManyRaw, 1),
        (Case::FindManyTyped, 1),
        (Case::InsertMany, 1),
        (Case::InsertManyLarge, 1),
    ]
    .map(|(case, concurrency)| Cell::new(case, concurrency))
    .to_vec()
}

/// The few cells that a quick run measures against the real server.
pub(super) fn few() -> Vec<Cell> {
    let single = |cell: &Cell| cell.concurrency == 8;
    short().into_iter().filter(single).collect()
}

/// Every case at every concurrency, and some of them with a large pool.
pub(super) fn full() -> Vec<Cell> {
    let mut cells = Vec::new();
    for case in Case::ALL {
        let loads: &[usize] = match case.documents() {
            1 => &[1, 8, 64, 512],
            _ => &[1, 8],
        };
        cells.extend(loads.iter().map(|load| Cell::new(*case, *load)));
    }
    for case in [Case::Ping, Case::FindOneTyped, Case::InsertOne] {
        for load in [64, 512] {
            cells.push(Cell {
                pool: 100,
                ..Cell::new(case, load)
            });
        }
    }
    cells
}
