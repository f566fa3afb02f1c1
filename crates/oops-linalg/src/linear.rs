//! The linear map whose inputs are cut, Y = X W, as the solvers see it: a Gram matrix and a weight.

use oops_core::{Fault, Result, bail_if};

use crate::symmetric::Symmetric;

/// Y = X W with H = XᵀX / T (n × n) and W (n × outputs, row-major: the transpose of the stored weight).
#[derive(Clone, Copy, Debug)]
pub struct Linear<'a> {
    gram: Symmetric<'a>,
    weight: &'a [f32],
    outputs: usize,
}

impl<'a> Linear<'a> {
    /// Fails when `weight` has not n × `outputs` finite entries.
    pub fn new(gram: Symmetric<'a>, weight: &'a [f32], outputs: usize) -> Result<Self> {
        let n = gram.n();
        bail_if(weight.len() != n * outputs, || {
            Fault::internal(format!(
                "a weight of {n} × {outputs} needs {} entries, found {}",
                n * outputs,
                weight.len()
            ))
        })?;
        bail_if(weight.iter().any(|w| !w.is_finite()), || Fault::data("the weight has an entry that is not finite"))?;
        Ok(Self { gram, weight, outputs })
    }

    /// The number of input channels n.
    pub fn channels(&self) -> usize {
        self.gram.n()
    }

    /// The number of output channels d.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// H.
    pub fn gram(&self) -> &Symmetric<'a> {
        &self.gram
    }

    /// Row j of W: what channel j writes.
    pub fn row(&self, j: usize) -> &'a [f32] {
        &self.weight[j * self.outputs..(j + 1) * self.outputs]
    }

    /// W_S: the rows of `kept`, one after the other. This is the plain cut.
    pub fn rows(&self, kept: &[usize]) -> Vec<f32> {
        kept.iter().flat_map(|&j| self.row(j)).copied().collect()
    }
}
