//! Units: what is removed whole.

use std::{fmt, ops::Range};

use serde::{Deserialize, Serialize};

use crate::{BlockDims, Site};

/// Kind of a removable unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UnitKind {
    /// A key/value head with all query heads that read it.
    KvGroup,
    /// One query head; legal only if every group of a block keeps the same number.
    QueryHead,
    /// One FFN channel: a row of gate and up, a column of down.
    FfnChannel,
}

impl UnitKind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::KvGroup, Self::QueryHead, Self::FfnChannel];

    /// The name used in files and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::KvGroup => "kv_group",
            Self::QueryHead => "query_head",
            Self::FfnChannel => "ffn_channel",
        }
    }

    /// The kind with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|k| k.name() == name)
    }

    /// The site whose columns the unit owns.
    pub fn site(self) -> Site {
        match self {
            Self::KvGroup | Self::QueryHead => Site::AttnOut,
            Self::FfnChannel => Site::MlpDown,
        }
    }

    /// Units of this kind in a block.
    pub fn count(self, dims: &BlockDims) -> usize {
        match self {
            Self::KvGroup => dims.kv_heads,
            Self::QueryHead => dims.query_heads,
            Self::FfnChannel => dims.ffn,
        }
    }

    /// The columns of its site that unit `index` owns.
    pub fn channels(self, dims: &BlockDims, index: usize) -> Range<usize> {
        let per_unit = match self {
            Self::KvGroup => dims.group_size() * dims.head_dim,
            Self::QueryHead => dims.head_dim,
            Self::FfnChannel => 1,
        };
        index * per_unit..(index + 1) * per_unit
    }
}

impl fmt::Display for UnitKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A unit of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Unit {
    /// Block, from 0.
    pub block: usize,
    /// Kind.
    pub kind: UnitKind,
    /// Position among the block's units of this kind, from 0.
    pub index: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kv_group_owns_the_channels_of_its_query_heads() {
        let dims = BlockDims { query_heads: 6, kv_heads: 2, head_dim: 4, ffn: 8 };
        assert_eq!(UnitKind::KvGroup.channels(&dims, 1), 12..24);
        assert_eq!(UnitKind::QueryHead.channels(&dims, 1), 4..8);
        assert_eq!(UnitKind::FfnChannel.channels(&dims, 5), 5..6);
    }
}
