//! How far a cut and repaired linear map is from the dense one, measured on a Gram matrix (usually a held-out one).
//!
//! With D = V̂ − W (V̂ is V padded with zero rows), mean input μ and bias b:
//! mean ‖x V̂ + b − x W‖² = tr(DᵀHD) + 2 μᵀD b + ‖b‖², relative to mean ‖x W‖² = tr(WᵀHW).

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, Par};
use oops_core::{Fault, Result, bail_if, finite::at_least_zero};
use rayon::prelude::*;

use crate::linear::Linear;
use crate::symmetric::Symmetric;

/// Channels per tile of the product D Dᵀ.
const TILE: usize = 256;

/// A constant added to every output, and the mean input it goes with.
#[derive(Clone, Copy, Debug)]
pub struct Bias<'a> {
    /// b, one entry per output.
    pub values: &'a [f32],
    /// μ, the mean of every input channel over the tokens of the Gram matrix.
    pub means: &'a [f64],
}

/// tr(WᵀHW): the mean squared norm of the dense output.
pub fn output_energy(linear: &Linear<'_>) -> f64 {
    let rows = (0..linear.channels()).map(|j| (j, linear.row(j), None)).collect::<Vec<_>>();
    quadratic_form(linear.gram(), &rows, linear.outputs())
}

/// The mean squared error of the output when the rows `kept` become `repaired` (|S| × outputs) and the others go.
///
/// `repaired` = `linear.rows(kept)` is the plain cut. Compare two repairs by dividing both by one [`output_energy`].
pub fn error_energy(linear: &Linear<'_>, kept: &[usize], repaired: &[f32], bias: Option<Bias<'_>>) -> Result<f64> {
    let (n, d) = (linear.channels(), linear.outputs());
    linear.gram().check_channels(kept)?;
    bail_if(repaired.len() != kept.len() * d, || {
        Fault::internal(format!("{} rows of {d} outputs cannot hold {} entries", kept.len(), repaired.len()))
    })?;
    let mut rows: Vec<_> = (0..n).map(|j| (j, linear.row(j), None)).collect();
    kept.iter().enumerate().for_each(|(i, &j)| rows[j].2 = Some(&repaired[i * d..(i + 1) * d]));
    // A row that did not change contributes nothing: the plain cut costs |P|² instead of n².
    rows.retain(|(_, w, v)| v.is_none_or(|v| v != *w));
    let variance = quadratic_form(linear.gram(), &rows, d);
    let Some(bias) = bias else { return Ok(variance) };
    bail_if(bias.values.len() != d || bias.means.len() != n, || {
        Fault::internal(format!("a bias needs {d} values and {n} means"))
    })?;
    Ok(variance + offset(&rows, &bias))
}

/// [`error_energy`] / [`output_energy`]: 0 is perfect, 1 is as bad as no output at all. 0 / 0 counts as 0. An output without
/// finite energy is an error: beside it every error would look small.
pub fn reconstruction_error(
    linear: &Linear<'_>,
    kept: &[usize],
    repaired: &[f32],
    bias: Option<Bias<'_>>,
) -> Result<f64> {
    let (error, energy) = (error_energy(linear, kept, repaired, bias)?, output_energy(linear));
    bail_if(!energy.is_finite(), || Fault::data("the Gram matrix or the weights have an entry that is not finite"))?;
    Ok(if error == 0.0 { 0.0 } else { error / energy })
}

/// A channel, its row of W, and what replaces the row; a row of D is the difference, or −W when nothing replaces it.
type Row<'a> = (usize, &'a [f32], Option<&'a [f32]>);

fn difference((_, w, v): &Row<'_>, k: usize) -> f64 {
    v.map_or(0.0, |v| f64::from(v[k])) - f64::from(w[k])
}

/// 2 μᵀD b + ‖b‖².
fn offset(rows: &[Row<'_>], bias: &Bias<'_>) -> f64 {
    let along = |row: &Row<'_>| {
        let product: f64 = bias.values.iter().enumerate().map(|(k, &b)| difference(row, k) * f64::from(b)).sum();
        bias.means[row.0] * product
    };
    let square: f64 = bias.values.iter().map(|&b| f64::from(b).powi(2)).sum();
    2.0 * rows.iter().map(along).sum::<f64>() + square
}

/// tr(DᵀHD) = Σ_ij H_ij (D Dᵀ)_ij over tiles of the lower triangle, so that D Dᵀ is never stored.
fn quadratic_form(h: &Symmetric<'_>, rows: &[Row<'_>], outputs: usize) -> f64 {
    let tiles: Vec<&[Row<'_>]> = rows.chunks(TILE).collect();
    let pairs: Vec<(usize, usize)> = (0..tiles.len()).flat_map(|a| (0..=a).map(move |b| (a, b))).collect();
    let parts: Vec<f64> = pairs.into_par_iter().map(|(a, b)| tile_form(h, tiles[a], tiles[b], outputs)).collect();
    // Summed in the order of the tiles, whoever computed them.
    let form: f64 = parts.iter().sum();
    at_least_zero(form)
}

/// One tile's share, doubled off the diagonal. The two tiles are the same slice on the diagonal.
fn tile_form(h: &Symmetric<'_>, a: &[Row<'_>], b: &[Row<'_>], outputs: usize) -> f64 {
    let load = |rows: &[Row<'_>]| Mat::from_fn(outputs, rows.len(), |k, i| difference(&rows[i], k));
    let (da, db) = (load(a), load(b));
    let mut product = Mat::<f64>::zeros(a.len(), b.len());
    matmul(product.as_mut(), Accum::Replace, da.transpose(), db.as_ref(), 1.0, Par::Seq);
    let entries = |(j, cb): (usize, &Row<'_>)| {
        let column = product.col(j);
        a.iter().enumerate().map(|(i, ca)| h.get(ca.0, cb.0) * column[i]).sum::<f64>()
    };
    let sum: f64 = b.iter().enumerate().map(entries).sum();
    if std::ptr::eq(a, b) { sum } else { 2.0 * sum }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ridge;
    use crate::testkit::{massive_spectrum, normal, with_threads};

    #[test]
    fn a_case_worked_by_hand() {
        // H = I, W = (3, 4)ᵀ: cutting channel 1 leaves 16 of 25; μ = (0, 1) and b = 4 repair it entirely.
        let linear = Linear::new(Symmetric::packed(2, &[1.0, 0.0, 1.0]).unwrap(), &[3.0, 4.0], 1).unwrap();
        assert_eq!(reconstruction_error(&linear, &[0], &[3.0], None).unwrap(), 16.0 / 25.0);
        let bias = Bias { values: &[4.0], means: &[0.0, 1.0] };
        assert_eq!(reconstruction_error(&linear, &[0], &[3.0], Some(bias)).unwrap(), 0.0);
        assert_eq!(reconstruction_error(&linear, &[0, 1], &[3.0, 4.0], None).unwrap(), 0.0);
    }

    #[test]
    fn equals_the_error_of_the_outputs_themselves() {
        let (rows, n, d) = (50, 300, 9);
        let (x, w) = (normal(11, rows * n), normal(12, n * d));
        let mut gram = crate::Gram::new(n);
        gram.add(&x).unwrap();
        gram.scale(1.0 / rows as f32);
        let kept: Vec<usize> = (0..n).filter(|j| j % 5 != 0).collect();
        let linear = Linear::new(gram.view(), &w, d).unwrap();
        let v = normal(13, kept.len() * d);
        let mut padded = vec![0.0; n * d];
        kept.iter().enumerate().for_each(|(i, &j)| padded[j * d..(j + 1) * d].copy_from_slice(&v[i * d..(i + 1) * d]));
        let (mut error, mut energy) = (0.0, 0.0);
        for t in 0..rows {
            for k in 0..d {
                let y = |m: &[f32]| (0..n).map(|j| f64::from(x[t * n + j]) * f64::from(m[j * d + k])).sum::<f64>();
                error += (y(&padded) - y(&w)).powi(2);
                energy += y(&w).powi(2);
            }
        }
        let measured = reconstruction_error(&linear, &kept, &v, None).unwrap();
        assert!((measured / (error / energy) - 1.0).abs() < 1e-5, "{measured} {}", error / energy);
    }

    #[test]
    fn repair_beats_the_cut_and_threads_do_not_matter() {
        let (n, d) = (320, 30);
        let (packed, w) = (massive_spectrum(14, 2 * n, n), normal(15, n * d));
        let linear = Linear::new(Symmetric::packed(n, &packed).unwrap(), &w, d).unwrap();
        let kept: Vec<usize> = (0..n).filter(|j| j % 4 != 2).collect();
        let repaired = ridge(&linear, &kept, 1e-6).unwrap().weight;
        let error = |v: &[f32]| reconstruction_error(&linear, &kept, v, None).unwrap();
        assert!(error(&repaired) < error(&linear.rows(&kept)));
        assert_eq!(with_threads(1, || error(&repaired)).to_bits(), with_threads(2, || error(&repaired)).to_bits());
    }
}
