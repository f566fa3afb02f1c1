//! The storage formats of GGUF tensors: their ids, names and block sizes, and which of them we read.

use oops_core::{Fault, Result};

/// A storage format that we read. A tensor is a row of blocks; a block holds [`Format::block`] values in
/// [`Format::bytes`] bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Format {
    F32,
    F16,
    BF16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
    Q8K,
    Iq4Nl,
    Iq4Xs,
}

/// Values per block of the formats with two levels of scales.
pub(super) const SUPER: usize = 256;
/// Values per block of the formats with one level of scales.
pub(super) const SMALL: usize = 32;

/// (format, id in the file, name, values per block, bytes per block)
const READ: [(Format, u32, &str, usize, usize); 16] = [
    (Format::F32, 0, "F32", 1, 4),
    (Format::F16, 1, "F16", 1, 2),
    (Format::BF16, 30, "BF16", 1, 2),
    (Format::Q4_0, 2, "Q4_0", SMALL, 2 + 16),
    (Format::Q4_1, 3, "Q4_1", SMALL, 2 + 2 + 16),
    (Format::Q5_0, 6, "Q5_0", SMALL, 2 + 4 + 16),
    (Format::Q5_1, 7, "Q5_1", SMALL, 2 + 2 + 4 + 16),
    (Format::Q8_0, 8, "Q8_0", SMALL, 2 + 32),
    (Format::Q2K, 10, "Q2_K", SUPER, 16 + 64 + 2 + 2),
    (Format::Q3K, 11, "Q3_K", SUPER, 32 + 64 + 12 + 2),
    (Format::Q4K, 12, "Q4_K", SUPER, 2 + 2 + 12 + 128),
    (Format::Q5K, 13, "Q5_K", SUPER, 2 + 2 + 12 + 32 + 128),
    (Format::Q6K, 14, "Q6_K", SUPER, 128 + 64 + 16 + 2),
    (Format::Q8K, 15, "Q8_K", SUPER, 4 + 256 + 32),
    (Format::Iq4Nl, 20, "IQ4_NL", SMALL, 2 + 16),
    (Format::Iq4Xs, 23, "IQ4_XS", SUPER, 2 + 2 + 4 + 128),
];

/// Ids of formats that exist and that we do not read, so that the refusal can name them.
const OTHERS: [(u32, &str); 19] = [
    (9, "Q8_1"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (27, "I64"),
    (28, "F64"),
    (29, "IQ1_M"),
    (31, "Q4_0_4_4"),
    (32, "Q4_0_4_8"),
    (33, "Q4_0_8_8"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (39, "MXFP4"),
];

impl Format {
    /// The format with this id.
    pub(super) fn from_id(id: u32) -> Result<Self> {
        READ.iter().find(|r| r.1 == id).map(|r| r.0).ok_or_else(|| {
            let name = OTHERS.iter().find(|o| o.0 == id).map_or("an unknown format", |o| o.1);
            let known: Vec<&str> = READ.iter().map(|r| r.2).collect();
            Fault::data(format!("tensors in {name} (type {id}) cannot be read"))
                .help(format!("quantise the model as one of {}", known.join(", ")))
        })
    }

    fn row(self) -> &'static (Self, u32, &'static str, usize, usize) {
        &READ[READ.iter().position(|r| r.0 == self).unwrap_or_default()]
    }

    /// The id in the file.
    pub(super) fn id(self) -> u32 {
        self.row().1
    }

    /// The name that the field uses.
    pub(super) fn name(self) -> &'static str {
        self.row().2
    }

    /// Values per block.
    pub(super) fn block(self) -> usize {
        self.row().3
    }

    /// Bytes per block.
    pub(super) fn bytes(self) -> usize {
        self.row().4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_format_and_the_ones_that_are_read() {
        let fault = Format::from_id(21).unwrap_err();
        assert!(fault.what().contains("IQ3_S (type 21)"), "{fault}");
        assert!(fault.help_text().unwrap().contains("F32, F16, BF16, Q4_0"), "{fault}");
        assert!(Format::from_id(4).unwrap_err().what().contains("unknown format (type 4)"));
    }

    #[test]
    fn every_format_finds_its_own_row() {
        for (format, id, name, block, bytes) in READ {
            assert_eq!(Format::from_id(id).unwrap(), format);
            assert_eq!((format.name(), format.block(), format.bytes()), (name, block, bytes));
            assert!(OTHERS.iter().all(|o| o.0 != id));
        }
    }
}
