//! The plot of [`growth`](crate::growth()): measured points, and what the number of operations says, on logarithmic axes.

use std::{error::Error, fs, path::Path};

use oops_core::{Fault, Result};
use plotters::prelude::*;

use crate::{Figures, Growth};

const SIZE: (u32, u32) = (760, 480);
/// Of the labels.
const FONT: (&str, u32) = ("sans-serif", 14);
/// One for each series, apart in brightness too.
const COLOURS: [RGBColor; 4] =
    [RGBColor(0, 60, 130), RGBColor(220, 110, 0), RGBColor(0, 140, 90), RGBColor(170, 0, 80)];

/// Draws medians of [`growth`](crate::growth()) as points, and beside each series a line through its largest point with the
/// growth of the operations.
pub fn plot_growth(medians: &Figures, path: &Path) -> Result<()> {
    let mut svg = String::new();
    draw(medians, &mut svg).map_err(|e| Fault::internal(format!("the plot could not be drawn: {e}")))?;
    fs::write(path, svg).map_err(|e| Fault::writing(path, &e))
}

/// (multiple of the smallest size, seconds, seconds by operations) of one series.
fn series(medians: &Figures, growth: Growth) -> Vec<(f64, f64, f64)> {
    let of = |name: String| medians.get(&name).copied().unwrap_or(f64::NAN);
    let largest = Growth::STEPS[Growth::STEPS.len() - 1];
    let rate = of(growth.seconds(largest)) / of(growth.operations(largest));
    Growth::STEPS
        .map(|step| (step as f64, of(growth.seconds(step)), rate * of(growth.operations(step))))
        .into_iter()
        .collect()
}

fn draw(medians: &Figures, svg: &mut String) -> std::result::Result<(), Box<dyn Error>> {
    let all = Growth::ALL.map(|growth| series(medians, growth));
    let values = || all.iter().flatten().flat_map(|p| [p.1, p.2]);
    let (low, high) = (values().fold(f64::MAX, f64::min), values().fold(f64::MIN, f64::max));
    let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d((0.9..9.0).log_scale(), (low / 1.5..high * 1.5).log_scale())?;
    let mut mesh = chart.configure_mesh();
    mesh.light_line_style(TRANSPARENT).label_style(FONT).axis_desc_style(FONT);
    mesh.x_desc("times the smallest size").y_desc("seconds").draw()?;
    for ((growth, points), colour) in Growth::ALL.into_iter().zip(&all).zip(COLOURS) {
        let name = format!("{}, exponent {:.2}", growth.name(), medians[&format!("{}.exponent", growth.name())]);
        let theory = points.iter().map(|p| (p.0, p.2));
        chart
            .draw_series(LineSeries::new(theory, colour.stroke_width(1)))?
            .label(name)
            .legend(move |(x, y)| Circle::new((x + 8, y), 4, colour.filled()));
        chart.draw_series(points.iter().map(|p| Circle::new((p.0, p.1), 4, colour.filled())))?;
    }
    let mut labels = chart.configure_series_labels();
    labels.position(SeriesLabelPosition::UpperLeft).label_font(FONT).border_style(BLACK.mix(0.3)).draw()?;
    root.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_names_every_series_and_has_a_point_for_every_size() {
        let mut medians = Figures::new();
        for growth in Growth::ALL {
            medians.insert(format!("{}.exponent", growth.name()), 2.0);
            for step in Growth::STEPS {
                medians.insert(growth.seconds(step), 0.1 * (step * step) as f64);
                medians.insert(growth.operations(step), (step * step) as f64);
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("growth.svg");
        plot_growth(&medians, &path).unwrap();
        let svg = fs::read_to_string(&path).unwrap();
        for growth in Growth::ALL {
            assert!(svg.contains(&format!("{}, exponent 2.00", growth.name())), "{svg}");
        }
        assert_eq!(svg.matches("<circle").count(), 4 * 4 + 4);
        // Points lie on the line of the operations: seconds are exact multiples of them here.
        assert!(series(&medians, Growth::Width).iter().all(|p| (p.1 / p.2 - 1.0).abs() < 1e-12));
    }
}
