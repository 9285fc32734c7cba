//! Numbers PostgreSQL gives to things, each a type of its own.

use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default,
            serde::Serialize, serde::Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = std::num::ParseIntError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    };
}

number! {
    /// An object identifier.
    Oid(u32)
}
number! {
    /// A transaction ID without its epoch. Compare with [`Xid::precedes`], never with `<`.
    Xid(u32)
}
number! {
    /// A transaction ID with its epoch in the upper half.
    FullXid(u64)
}
number! {
    /// A multixact ID. Compare with [`MultiXid::precedes`].
    MultiXid(u32)
}
number! {
    /// The number in the name of a relation file.
    RelFileNumber(u32)
}
number! {
    /// The number initdb gives to a cluster.
    SystemIdentifier(u64)
}
number! {
    /// A WAL timeline.
    Timeline(u32)
}

impl Oid {
    /// The first OID that is not reserved for objects of initdb (`FirstNormalObjectId`).
    pub const FIRST_NORMAL: Oid = Oid(16384);
    /// The tablespace `pg_default`.
    pub const PG_DEFAULT: Oid = Oid(1663);
    /// The tablespace `pg_global`.
    pub const PG_GLOBAL: Oid = Oid(1664);
    /// The bootstrap superuser, that is the install user.
    pub const BOOTSTRAP_SUPERUSER: Oid = Oid(10);
}

impl Xid {
    /// The first XID that is not a special one (`FirstNormalTransactionId`).
    pub const FIRST_NORMAL: Xid = Xid(3);

    /// Whether it is older, on the circle of 2^32; special XIDs are older than normal ones.
    ///
    /// Mirrors `TransactionIdPrecedes` of `src/backend/access/transam/transam.c`.
    pub fn precedes(self, other: Xid) -> bool {
        if self < Self::FIRST_NORMAL || other < Self::FIRST_NORMAL {
            return self < other;
        }
        (self.0.wrapping_sub(other.0) as i32) < 0
    }
}

impl FullXid {
    /// From its epoch and its XID.
    pub fn new(epoch: u32, xid: Xid) -> Self {
        Self((u64::from(epoch) << 32) | u64::from(xid.0))
    }

    /// The upper half.
    pub fn epoch(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The lower half.
    pub fn xid(self) -> Xid {
        Xid(self.0 as u32)
    }
}

impl MultiXid {
    /// Whether it is older, on the circle of 2^32 (`MultiXactIdPrecedes`).
    pub fn precedes(self, other: MultiXid) -> bool {
        (self.0.wrapping_sub(other.0) as i32) < 0
    }
}

/// A position in the WAL.
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct Lsn(pub u64);

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 as u32)
    }
}

impl fmt::Debug for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lsn({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xids_are_compared_on_a_circle() {
        assert!(Xid(100).precedes(Xid(200)));
        assert!(Xid(4_000_000_000).precedes(Xid(100)));
        assert!(!Xid(100).precedes(Xid(4_000_000_000)));
        assert!(Xid(2).precedes(Xid(4_000_000_000)));
        assert!(!Xid(5).precedes(Xid(5)));
    }

    #[test]
    fn an_lsn_is_printed_as_postgresql_does() {
        assert_eq!(Lsn(0x1_0000_0028).to_string(), "1/28");
    }
}
