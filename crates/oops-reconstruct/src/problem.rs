//! One module to repair: a projection, the columns that stay, and the statistics of its input.

use oops_artifact::{Artifact, ChannelStats, Split, mix_grams, read_gram, read_site};
use oops_core::{Fault, Result, Site, bail_if};
use oops_linalg::{Linear, Symmetric};
use oops_model::{matrix, transposed, values};

/// Statistics of a module's input over one set of tokens.
pub(crate) struct Tokens {
    /// Packed lower triangle of H = XᵀX/T.
    pub(crate) gram: Vec<f32>,
    /// E\[x\] per channel.
    pub(crate) mean: Vec<f64>,
    /// What the target has beyond the module's own output X W; `None` where that output is the target.
    pub(crate) shift: Option<Shift>,
}

/// D, the target minus X W, by its statistics; see [`oops_linalg::Shift`].
pub(crate) struct Shift {
    /// XᵀD/T, channels × outputs.
    pub(crate) cross: Vec<f32>,
    /// mean ‖d‖².
    pub(crate) energy: f64,
}

impl Shift {
    /// As the solvers see it.
    pub(crate) fn view(&self) -> oops_linalg::Shift<'_> {
        oops_linalg::Shift { cross: &self.cross, energy: self.energy }
    }
}

/// Statistics of a module's input by split.
pub(crate) struct SiteTokens {
    /// Tokens that repairs are fitted on.
    pub(crate) fit: Tokens,
    /// Tokens that only judge; `None` if calibration found none that may.
    pub(crate) heldout: Option<Tokens>,
    /// Tokens in either split.
    pub(crate) counts: [u64; 2],
}

impl SiteTokens {
    /// Reads the statistics of `site`, which must have `n` channels.
    pub(crate) fn read(stats: &Artifact, block: usize, site: Site, n: usize) -> Result<Self> {
        let channels = read_site(stats, block, site)?;
        bail_if(channels.fit.mean.len() != n, || {
            Fault::data(format!("statistics of {} channels for a site of {n}", channels.fit.mean.len()))
                .help("statistics and model must belong together")
        })?;
        let of = |split: Split, c: &ChannelStats| -> Result<Tokens> {
            Ok(Tokens { gram: read_gram(stats, block, site, split, n)?, mean: c.mean.clone(), shift: None })
        };
        let heldout = (channels.heldout.count > 0).then(|| of(Split::Heldout, &channels.heldout)).transpose()?;
        let counts = [channels.fit.count, channels.heldout.count];
        Ok(Self { fit: of(Split::Fit, &channels.fit)?, heldout, counts })
    }

    /// All tokens together: what the final repair is fitted on once its damping is chosen.
    pub(crate) fn all(self) -> Tokens {
        let Some(heldout) = self.heldout else { return self.fit };
        let mut all = self.fit;
        mix_grams(&mut all.gram, &heldout.gram, self.counts);
        let total = (self.counts[0] + self.counts[1]) as f64;
        let [a, b] = self.counts.map(|c| c as f64 / total);
        all.mean.iter_mut().zip(&heldout.mean).for_each(|(x, y)| *x = a * *x + b * y);
        if let (Some(shift), Some(other)) = (&mut all.shift, &heldout.shift) {
            mix_grams(&mut shift.cross, &other.cross, self.counts);
            shift.energy = a * shift.energy + b * other.energy;
        }
        all
    }
}

/// The projection behind a site, transposed to (channels × outputs), and the channels that stay.
pub(crate) struct Module {
    /// W, channels × outputs, row-major.
    pub(crate) weight: Vec<f32>,
    /// Channels n.
    pub(crate) channels: usize,
    /// Outputs d.
    pub(crate) outputs: usize,
    /// Kept channels, ascending.
    pub(crate) kept: Vec<usize>,
    /// Channels that a unit has here: those of a head, or one.
    pub(crate) unit: usize,
}

impl Module {
    /// From a projection (out × in) whose input has units of `unit` channels.
    pub(crate) fn new(projection: &oops_model::Linear, kept: Vec<usize>, unit: usize) -> Result<Self> {
        let (outputs, channels) = dims(projection)?;
        Ok(Self { weight: transposed(&projection.weight)?, channels, outputs, kept, unit })
    }

    /// Channels before and after the cut.
    pub(crate) fn widths(&self) -> [usize; 2] {
        [self.channels, self.kept.len()]
    }

    /// The linear map with the Gram matrix of `tokens`.
    pub(crate) fn linear<'a>(&'a self, tokens: &'a Tokens) -> Result<Linear<'a>> {
        Linear::new(Symmetric::packed(self.channels, &tokens.gram)?, &self.weight, self.outputs)
    }

    /// The rows of W that stay, |S| × outputs.
    pub(crate) fn cut(&self) -> Vec<f32> {
        let row = |&j: &usize| &self.weight[j * self.outputs..(j + 1) * self.outputs];
        self.kept.iter().flat_map(row).copied().collect()
    }

    /// Channels that go, ascending.
    pub(crate) fn removed(&self) -> Vec<usize> {
        let mut kept = self.kept.iter().peekable();
        (0..self.channels).filter(|j| kept.next_if_eq(&j).is_none()).collect()
    }
}

fn dims(projection: &oops_model::Linear) -> Result<(usize, usize)> {
    projection.weight.dims2().map_err(|e| Fault::internal(format!("projection: {e}")))
}

/// Puts a repaired weight (|S| × outputs) and an added bias back into the sliced projection.
pub(crate) fn install(
    projection: &mut oops_model::Linear,
    outputs: usize,
    weight: &[f32],
    bias: Option<&[f32]>,
) -> Result<()> {
    let kept = weight.len().checked_div(outputs).unwrap_or(0);
    let rows = matrix(weight.to_vec(), kept, outputs)?;
    projection.weight = matrix(transposed(&rows)?, outputs, kept)?;
    if let Some(added) = bias {
        let old = projection.bias.as_ref().map(values).transpose()?.unwrap_or_else(|| vec![0.0; outputs]);
        projection.bias = Some(oops_model::vector(old.iter().zip(added).map(|(a, b)| a + b).collect())?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_apart_goes_back_together() {
        let weight = matrix((0..6).map(|v| v as f32).collect(), 2, 3).unwrap();
        let mut projection = oops_model::Linear { weight: weight.clone(), bias: None };
        let module = Module::new(&projection, vec![0, 2], 1).unwrap();
        assert_eq!((module.cut(), module.removed()), (vec![0.0, 3.0, 2.0, 5.0], vec![1]));
        install(&mut projection, 2, &module.cut(), Some(&[1.0, -1.0])).unwrap();
        assert_eq!(values(&projection.weight).unwrap(), [0.0, 2.0, 3.0, 5.0]);
        assert_eq!(values(&projection.bias.unwrap()).unwrap(), [1.0, -1.0]);
    }

    #[test]
    fn splits_merge_by_their_counts() {
        let shift = |v: f32| Some(Shift { cross: vec![v], energy: f64::from(v) });
        let tokens = |v: f32| Tokens { gram: vec![v], mean: vec![f64::from(v)], shift: shift(v) };
        let all = SiteTokens { fit: tokens(1.0), heldout: Some(tokens(5.0)), counts: [3, 1] }.all();
        assert!((all.gram[0] - 2.0).abs() < 1e-6 && (all.mean[0] - 2.0).abs() < 1e-12);
        let shift = all.shift.unwrap();
        assert!((shift.cross[0] - 2.0).abs() < 1e-6 && (shift.energy - 2.0).abs() < 1e-12);
    }
}
